"""Rights: each role tries what it must and what it must not; applying them to any server twice changes nothing."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import AdminShutdown, InsufficientPrivilege
from psycopg.sql import SQL

from tests.conftest import Stack, new_home, new_settings
from tidemark.access import apply as access
from tidemark.categories import CATEGORIES
from tidemark.connections import DATABASES
from tidemark.credentials import PEOPLE, ROLES
from tidemark.errors import StackError
from tidemark.stack import local, postgres
from tidemark.stack.ports import free_ports

TICK = (
    "insert into realtime.market_tick values ('simulated', 'A/B', now(), 1, 1, '{}', 1, 0, 0, "
    "(now() at time zone 'utc')::date)"
)
EPOCH = "insert into realtime.log_epoch values ('market_tick', 9, 'id')"
# The longest names that a record may have, which no index can make shorter.
LONGEST_FEED = (
    "insert into realtime.feed select 'market_tick', string_agg(chr(66000 + (random() * 9000)::int), ''), "
    "string_agg(chr(66000 + (random() * 9000)::int), '') from generate_series(1, 200)"
)
LEDGER = "insert into ops.promotion values (gen_random_uuid(), 't', '2024-01-01', 1, 0, 1, 0, 0, 'c', 'p')"
PARTITION = "select realtime.ensure_partition('market_tick', '2031-01-01')"

ALLOWED = [
    ("stream_writer", "realtime", TICK),
    ("stream_writer", "realtime", EPOCH),
    ("stream_writer", "realtime", PARTITION),
    ("stream_writer", "realtime", "update realtime.consumer_offset set next_offset = 9, updated_at = now()"),
    ("stream_writer", "realtime", LONGEST_FEED),
    ("stream_writer", "realtime", "delete from realtime.quarantine"),
    ("promoter", "realtime", "select * from realtime.market_tick"),
    ("promoter", "realtime", "truncate realtime.market_tick"),
    ("promoter", "warehouse", "select * from ingestion.probe"),
    ("promoter", "warehouse", "select * from marts.probe"),
    ("promoter", "warehouse", LEDGER),
    ("ingest_writer", "warehouse", "create table ingestion.more (a text)"),
    ("transformer", "realtime", "create view live.more as select * from realtime.market_tick"),
    ("transformer", "warehouse", "create table marts.more as select * from ingestion.probe"),
    ("transformer", "warehouse", "create temporary table t (a int)"),
    ("transformer", "warehouse", "create schema dev_probe"),
    ("transformer", "realtime", "create schema dev_probe"),
    ("catalog_reader", "realtime", "select * from realtime.market_tick"),
    (
        "catalog_reader",
        "warehouse",
        "delete from quality.results",
    ),
    ("catalog_reader", "warehouse", "select * from ops.promotion"),
    ("bi_reader", "realtime", "select * from live.probe"),
    ("bi_reader", "warehouse", "select * from marts.probe"),
    ("bi_reader", "warehouse", "select * from asof.probe where (select asof.moment()) > asof.end_of('2024-11-03')"),
    ("bi_reader", "warehouse", "select * from ops.publication"),
    ("catalog_reader", "warehouse", "select * from asof.probe where asof.moment() > asof.end_of('2024-11-03')"),
    ("transformer", "warehouse", "create view asof.more as select 1 as a"),
    ("transformer", "warehouse", "insert into ops.dbt_run values ('i', 't', 'c', 'v', now())"),
    ("guard", "realtime", "alter role bi_reader set lock_timeout to '10s'"),
    ("guard", "realtime", "insert into guard.action values ('2024-01-01', 'r', 'd', 'probe', 1, now(), now(), '')"),
    ("catalog_reader", "realtime", "select * from guard.action"),
    ("ingest_writer", "warehouse", "select from ops.turn for update"),
    ("stream_writer", "realtime", "select from realtime.turn for share"),
]

DENIED = [
    ("stream_writer", "realtime", "select * from realtime.market_tick"),
    ("stream_writer", "realtime", "update realtime.market_tick set price = 1"),
    ("stream_writer", "realtime", "delete from realtime.market_tick"),
    ("stream_writer", "realtime", "truncate realtime.market_tick"),
    ("stream_writer", "realtime", "drop table realtime.market_tick"),
    ("stream_writer", "realtime", "delete from realtime.consumer_offset"),
    ("stream_writer", "realtime", "update realtime.consumer_offset set first_offset = 0"),
    ("stream_writer", "realtime", "insert into realtime.lost values ('market_tick', 1, 0, 0, 9)"),
    ("stream_writer", "realtime", "update realtime.quarantine set payload = null"),
    ("stream_writer", "realtime", "insert into realtime.trimmed values (gen_random_uuid(), 't', '2024-01-01', 1)"),
    ("stream_writer", "realtime", "create table realtime.mine (a int)"),
    ("stream_writer", "realtime", "create temporary table t (a int)"),
    ("stream_writer", "realtime", "select * from live.probe"),
    ("ingest_writer", "warehouse", LEDGER),
    ("ingest_writer", "warehouse", "select * from marts.probe"),
    ("ingest_writer", "warehouse", "create table marts.mine (a int)"),
    ("promoter", "warehouse", "delete from ingestion.probe"),
    ("promoter", "warehouse", "create table marts.mine (a int)"),
    ("transformer", "realtime", TICK),
    ("transformer", "realtime", "create table realtime.mine (a int)"),
    ("transformer", "realtime", PARTITION),
    ("transformer", "warehouse", "delete from ingestion.probe"),
    ("transformer", "warehouse", "create table ingestion.mine (a int)"),
    ("transformer", "warehouse", LEDGER),
    ("catalog_reader", "realtime", TICK),
    ("catalog_reader", "realtime", PARTITION),
    ("catalog_reader", "warehouse", "delete from marts.probe"),
    ("catalog_reader", "warehouse", "delete from ingestion.probe"),
    ("bi_reader", "realtime", "select * from realtime.market_tick"),
    ("bi_reader", "realtime", "create view live.mine as select 1 as a"),
    ("bi_reader", "realtime", PARTITION),
    ("bi_reader", "warehouse", "select * from ingestion.probe"),
    ("bi_reader", "warehouse", "select * from staging.probe"),
    ("bi_reader", "warehouse", "select * from intermediate.probe"),
    ("bi_reader", "warehouse", "select * from ops.promotion"),
    ("bi_reader", "warehouse", "select * from quality.results"),
    ("bi_reader", "warehouse", "select * from ops.dbt_run"),
    ("bi_reader", "warehouse", "select * from ops.published_mart"),
    ("bi_reader", "warehouse", "lock table ops.publication in row share mode"),
    ("bi_reader", "warehouse", "create view asof.mine as select 1 as a"),
    ("bi_reader", "warehouse", "lock table asof.probe in row share mode"),
    ("promoter", "warehouse", "select * from asof.probe"),
    ("ingest_writer", "warehouse", "select asof.moment()"),
    ("ingest_writer", "warehouse", "insert into ops.dbt_run values ('i', 't', 'c', 'v', now())"),
    ("transformer", "warehouse", "delete from ops.dbt_run"),
    ("bi_reader", "warehouse", "delete from marts.probe"),
    ("bi_reader", "warehouse", "create temporary table t (a int)"),
    ("bi_reader", "warehouse", "create table public.mine (a int)"),
    ("bi_reader", "warehouse", "create schema mine"),
    ("promoter", "warehouse", "create schema mine"),
    ("bi_reader", "warehouse", "set role transformer"),
    ("bi_reader", "warehouse", "set role guard"),
    ("bi_reader", "warehouse", "select from marts.probe for key share"),
    ("bi_reader", "warehouse", "lock table marts.probe in row share mode"),
    ("bi_reader", "realtime", "lock table live.probe in row share mode"),
    ("bi_reader", "realtime", "lock table realtime.market_tick in access share mode"),
    ("bi_reader", "realtime", "lock table pg_settings in access exclusive mode"),
    ("bi_reader", "realtime", "select pg_advisory_lock(1)"),
    ("bi_reader", "warehouse", "select pg_try_advisory_xact_lock_shared(1, 1)"),
    ("bi_reader", "realtime", "select lo_creat(-1)"),
    ("bi_reader", "warehouse", "select lo_from_bytea(0, 'x')"),
    ("bi_reader", "warehouse", "select lo_put(1, 0, 'x')"),
    ("bi_reader", "realtime", "select pg_logical_emit_message(false, 'x', 'x')"),
    ("bi_reader", "realtime", "set temp_file_limit to -1"),
    ("bi_reader", "realtime", "select * from guard.action"),
    ("bi_reader", "warehouse", "grant select on marts.probe to bi_reader"),
    ("bi_reader", "realtime", "revoke select on live.probe from catalog_reader"),
    ("bi_reader", "realtime", "drop owned by current_user"),
    ("bi_reader", "realtime", "alter default privileges grant select on tables to bi_reader"),
    ("guard", "realtime", "select * from realtime.market_tick"),
    ("guard", "realtime", "select * from live.probe"),
    ("guard", "warehouse", "select * from marts.probe"),
    ("guard", "realtime", "set role bi_reader"),
    ("guard", "realtime", "alter role stream_writer set lock_timeout to 0"),
    ("guard", "realtime", "alter role promoter password 'x'"),
    ("guard", "realtime", "grant promoter to guard"),
    ("bi_reader", "warehouse", "create role mine"),
]


@pytest.fixture(scope="module")
def probes(stack: Stack) -> Iterator[Stack]:
    """The stack with one small table or view of its writer in each schema that others may read."""
    made = [
        ("realtime", "transformer", "view", "live.probe", "as select * from realtime.market_tick"),
        ("warehouse", "ingest_writer", "table", "ingestion.probe", "(a text)"),
        ("warehouse", "transformer", "table", "staging.probe", "(a text)"),
        ("warehouse", "transformer", "table", "intermediate.probe", "(a text)"),
        ("warehouse", "transformer", "table", "marts.probe", "(a text)"),
        ("warehouse", "transformer", "view", "asof.probe", "as select 1 as a"),
    ]
    for database, role, kind, name, shape in made:
        with psycopg.connect(stack.dsn(database, role)) as connection:
            connection.execute(f"create {kind} {name} {shape}".encode())
    yield stack
    for database, role, kind, name, _ in made:
        with psycopg.connect(stack.dsn(database, role)) as connection:
            connection.execute(f"drop {kind} {name}".encode())


@pytest.mark.parametrize(("role", "database", "statement"), ALLOWED)
def test_a_role_may_do_its_part(probes: Stack, role: str, database: str, statement: str) -> None:
    with psycopg.connect(probes.dsn(database, role)) as connection:
        connection.execute(statement.encode())
        connection.rollback()


@pytest.mark.parametrize(("role", "database", "statement"), DENIED)
def test_a_role_must_not_do_the_part_of_another(probes: Stack, role: str, database: str, statement: str) -> None:
    with psycopg.connect(probes.dsn(database, role)) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize(("role", "database"), [("stream_writer", "warehouse"), ("ingest_writer", "realtime")])
def test_a_role_cannot_enter_a_database_it_has_no_part_in(stack: Stack, role: str, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(stack.dsn(database, role))


def test_a_wrong_password_opens_nothing(stack: Stack) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(stack.dsn("warehouse", "bi_reader"), password="wrong")


@dataclass(frozen=True)
class Foreign:
    """A server that somebody else runs, and its administrators: URLs without a database."""

    superuser: str
    plain: str  # no superuser: CREATEDB and CREATEROLE


@pytest.fixture
def foreign(stack: Stack) -> Iterator[Foreign]:
    """A bare Postgres, as if it ran elsewhere."""
    from tidemark.credentials import ADMINISTRATOR, LOCAL_ADMINISTRATOR, credential, ensure_credentials
    from tidemark.stack import checks, process

    with new_home() as home:
        settings = new_settings(home)
        checks.make_home(home)
        ensure_credentials(settings)
        secret = credential(settings, ADMINISTRATOR)
        process.spawn(home, postgres.NAME, postgres.prepare(settings), postgres.ports(settings))
        try:
            deadline = time.monotonic() + 180
            while not postgres.ready(settings):
                assert time.monotonic() < deadline
            address = f"127.0.0.1:{settings.postgres_port}"
            url = f"postgresql://{LOCAL_ADMINISTRATOR}:{secret}@{address}"
            with psycopg.connect(f"{url}/postgres") as connection:
                connection.execute("create role boss login createdb createrole password 'p@ss/word'")
            yield Foreign(url, f"postgresql://boss:p%40ss%2Fword@{address}")
        finally:
            local.down(settings)


def _dump(url: str, database: str) -> str:
    """The schema as pg_dump writes it, less the key that differs with every run."""
    done = subprocess.run(
        [postgres.programs() / "pg_dump", "--schema-only", "--create", f"{url}/{database}"],
        capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def _roles(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(f"{url}/postgres") as connection:
        return connection.execute(
            "select rolname, rolpassword, rolsuper, rolcreaterole, "
            "(select array_agg(format('%s %s %s', roleid::regrole, inherit_option, set_option) order by 1) "
            "from pg_auth_members where member = a.oid) from pg_authid a where rolname !~ '^pg_' order by 1"
        ).fetchall()


@pytest.mark.parametrize("administrator", [pytest.param("superuser", marks=pytest.mark.faults), "plain"])
def test_servers_named_by_variables_are_set_up_to_the_views_of_live_and_a_repeat_changes_nothing(
    stack: Stack, foreign: Foreign, tmp_path: Path, administrator: str
) -> None:
    url = getattr(foreign, administrator)
    variables = {
        "TIDEMARK_HOME": str(tmp_path / "home"),
        "TIDEMARK_REALTIME_URL": url,
        "TIDEMARK_WAREHOUSE_URL": url,
        "TIDEMARK_KAFKA_BOOTSTRAP": f"127.0.0.1:{stack.settings.kafka_port}",
        "TIDEMARK_PREFECT_URL": f"http://127.0.0.1:{stack.settings.prefect_port}/api",
        "TIDEMARK_API_PORT": str(free_ports(1)[0]),
    }
    try:
        done = stack.run("up", **variables)
        assert (done.returncode, done.stderr) == (0, "")
        assert (
            "external" in done.stdout and done.stdout.count("running") == 3
        )  # the guard, which has no server of others
        falls_short = (
            "ends sessions of api_reader, bi_reader alone: `grant pg_signal_backend, pg_read_all_stats to guard`"
        )
        assert (falls_short in done.stdout) == (administrator == "plain")
        assert url.split(":")[2].split("@")[0] not in done.stdout  # the administrator's password
        before = [_dump(foreign.superuser, database) for database in DATABASES], _roles(foreign.superuser)
        assert stack.run("up", **variables).returncode == 0
        assert ([_dump(foreign.superuser, database) for database in DATABASES], _roles(foreign.superuser)) == before

        mine = Stack(new_settings(tmp_path / "home", realtime_url=url, warehouse_url=url))
        with (
            psycopg.connect(mine.dsn("realtime", "bi_reader")) as holder,
            psycopg.connect(mine.dsn("realtime", "transformer")) as part,
        ):
            holder.execute("select count(1) from live.last_price")
            part.execute("set lock_timeout to '10s'")
            part.execute("alter view live.last_price rename to renamed")
            part.rollback()
            with pytest.raises(AdminShutdown):
                holder.execute("select 1")
        with psycopg.connect(mine.dsn("realtime", "stream_writer")) as connection:
            connection.execute(TICK.encode())
        with psycopg.connect(mine.dsn("realtime", "transformer")) as connection:
            assert connection.execute("select count(*) from realtime.market_tick").fetchone() == (1,)
        with psycopg.connect(mine.dsn("realtime", "bi_reader")) as connection:
            assert connection.execute("select count(*) from live.latest_text_events").fetchone() == (0,)
    finally:
        stack.run("down", **variables)


def test_another_state_folder_on_the_same_server_takes_the_roles_over(foreign: Foreign, tmp_path: Path) -> None:
    from tidemark.stack.checks import make_home

    for name in ("first", "second"):
        make_home(tmp_path / name)
        mine = new_settings(tmp_path / name, realtime_url=foreign.plain, warehouse_url=foreign.plain)
        access.apply(mine)
        psycopg.connect(Stack(mine).dsn("warehouse", "bi_reader")).close()


def test_an_administrator_who_may_not_is_said_with_the_server(foreign: Foreign, tmp_path: Path) -> None:
    from tidemark.stack.checks import make_home

    with psycopg.connect(f"{foreign.superuser}/postgres") as connection:
        connection.execute("create role guest login password 'guest'")
    url = foreign.plain.replace("boss:p%40ss%2Fword", "guest:guest")
    make_home(tmp_path / "home")
    with pytest.raises(StackError, match=r"as guest .* permission denied to create database"):
        access.apply(new_settings(tmp_path / "home", realtime_url=url, warehouse_url=url))


def test_partitions_exist_for_today_and_seven_days_ahead(stack: Stack) -> None:
    with psycopg.connect(stack.dsn("realtime")) as connection:
        for topic in CATEGORIES:
            found = connection.execute(
                SQL(
                    "select count(*) from generate_series(0, 7) as ahead where to_regclass(format('realtime.%%I', "
                    "%s || to_char((now() at time zone 'utc')::date + ahead, '_YYYYMMDD'))) is not null"
                ),
                (topic,),
            ).fetchone()
            assert found == (8,)


def test_every_role_has_an_entry_and_every_entry_is_a_role() -> None:
    assert {role for rights in access.ENTRY.values() for role in rights} == {*ROLES} - {
        *PEOPLE
    }  # people enter by their team
