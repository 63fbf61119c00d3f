"""Nobody who reads can stop what writes: bi_reader lifts every limit first, and then holds whatever it can."""

import select
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.errors import AdminShutdown, ConfigurationLimitExceeded

from flows.account import account
from flows.running import run_flow
from tests.conftest import Stack
from tests.flows.conftest import AS_OF, Feed, empty_warehouse, feed  # noqa: F401 - fixtures
from tests.stream_shim.conftest import Lane, lane, tick, until  # noqa: F401 - fixtures
from tests.tidemark.attacking import CONNECTIONS, HOLDS, STATEMENTS, Attack
from tidemark.access.access_file import DEFAULTS as ACCESS_FILE
from tidemark.access.access_file import read_access
from tidemark.dbt.live import ensure_live
from tidemark.guard.journal import Journal
from tidemark.guard.watch import Session, Watch, excess
from tidemark.stack import guard
from tidemark.stack.process import log_path

DEFAULTS = read_access(ACCESS_FILE).limits_of("bi_reader")
ROWS = 2_000
PROMOTED_SECONDS = 180
UP_SECONDS = 60
CONSUMED_SECONDS = 60
PUT_BACK_SECONDS = 60


def opens(stack: Stack) -> bool:
    """Whether the password that was given opens the door, however full the house is."""
    try:
        psycopg.connect(stack.dsn("realtime", "bi_reader")).close()
    except psycopg.OperationalError as error:
        return "password authentication failed" not in str(error)
    return True


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_under_attack_a_day_is_promoted_up_finishes_and_rows_are_consumed(lane: Lane, feed: Feed) -> None:  # noqa: F811
    stack = lane.stack
    feed.add(10)
    run_flow(stack.settings, "promote", as_of=AS_OF)  # so that there are marts to hold
    feed.add(300)
    before = lane.consumed()
    with Attack(stack) as attack:
        until(lambda: attack.did.keys() >= {*HOLDS, *STATEMENTS, "takes a connection"}, "the attack to be under way")
        until(lambda: sum(attack.did.values()) >= CONNECTIONS // 5, "all the places of people to be taken")

        started = time.monotonic()
        done = stack.run("up")
        assert (done.returncode, time.monotonic() - started < UP_SECONDS) == (0, True), done.stderr

        started = time.monotonic()
        [moved] = [row for row in run_flow(stack.settings, "promote", as_of=AS_OF) if row["topic"] == "market_tick"]
        assert (moved["outcome"], moved["rows_in"], moved["rows_out"]) == ("promoted", 300, 300)
        assert time.monotonic() - started < PROMOTED_SECONDS

        with lane.running("processor"):
            lane.produce("market_tick", [tick(number) for number in range(ROWS)])
            until(lambda: lane.consumed() == before + ROWS, f"{ROWS} rows consumed", CONSUMED_SECONDS)
        until(lambda: opens(stack), "the password to be put back", PUT_BACK_SECONDS)
        assert attack.ended["reads live"]
    assert (lane.count("market_tick"), lane.doubled()) == (ROWS, [])
    assert [balance for balance in account(stack.settings) if balance.balance] == []
    reasons = {reason for (reason,) in lane.query("select reason from guard.action where role_name = 'bi_reader'")}
    assert "held up a part" in reasons  # what was changed is put back by `up` or by the guard, whoever comes first


@pytest.fixture
def live(stack: Stack) -> Stack:
    """The stack with the views of `live`, which the command `up` makes."""
    ensure_live(stack.settings)
    return stack


@contextmanager
def watching(stack: Stack, folder: Path, limits: str) -> Iterator[Watch]:
    """A guard of the test's own beside the stack's, with limits that are past soon."""
    file, stop = folder / "access.yml", threading.Event()
    file.write_text(limits)
    [server] = guard.servers(stack.settings)
    watch = Watch(stack.settings, server, read_access(file), Journal(stack.settings), stop)
    watch.start()
    try:
        yield watch
    finally:
        stop.set()
        watch.join()


@pytest.mark.parametrize(
    ("limits", "statements"),
    [
        ("statement: 0.5s", ["select pg_sleep(60)"]),
        ("idle: 0.5s", ["begin", "select 1"]),
        ("transaction: 0.5s", ["begin", *["select pg_sleep(0.2)"] * 100]),
        ("locks: 20", ["begin", "select count(1) from live.last_price", "select pg_sleep(60)"]),
        (
            "memory_mb: 100",
            [
                "set work_mem to '1GB'",
                "select array_agg(n) from generate_series(1, 20000000) as n",
                "select pg_sleep(60)",
            ],
        ),
        (
            "memory_mb: 100",
            [
                "set work_mem to '1GB'",
                "set debug_parallel_query to on",  # the statement runs in a worker, which has the memory
                "select count(1) from generate_series(1, 15000000)",
                "select pg_sleep(60)",
            ],
        ),
    ],
)
def test_a_session_past_a_limit_is_ended_although_it_lifted_its_own(
    live: Stack, tmp_path: Path, limits: str, statements: list[str]
) -> None:
    with (
        watching(live, tmp_path, f"teams: {{all: {{read: [live]}}}}\nservices: {{bi_reader: {{team: all, {limits}}}}}"),
        closing(psycopg.connect(live.dsn("realtime", "bi_reader"), autocommit=True)) as session,
        pytest.raises(AdminShutdown),
    ):
        session.execute("set statement_timeout to 0")
        session.execute("set idle_in_transaction_session_timeout to 0")
        for statement in statements:
            session.execute(statement.encode())
        select.select([session.fileno()], [], [], 10)  # idle, until the server has something to say
        session.execute("select 1")


def test_no_part_and_no_administrator_is_ended(stack: Stack, tmp_path: Path) -> None:
    roles = ("owner", "stream_writer", "promoter", "transformer", "catalog_reader")
    with watching(stack, tmp_path, "defaults: {statement: 0.5s, transaction: 0.5s, locks: 1}"):
        # one statement alone: between `begin` and the next it could be ended with nobody there to read why
        person = psycopg.connect(stack.dsn("realtime", "bi_reader"), autocommit=True)
        with closing(person), pytest.raises(AdminShutdown):
            person.execute("select pg_sleep(60)")
        for role in roles:
            with psycopg.connect(stack.dsn("realtime", role)) as session:
                session.execute("select pg_sleep(1.5)")


def test_whoever_holds_up_a_part_is_ended_and_nobody_else(live: Stack) -> None:
    with (
        psycopg.connect(live.dsn("realtime", "bi_reader")) as holder,
        psycopg.connect(live.dsn("realtime", "bi_reader")) as other,
        psycopg.connect(live.dsn("realtime", "transformer")) as part,
    ):
        holder.execute("select count(1) from live.last_price")
        other.execute("select count(1) from live.latest_text_events")
        part.execute("set lock_timeout to '10s'")
        part.execute("alter view live.last_price rename to renamed")
        part.rollback()
        with pytest.raises(AdminShutdown):
            holder.execute("select 1")
        other.execute("select 1")


def test_a_changed_password_and_setting_are_put_back_within_a_minute_and_counted(stack: Stack) -> None:
    wanted = {f"{name}={value}" for name, value in (DEFAULTS.settings() | DEFAULTS.held()).items()}
    Attack(stack).change_the_role()

    def settings() -> list[tuple[Any, ...]]:
        with psycopg.connect(stack.dsn("realtime")) as connection:
            return connection.execute(
                "select setdatabase, setconfig from pg_db_role_setting where setrole = 'bi_reader'::regrole"
            ).fetchall()

    until(lambda: opens(stack), "the password to be put back", PUT_BACK_SECONDS)
    until(lambda: len(settings()) == 1 and set(settings()[0][1]) == wanted, "the settings", PUT_BACK_SECONDS)


def test_people_have_so_many_connections_and_the_parts_have_theirs(stack: Stack) -> None:
    taken = []
    try:
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            for _ in range(CONNECTIONS):
                taken.append(psycopg.connect(stack.dsn("realtime", "bi_reader")))
        assert len(taken) <= DEFAULTS.connections
        psycopg.connect(stack.dsn("realtime", "stream_writer")).close()
    finally:
        for connection in taken:
            connection.close()


def test_temporary_files_of_people_are_limited_and_the_limit_is_not_theirs_to_lift(stack: Stack) -> None:
    with psycopg.connect(stack.dsn("realtime", "bi_reader"), autocommit=True) as connection:
        with pytest.raises(ConfigurationLimitExceeded, match="temp_file_limit"):
            connection.execute(
                "declare c cursor with hold for select repeat('x', 1000) from generate_series(1, 1000000)"
            )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("set temp_file_limit to -1")


def test_nothing_that_people_say_is_in_the_servers_log(stack: Stack) -> None:
    log = log_path(stack.settings.home, "postgres")
    said = [
        "do $$ begin raise log 'said by a person'; end $$",
        "do $$ begin raise warning 'said by a person'; end $$",
        "select 'said by a person'::int",
        "set debug_print_parse to on",
        "select 'said by a person' as parsed",
    ]
    with psycopg.connect(stack.dsn("realtime", "bi_reader"), autocommit=True) as connection:
        for statement in said:
            with suppress(psycopg.errors.InvalidTextRepresentation):
                connection.execute(statement.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("alter role bi_reader reset log_min_messages")
    with psycopg.connect(stack.dsn("realtime", "bi_reader"), autocommit=True) as connection:
        connection.execute("set exit_on_error to on")
        with suppress(psycopg.Error):
            connection.execute("select 'said by a person'::int")
    assert "said by a person" not in log.read_text(errors="replace")
    assert "QUERY" not in log.read_text(errors="replace").partition("bi_reader@realtime LOG")[2]


def test_people_have_no_business_in_the_databases_that_are_nobodys(stack: Stack) -> None:
    for database in ("postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(stack.dsn("realtime", "bi_reader"), dbname=database)


def session(**changes: Any) -> Session:
    """A session that is past nothing."""
    known = {"pid": 1, "backend_start": None, "role": "bi_reader", "database": "realtime", "state": "active",
             "client": "this machine", "application": "", "transaction_seconds": 0, "statement_seconds": 0,
             "state_seconds": 0, "locks": 0}  # fmt: skip
    return Session(**{**known, **changes})


@pytest.mark.parametrize(
    ("changes", "private_mb", "reason"),
    [
        ({}, 0, None),
        ({"statement_seconds": 301}, 0, "statement"),
        ({"statement_seconds": 301, "state": "idle"}, 0, None),  # its last statement began so long ago
        ({"state_seconds": 61, "state": "idle in transaction"}, 0, "idle in transaction"),
        ({"state_seconds": 61, "state": "idle in transaction (aborted)"}, 0, "idle in transaction"),
        ({"state_seconds": 9999, "state": "idle"}, 0, None),
        ({"transaction_seconds": 601}, 0, "transaction"),
        ({"locks": 501}, 0, "locks"),
        ({}, 1025, "memory"),
    ],
)
def test_what_a_session_went_past_is_one_of_few_reasons(
    changes: dict[str, Any], private_mb: float, reason: str | None
) -> None:
    found = excess(session(**changes), DEFAULTS, private_mb)
    assert (found.reason if found else None) == reason


def test_a_role_that_is_not_named_has_the_defaults_and_one_that_is_changes_what_it_says(tmp_path: Path) -> None:
    file = tmp_path / "access.yml"
    file.write_text(
        "defaults: {statement: 10s}\nteams: {all: {read: [live]}}\npeople: {anna: {team: all, locks: 7}}\n"
        "api: {memory_mb: 9}\n"
    )
    access = read_access(file)
    assert access.limits_of("bi_reader") == replace(DEFAULTS, statement_seconds=10)
    assert access.limits_of("anna") == replace(DEFAULTS, statement_seconds=10, locks=7)
    assert access.limits_of("api_reader") == replace(DEFAULTS, statement_seconds=10, memory_mb=9, connections=30)
