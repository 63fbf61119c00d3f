"""States of older versions, with data, taken up to now: nothing lost, nothing doubled, and all of it goes on."""

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher
from tests.conftest import Stack, new_home, new_settings
from tests.migrations.restoring import restore
from tests.migrations.sent import AT, NOT_ROWS, WAITING
from tidemark.categories import CATEGORIES
from tidemark.connections import DATABASES
from tidemark.migrations import files
from tidemark.migrations.runner import Runner
from tidemark.stack import local, postgres

pytestmark = pytest.mark.timeout(900)  # the first test waits for a restored stack, and dbt builds several times

MORE = 4  # ticks that are sent after the upgrade
IDENTITY = "(log_epoch, kafka_partition, kafka_offset)"
MARTS = {
    "market_tick": "fct_market_ticks",
    "order_book_l2": "fct_order_book_levels",
    "economic_event_numeric": "fct_numeric_events",
    "economic_event_text": "fct_text_events",
}

Counts = dict[str, tuple[int, int]]  # topic to rows in realtime, and rows of it in its mart


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.faults)])
def upgraded(request: pytest.FixtureRequest) -> Iterator[tuple[int, Stack, Counts, str]]:
    """(the version, its state after `tidemark up`, its counts before, what `up` printed)."""
    with new_home() as home:
        stack = Stack(new_settings(home))
        try:
            restore(stack, request.param)
            before = counts(stack)
            done = stack.run("up")
            assert done.returncode == 0, done.stderr
            assert "`tidemark models rebuild` builds all of them" in done.stderr
            with Reader(stack, "fct_market_ticks") as reader:
                built = stack.run("models", "rebuild")
            assert built.returncode == 0, built.stderr
            assert reader.failed == []
            yield request.param, stack, before, done.stdout
        finally:
            local.down(stack.settings)


def one(stack: Stack, database: str, query: str) -> Any:
    """The one value of a query."""
    with psycopg.connect(stack.dsn(database)) as connection:
        return connection.execute(query.encode()).fetchall()[0][0]


def counts(stack: Stack) -> Counts:
    """Rows by identity, each of which must be there once."""
    found = {}
    for topic, mart in MARTS.items():
        rows = one(stack, "realtime", f"select count(*) from realtime.{topic}")
        assert one(stack, "realtime", f"select count(distinct {IDENTITY}) from realtime.{topic}") == rows
        promoted = one(stack, "warehouse", f"select count(*) from marts.{mart} where kafka_offset is not null")
        found[topic] = (rows, promoted)
    return found


def account(stack: Stack) -> dict[str, dict[str, Any]]:
    """A partition a topic; every record is accounted for, else the command fails."""
    done = stack.run("account", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    found = {row["topic"]: row for row in json.loads(done.stdout)}
    assert set(found) == set(CATEGORIES)
    return found


def test_up_applies_what_the_version_lacks_and_nothing_of_it_twice(
    upgraded: tuple[int, Stack, Counts, str],
) -> None:
    version, stack, before, said = upgraded
    assert ("realtime: applied realtime/0002_trade_keys" in said) == (version == 1)
    for database in DATABASES:
        with psycopg.connect(stack.dsn(database)) as connection:
            noted = connection.execute("select room, number, seconds is null from migration.applied").fetchall()
        known = [(each.room, each.number) for each in files.read(database, files.folders())]
        assert sorted((room, number) for room, number, _ in noted) == sorted(known)
        baseline = {(room, number) for room, number, without_seconds in noted if without_seconds}
        assert {number for room, number in baseline if room == "realtime"} == (
            set(range(1, version + 1)) if database == "realtime" else set()
        )
    assert counts(stack) == before
    again = stack.run("up")
    assert (again.returncode, again.stderr, "applied" in again.stdout) == (0, "", False)


def schema(stack: Stack, database: str) -> list[str]:
    """What makes the schema `realtime` but its partitions; the order of grants says nothing."""
    url = make_conninfo(stack.dsn("realtime"), dbname=database)
    done = subprocess.run(
        [postgres.programs() / "pg_dump", "--schema-only", "--schema=realtime", "--exclude-table=realtime.*_2*", url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def test_the_schema_is_the_one_that_a_new_state_has(upgraded: tuple[int, Stack, Counts, str]) -> None:
    _, stack, _, _ = upgraded
    with psycopg.connect(stack.dsn("realtime"), autocommit=True) as connection:
        connection.execute(SQL("create database {}").format(Identifier("fresh")))
    with psycopg.connect(stack.dsn("realtime"), dbname="fresh", autocommit=True) as fresh:
        Runner(fresh, "realtime").migrate()
    assert schema(stack, "realtime") == schema(stack, "fresh")
    with psycopg.connect(stack.dsn("realtime")) as connection:
        odd = connection.execute(
            "select partition.oid::regclass from pg_class as partition inner join pg_inherits on inhrelid = oid "
            "where relnamespace = 'realtime'::regnamespace and relkind = 'r' and (reloptions is null or "
            "(select count(*) from pg_index where indrelid = oid) <> "
            "(select count(*) from pg_index where indrelid = inhparent))"
        ).fetchall()
    assert odd == []


def test_the_lane_goes_on_where_it_was_and_the_days_move(upgraded: tuple[int, Stack, Counts, str]) -> None:
    _, stack, before, _ = upgraded
    then = account(stack)
    publisher = Publisher(stack.settings, "upgraded")
    for number in range(MORE):
        fields = {"source_system": "simulated", "symbol": "BTC/USDT", "timestamp": AT, "price": 1.0, "size": 1.0}
        publisher.send(Datum("market_tick", fields, {"id": f"more {number}"}, int(AT.timestamp() * 1000)))
    publisher.close()
    command = [sys.executable, "-m", "tidemark.cli", "stream", "processor", "realtime"]
    with subprocess.Popen(command, env=stack.environ) as processor:
        while account(stack)["market_tick"]["consumed"] < then["market_tick"]["consumed"] + WAITING + MORE:
            assert processor.poll() is None
        processor.terminate()

    rows, promoted = before["market_tick"]
    now = account(stack)
    assert counts(stack) == before | {"market_tick": (rows + WAITING + MORE, promoted)}
    assert {topic: now[topic]["quarantined"] + now[topic]["dropped"] for topic in NOT_ROWS} == {
        topic: len(records) for topic, records in NOT_ROWS.items()
    }
    assert now["economic_event_text"]["dropped"] == len(NOT_ROWS["economic_event_text"])

    late = datetime(2026, 1, 1, tzinfo=UTC)
    moved = stack.run("promote", "--as-of", f"{late:%Y-%m-%d}", "--json")
    assert moved.returncode == 0, moved.stderr
    after = counts(stack)
    assert after == {topic: (0, sum(before[topic])) for topic in before} | {
        "market_tick": (0, rows + promoted + WAITING + MORE)
    }
    assert {topic: row["promoted"] for topic, row in account(stack).items()} == {t: n for t, (_, n) in after.items()}


class Reader(threading.Thread):
    """Reads a mart as the BI reader does, again and again; the rows of each look, and what it could not read."""

    def __init__(self, stack: Stack, mart: str) -> None:
        super().__init__()
        self.url, self.query = stack.dsn("warehouse", "bi_reader"), f"select count(*) from marts.{mart}"
        self.done, self.seen, self.failed = threading.Event(), set[int](), list[str]()

    def run(self) -> None:
        while not self.done.is_set():
            try:
                with psycopg.connect(self.url) as connection:
                    self.seen.add(connection.execute(self.query.encode()).fetchall()[0][0])
            except psycopg.Error as error:
                self.failed.append(str(error))

    def __enter__(self) -> "Reader":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()


def columns(stack: Stack, mart: str) -> list[tuple[str, str]]:
    with psycopg.connect(stack.dsn("warehouse")) as connection:
        return connection.execute(
            "select attname, format_type(atttypid, null) from pg_attribute "
            "where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
            (f"marts.{mart}",),
        ).fetchall()


@pytest.mark.faults
def test_a_mart_of_another_shape_names_what_to_run_and_is_read_until_the_new_one_is_whole(
    upgraded: tuple[int, Stack, Counts, str],
) -> None:
    _, stack, _, _ = upgraded
    mart = "fct_market_ticks"
    expected, rows = columns(stack, mart), one(stack, "warehouse", f"select count(*) from marts.{mart}")
    prices = one(stack, "warehouse", f"select sum(price::numeric) from marts.{mart}")
    indexes = one(stack, "warehouse", f"select count(*) from pg_indexes where tablename = '{mart}'")
    assert indexes >= 5
    with psycopg.connect(stack.dsn("warehouse")) as connection:
        connection.execute("alter table marts.fct_market_ticks drop column load_id, add column ticker text")
        connection.execute("alter table marts.fct_market_ticks alter column kafka_offset type int")
    said = "found it as an older version made it (lacks load_id, kafka_offset is integer, not bigint, has ticker)"
    up = stack.run("up")
    assert (up.returncode, said in up.stderr) == (0, True), up.stderr
    built = stack.run("models", "rebuild", "fct_numeric_events")  # what does not read it is well
    assert built.returncode == 0, built.stderr

    from tidemark import dbt

    with pytest.raises(dbt.DbtError) as failure:
        dbt.run(stack.settings, ["run", "--select", mart])
    assert said in str(failure.value)
    what_to_run = str(failure.value).split("`")[1]
    assert what_to_run == f"tidemark models rebuild {mart}"
    with Reader(stack, mart) as reader:
        command = [sys.executable, "-m", "tidemark.cli", *shlex.split(what_to_run)[1:]]
        done = subprocess.run(command, env=stack.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (reader.failed, reader.seen) == ([], {rows})
    assert columns(stack, mart) == expected
    assert one(stack, "warehouse", f"select sum(price::numeric) from marts.{mart}") == prices
    assert one(stack, "warehouse", f"select count(*) from pg_indexes where tablename = '{mart}'") == indexes
    assert "older version" not in stack.run("up").stderr
    dbt.run(stack.settings, ["build", "--select", f"{mart}+"])


def test_the_views_of_live_are_those_of_the_models_now(upgraded: tuple[int, Stack, Counts, str]) -> None:
    _, stack, _, _ = upgraded
    query = "select string_agg(viewname || definition, '' order by viewname) from pg_views where schemaname = 'live'"
    before = one(stack, "realtime", query)

    from tidemark import dbt

    dbt.run(stack.settings, ["run"], target="realtime")
    assert one(stack, "realtime", query) == before
    with psycopg.connect(stack.dsn("realtime", "stream_writer")) as connection:
        connection.execute(
            "insert into realtime.market_tick values ('now', 'A/B', now(), 1, 1, '{}', 1, 0, 0, "
            "(now() at time zone 'utc')::date)"
        )
    with psycopg.connect(stack.dsn("realtime", "bi_reader")) as connection:
        bars = "select trade_count from live.bars_1m where source_system = 'now'"
        assert connection.execute(bars).fetchall() == [(1,)]
