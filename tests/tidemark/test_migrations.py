"""Migrations on a real database: each once, whole or not at all, none twice, and never a wait without a limit."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from tests.conftest import Stack
from tidemark.categories import CATEGORIES, table_columns
from tidemark.connections import DATABASES
from tidemark.errors import StackError
from tidemark.migrations import files, lane
from tidemark.migrations.files import Migration
from tidemark.migrations.runner import Runner
from tidemark.migrations.turn import take_turn

DATABASE = "migrating"

Migrate = Callable[..., list[Migration]]


@pytest.fixture
def database(stack: Stack) -> Iterator[str]:
    """The administrator's URL of an empty database of the test's own."""
    url = stack.dsn("realtime")
    name = Identifier(DATABASE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("create database {}").format(name))
        yield make_conninfo(url, dbname=DATABASE)
        connection.execute(SQL("drop database {} with (force)").format(name))


@pytest.fixture
def migrate(database: str, tmp_path: Path) -> Migrate:
    """Apply these files (name to SQL) of one room to the database, as `realtime`."""

    def apply(sql: dict[str, str], **options: Any) -> list[Migration]:
        folder = tmp_path / "realtime"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, text in sql.items():
            (folder / name).write_text(text)
        with psycopg.connect(database, autocommit=True) as connection:
            return Runner(connection, "realtime", **options).migrate({"room": tmp_path})

    return apply


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


FIRST = {"0001_first.sql": "create schema s; create table s.t (a int);"}
SECOND = {"0002_second.sql": "set role catalog_reader; reset role; insert into s.t values (1);"}


def test_a_file_is_applied_once_and_noted_with_its_hash(database: str, migrate: Migrate) -> None:
    migrate(FIRST)
    assert [one.title for one in migrate(FIRST | SECOND)] == ["room/0002_second"]
    assert migrate(FIRST | SECOND) == []
    assert rows(database, "select a from s.t") == [(1,)]
    noted = rows(database, "select database, room, number, name, sha256 from migration.applied order by number")
    digest = hashlib.sha256(FIRST["0001_first.sql"].encode()).hexdigest()
    assert noted[0] == (DATABASE, "room", 1, "0001_first", digest)
    assert noted[1][:4] == (DATABASE, "room", 2, "0002_second")


def test_who_reads_the_catalog_sees_what_was_applied_and_nobody_else_does(stack: Stack) -> None:
    for name in DATABASES:
        with psycopg.connect(stack.dsn(name, "catalog_reader")) as connection:
            assert connection.execute("select count(*) > 0 from migration.applied").fetchone() == (True,)
        with psycopg.connect(stack.dsn(name, "bi_reader")) as connection, pytest.raises(psycopg.Error, match="denied"):
            connection.execute("select from migration.applied")


def test_a_file_that_fails_leaves_nothing_behind_and_is_named(database: str, migrate: Migrate) -> None:
    migrate(FIRST)
    broken = {"0002_broken.sql": "insert into s.t values (1); set role catalog_reader; select 1 / 0;"}
    with pytest.raises(StackError, match=r"room/0002_broken: .* division by zero; nothing of it was kept"):
        migrate(FIRST | broken)
    assert rows(database, "select a from s.t") == []
    assert len(migrate(FIRST | SECOND)) == 1


@pytest.mark.parametrize("ends", ["commit", "Rollback", "begin", "-- why\nEND"])
def test_a_file_that_would_end_its_own_transaction_is_refused_and_nothing_of_it_is_applied(
    database: str, migrate: Migrate, ends: str
) -> None:
    body = "do $$ begin perform 1; end $$; create function s.f() returns int begin atomic select 1; end;"
    with pytest.raises(StackError, match=r"expected no `.*` in it"):
        migrate(FIRST | {"0002_half.sql": f"{body} create table s.half (); {ends}; select 1 / 0;"})
    assert rows(database, "select to_regclass('s.half') is null and to_regclass('s.t') is not null") == [(True,)]
    migrate(FIRST | {"0002_half.sql": f"{body} create table s.half ();"})


def test_a_file_that_was_changed_after_it_was_applied_is_refused_with_both_hashes(migrate: Migrate) -> None:
    migrate(FIRST)
    before = hashlib.sha256(FIRST["0001_first.sql"].encode()).hexdigest()
    changed = {"0001_first.sql": FIRST["0001_first.sql"] + " -- changed"}
    after = hashlib.sha256(changed["0001_first.sql"].encode()).hexdigest()
    with pytest.raises(StackError, match=f"room/0001_first as it was applied, .* {before}, found sha256 {after}"):
        migrate(changed)


def test_a_state_that_is_newer_than_the_files_is_refused(database: str, migrate: Migrate) -> None:
    migrate(FIRST | SECOND)
    with pytest.raises(StackError, match="found room/0002_second applied to it, which a newer Tidemark made"):
        migrate(FIRST)
    assert rows(database, "select a from s.t") == [(1,)]


def test_a_number_before_one_that_is_applied_is_refused(migrate: Migrate) -> None:
    migrate(FIRST | {"0003_third.sql": "select 1;"})
    with pytest.raises(StackError, match="room/0002_second to come after 0003_third"):
        migrate(FIRST | SECOND | {"0003_third.sql": "select 1;"})


@pytest.mark.parametrize("name", ["0001_again.sql", "1_short.sql", "0002-dash.sql"])
def test_a_number_used_twice_and_a_name_that_is_none_are_refused(migrate: Migrate, name: str) -> None:
    with pytest.raises(StackError, match=r"expected (one migration a number|migrations named)"):
        migrate(FIRST | {name: "select 1;"})


def test_what_runs_without_a_transaction_says_so_and_may_be_run_again(database: str, migrate: Migrate) -> None:
    migrate(FIRST)
    said: list[str] = []
    concurrently = {
        "0002_index.sql": "-- no transaction: an index that is built while others write\n"
        "drop index concurrently if exists s.i; -- of a run that was interrupted; it was not whole\n"
        "create index concurrently i on s.t (a);\n"
        "do $$ begin perform 1; end $$;\n"
    }
    failing = {"0002_index.sql": concurrently["0002_index.sql"] + "select 1 / 0;\n"}
    with pytest.raises(StackError, match="division by zero; what ran before of it stays"):
        migrate(FIRST | failing)
    assert len(migrate(FIRST | concurrently, report=lambda _, doing: said.append(doing))) == 1
    assert said == ["room/0002_index, without a transaction: an index that is built while others write"]
    assert rows(database, "select indisvalid from pg_index where indexrelid = 's.i'::regclass") == [(True,)]


def test_a_lock_that_is_not_to_be_had_is_waited_for_within_a_limit_and_its_holder_is_named(
    database: str, migrate: Migrate
) -> None:
    migrate(FIRST)
    alter = {"0002_alter.sql": "insert into s.t values (1); alter table s.t add column b int;"}
    said: list[str] = []
    with psycopg.connect(database) as reader:
        reader.execute("select * from s.t")
        pid = reader.info.backend_pid
        with pytest.raises(StackError, match=f"expected a lock within 1 s, .* pid {pid} of .*, idle in transaction"):
            migrate(FIRST | alter, patience_seconds=1.0, report=lambda _, doing: said.append(doing))

        def end_the_reader(_: str, doing: str) -> None:
            said.append(doing)
            if "waits for a lock" in doing:
                reader.rollback()

        assert len(migrate(FIRST | alter, report=end_the_reader)) == 1
    assert f"room/0002_alter waits for a lock; the oldest transaction: pid {pid}" in said[-1]
    assert rows(database, "select a, b from s.t") == [(1, None)]


def test_what_needs_a_stopped_lane_names_who_writes_and_runs_when_nobody_does(
    stack: Stack, database: str, migrate: Migrate, tmp_path: Path
) -> None:
    migrate(FIRST)
    rewriting = {"0002_rewrite.sql": "-- lane stopped: every row is written anew\nselect 1;"}
    (tmp_path / "run").mkdir()
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(SQL("grant connect on database {} to stream_writer").format(Identifier(DATABASE)))

        def writers() -> list[str]:
            return lane.writers(admin, tmp_path)

        with psycopg.connect(stack.dsn("realtime", "stream_writer"), dbname=DATABASE) as session:
            expected = rf"every row is written anew; found a session of stream_writer \(pid {session.info.backend_pid}"
            with pytest.raises(StackError, match=expected):
                migrate(FIRST | rewriting, writers=writers)
            session.close()
        import fcntl

        with (tmp_path / "run" / "processor-realtime.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(StackError, match="found processor-realtime: stop `tidemark stream run` first"):
                migrate(FIRST | rewriting, writers=writers)
        while writers():  # a session that was closed is gone from Postgres a moment later
            pass
        assert len(migrate(FIRST | rewriting, writers=writers)) == 1


def test_a_migration_tells_how_far_it_is(migrate: Migrate) -> None:
    migrate(FIRST)
    said: list[str] = []
    telling = {"0002_tell.sql": "create table if not exists s.t (); do $$ begin raise notice 'day 1 of 2'; end $$;"}
    migrate(FIRST | telling, report=lambda _, doing: said.append(doing))
    assert said == ["room/0002_tell", "room/0002_tell: day 1 of 2"]


BASELINE = "select case when to_regclass('s.t') is null then 0 else 1 end, 's.t is there'"


def test_a_database_from_before_the_table_is_taken_as_of_its_version_and_gets_the_rest(
    database: str, migrate: Migrate
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(FIRST["0001_first.sql"].encode())
    assert len(migrate(FIRST | SECOND | {"baseline.sql": BASELINE})) == 1
    assert rows(database, "select number, seconds is null from migration.applied order by 1") == [
        (1, True), (2, False)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        ("alter table realtime.consumer_offset drop column closed_at", "lacks closed_at, .* has trade_key"),
        ("alter table realtime.market_tick drop column trade_key cascade", "has closed_at, .* lacks trade_key"),
    ],
)
def test_a_database_between_two_versions_is_refused_with_the_difference(
    database: str, change: str, evidence: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        Runner(connection, "realtime").migrate()
        connection.execute("drop table migration.applied")
        connection.execute(change.encode())
        with pytest.raises(StackError, match=f"found one between versions .*{evidence}"):
            Runner(connection, "realtime").migrate()
        assert connection.execute("select to_regclass('migration.applied')").fetchone() == (None,)


def test_the_turn_is_had_by_one_named_in_the_others_sentence_and_nobody_but_the_administrator_can_take_it(
    stack: Stack,
) -> None:
    for role in ("bi_reader", "promoter", "catalog_reader"):
        with psycopg.connect(stack.dsn("realtime", role)) as person:
            for mode in ("access share", "exclusive"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    person.execute(f"lock table migration.turn in {mode} mode")
                person.rollback()
    url = stack.dsn("realtime")
    with psycopg.connect(url, autocommit=True) as first, psycopg.connect(url, autocommit=True) as second:
        take_turn(first)
        with pytest.raises(StackError, match=f"another has not ended within 0 s .pid {first.info.backend_pid} of"):
            take_turn(second, 0.2)
        first.close()
        take_turn(second)


def test_two_ups_of_two_state_folders_on_one_server_take_turns(stack: Stack) -> None:
    with psycopg.connect(stack.dsn("warehouse"), autocommit=True) as other:
        take_turn(other)
        import threading

        from tidemark.access.apply import apply

        up = threading.Thread(target=apply, args=(stack.settings,))
        up.start()
        waiting = "select from pg_locks where relation = 'migration.turn'::regclass and not granted"
        while not other.execute(waiting).fetchall():
            assert up.is_alive()
    up.join()


def test_the_tables_of_the_categories_have_the_columns_that_categories_py_demands(stack: Stack) -> None:
    derived = {"market_tick": {"trade_key"}}
    with psycopg.connect(stack.dsn("realtime")) as connection:
        for topic in CATEGORIES:
            found = connection.execute(
                "select attname, attnotnull, atttypid = to_regtype(%(types)s::jsonb ->> attname) from pg_attribute "
                "where attrelid = format('realtime.%%I', %(topic)s::text)::regclass and attnum > 0 "
                "and not attisdropped and attgenerated = '' order by attnum",
                {"topic": topic, "types": Jsonb(table_columns(topic))},
            ).fetchall()
            assert found == [(name, True, True) for name in table_columns(topic)]
            generated = connection.execute(
                "select attname from pg_attribute where attrelid = format('realtime.%%I', %s::text)::regclass "
                "and attgenerated <> ''",
                (topic,),
            ).fetchall()
            assert {name for (name,) in generated} == derived.get(topic, set())


def test_every_file_names_its_role_and_what_versions_1_and_2_had_has_a_baseline() -> None:
    rooms = files.folders()
    for database in DATABASES:
        for migration in files.read(database, rooms):
            assert re.search(r"^set role \w+;$", migration.sql, re.MULTILINE), migration.title
    assert set(files.baselines("realtime", rooms)) == {"realtime", "tidemark"}
    assert set(files.baselines("warehouse", rooms)) == {"catalog", "flows", "ingest", "tidemark"}
