"""The rule of ranges that cross the tidemark, by pairs of snapshots of a promotion; each part of it left out once."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from flows import ledger, promote
from ingest.sources import realtime as source
from realtime import copy_out
from realtime.trim import TableBusy, trim
from serve.crossing import rule, sides, ticks
from serve.crossing.bars import ARRAYS, RELATIONS, Bars, HeldBars
from serve.crossing.rows import Rows, keep, kept
from serve.crossing.sides import Snapshot
from serve.crossing.union import first, union
from serve.spool import Spool, Spools
from tests.conftest import Stack, empty_realtime
from tests.dbt_project.conftest import QUIET, Databases, at, tick
from tidemark import dbt
from tidemark.credentials import OWNER
from tidemark.settings import Settings

pytestmark = pytest.mark.timeout(600)  # dbt builds for minutes on a machine that is busy
TOPIC = "market_tick"
READER = "catalog_reader"  # a part: nobody ends its long transactions
FIRST, SECOND = date(2024, 8, 8), date(2024, 8, 9)
FROM, TO = at("08 00:00:00"), at("11 00:00:00")
MODELS = ("+fct_bars_1m", "+fct_promotions")
BOUNDARIES = ("begin", "copy", "load", "marts", "verify", "drop of the first", "drop of the second")
VALUES = ("open", "high", "low", "close", "vwap", "volume", "quote_volume", "trade_count")


def same_trade(offset: int, traded_at: str, received_at: str, trade: int, price: float = 100) -> dict[str, Any]:
    """A record that arrives when it arrives, of the trade of a number."""
    return tick(offset, traded_at, price, received_at=at(received_at), attributes={"id": f"t{trade}"})


# Two minutes of the first day, which leaves; then what came of it later: late, sent again, across midnight.
OF_THE_FIRST = [tick(n, f"08 23:58:{n:02}", 100 + n, 0.1 * n) for n in range(1, 30)]
OPENED_AGAIN = [
    same_trade(40, "08 23:58:05", "08 23:59:30", 5, 105), same_trade(41, "08 23:58:40", "08 23:59:31", 41, 90),
    same_trade(42, "08 23:57:10", "08 23:59:32", 42), same_trade(43, "08 23:58:40", "08 23:59:33", 41, 90),
]  # fmt: skip
OF_THE_SECOND = [
    same_trade(50, "08 23:58:59", "09 00:00:01", 50, 130), same_trade(51, "08 23:58:07", "09 00:00:02", 7, 107),
    *(tick(60 + n, f"09 00:0{n % 3}:{n:02}", 200 - n, 0.3) for n in range(30)),
    same_trade(95, "09 23:59:59.999999", "09 23:59:59", 95, 201),
]  # fmt: skip
OF_THE_THIRD = [  # which stays
    same_trade(100, "08 23:58:30", "10 00:00:01", 100, 1), same_trade(101, "09 00:01:10", "10 00:00:02", 70, 190),
    same_trade(102, "09 23:59:59.999999", "10 00:00:03", 102, 202), tick(103, "10 00:00:05", 300, 2),
]  # fmt: skip
LATER = [*OPENED_AGAIN, *OF_THE_SECOND, *OF_THE_THIRD]
EVERY = [*OF_THE_FIRST, *LATER]
# One has no place in a log: the warehouse's alone.
OF_BATCH = tick(200, "08 23:58:31", 111, 5)
IDENTITIES = Counter([(1, 0, row["kafka_offset"]) for row in EVERY] + [(None, None, None)])


def twins() -> list[dict[str, Any]]:
    """The same trades of another symbol, none of which leaves: their bars are the rule's own, by `live`."""
    return [
        {
            **row,
            "symbol": "A/TWIN",
            "kafka_offset": 1_000 + row["kafka_offset"],
            "received_at": row["received_at"] + timedelta(days=10),
        }
        for row in [*EVERY, OF_BATCH]
    ]


@dataclass
class Taken:
    """What was seen at one boundary: realtime's rows and bars, read whole; the warehouse, still open."""

    left: list[rule.Left]
    rows: Spool
    bars: HeldBars
    own_bars: HeldBars
    warehouse: Snapshot


@dataclass
class Watch:
    """Takes a snapshot of each database at every boundary."""

    settings: Settings
    folder: Path
    taken: list[Taken] = field(default_factory=list)
    open: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spools = Spools(self.folder, 10**9)

    def take(self) -> None:
        """Realtime first; its transaction ends, as the rule has it, so that it holds up no trim."""
        realtime = self._begin("realtime", ("live.trimmed_days", "live.ticks", "live.bars_1m"))
        spool = self.spools.new()
        keep(realtime.batches(asked().realtime()), spool)
        left = rule.have_left(realtime, [TOPIC])
        whole, own = (bars(since).hold(realtime) for since in (bars().read_to, FROM))
        self.open.pop().close()
        relations = ("marts.fct_promotions", *RELATIONS["warehouse"])
        self.taken.append(Taken(left, spool, whole, own, self._begin("warehouse", relations)))
        rule.check_verified(self.taken[-1].warehouse, [])  # the first statement that reads fixes the snapshot

    def _begin(self, database: Any, relations: tuple[str, ...]) -> Snapshot:
        connection = sides.connect(self.settings, database, READER)
        self.open.append(connection)
        connection.execute(SQL("set idle_in_transaction_session_timeout = 0"))
        return sides.begin(connection, READER, relations)


def asked() -> ticks.TickRange:
    return ticks.TickRange("venue", "A/B", FROM, TO, 100_000)


def bars(since: datetime | None = None, interval: str = "1m") -> Bars:
    return Bars("venue", "A/B", interval, FROM, TO, since or TO + timedelta(days=2), numbers="numeric")


def copied(settings: Settings, day: date) -> ledger.Promotion:
    """A day's rows in the lake and in the ledger."""
    return promote._copy(settings, TOPIC, day, copy_out.day_slices(settings, TOPIC, day))


def leave(settings: Settings, promotion: ledger.Promotion) -> None:
    trim(settings, TOPIC, promotion.day, promotion.promotion_id, promotion.slices)


def steps(settings: Settings) -> Iterator[Callable[[], Any]]:
    """Promotion's own, in its own order, of two days at once."""
    promotions: list[ledger.Promotion] = []
    yield lambda: None
    yield lambda: promotions.extend(copied(settings, day) for day in (FIRST, SECOND))
    yield lambda: [source.load_day(settings, TOPIC, one.lake_path) for one in promotions]
    yield lambda: dbt.run(settings, [*QUIET, "run", "--select", *MODELS])
    yield lambda: list(map(partial(ledger.verify, settings), promotions))
    yield lambda: leave(settings, promotions[0])
    yield lambda: leave(settings, promotions[1])


def empty(stack: Stack) -> None:
    """No row of the streaming lane in either database; tables stay, as do those of other tests of the API."""
    empty_realtime(stack)
    with lent(stack, "warehouse", OWNER) as connection:
        names = connection.execute(
            "select schemaname, tablename from pg_tables where (schemaname, tablename) = ('ops', 'promotion') "
            "or (schemaname = 'marts' and tablename like 'fct\\_%') "
            "or (schemaname = 'ingestion' and tablename like 'realtime\\_\\_%')"
        ).fetchall()
        for name in names:
            connection.execute(SQL("truncate {}").format(Identifier(*name)))


def lent(stack: Stack, database: str, role: str) -> psycopg.Connection[Any]:
    """A connection of a role, each statement a transaction of its own."""
    return psycopg.connect(stack.dsn(database, role), autocommit=True)


@pytest.fixture(scope="module")
def watch(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """A day, and one that is opened again, promoted together and watched at every boundary."""
    settings, databases = stack.settings, Databases(stack)
    empty(stack)
    dbt.run(settings, [*QUIET, "run"], "realtime")
    databases.stream(TOPIC, [*OF_THE_FIRST, *twins()])
    before = copied(settings, FIRST)
    source.load_day(settings, TOPIC, before.lake_path)
    dbt.run(settings, [*QUIET, "run", "--select", *MODELS])
    ledger.verify(settings, before)
    leave(settings, before)
    with psycopg.connect(stack.dsn("warehouse", "transformer")) as connection:
        connection.execute(
            "insert into marts.fct_market_ticks (market_tick_key, instrument_key, source_table, source_system, symbol, "
            "trade_id, load_id, price, size, record_number, is_resent, traded_at, loaded_at, built_at) values "
            "('batch:1', 'venue:A/B', 'batch', 'venue', 'A/B', 't200', 'b', 111, 5, 1, false, %(at)s, now(), now()), "
            "('batch:2', 'venue:A/LAKE', 'batch', 'venue', 'A/LAKE', 't1', 'b', 1, 1, 2, false, %(at)s, now(), now())",
            {"at": OF_BATCH["timestamp"]},
        )
    databases.stream(TOPIC, LATER)
    made = Watch(settings, tmp_path_factory.mktemp("spools"))
    try:
        for step in steps(settings):
            step()
            made.take()
        yield made
    finally:
        for each in (*made.open, *(one.rows for one in made.taken)):
            each.close()


Pair = tuple[int, int]  # the boundaries of realtime's snapshot and of the warehouse's
NUMBERS = range(len(BOUNDARIES))
PAIRS = [(realtime, warehouse) for realtime in NUMBERS for warehouse in NUMBERS if warehouse >= realtime]
SWAPPED = [(realtime, warehouse) for realtime in NUMBERS for warehouse in NUMBERS if warehouse < realtime]
Batches = Iterator[Any]


def named(pair: Pair) -> str:
    return f"realtime at {BOUNDARIES[pair[0]]}, the warehouse at {BOUNDARIES[pair[1]]}"


def both(watch: Watch, pair: Pair) -> tuple[Batches, Batches]:
    """The rows of both sides, each in order."""
    return kept(watch.taken[pair[0]].rows), watch.taken[pair[1]].warehouse.batches(asked().warehouse())


def seen(batches: Batches) -> list[tuple[Any, ...]]:
    names = ("log_epoch", "kafka_partition", "kafka_offset", "traded_at")
    return [tuple(row[name] for name in names) for batch in batches for row in batch.to_pylist()]


def wrong(rows: list[tuple[Any, ...]]) -> Counter[Any]:
    """Identities that are lost or doubled."""
    found = Counter(row[:3] for row in rows)
    return (found - IDENTITIES) + (IDENTITIES - found)


def test_no_pair_of_snapshots_loses_or_doubles_a_tick(watch: Watch) -> None:
    for pair in PAIRS:
        rule.check_verified(watch.taken[pair[1]].warehouse, watch.taken[pair[0]].left)
        rows = seen(union(*both(watch, pair), ticks.ORDER))
        assert not wrong(rows), named(pair)
        assert [row[3] for row in rows] == sorted(row[3] for row in rows)
    assert [len(one.left) for one in watch.taken] == [1, 1, 1, 1, 1, 2, 3]


def test_in_the_other_order_ticks_are_lost_and_the_ledger_says_so(watch: Watch) -> None:
    lost = [pair for pair in SWAPPED if wrong(seen(union(*both(watch, pair), ticks.ORDER)))]
    assert lost
    for realtime, warehouse in lost:
        with pytest.raises(rule.ReadAgain, match="it lacks"):
            rule.check_verified(watch.taken[warehouse].warehouse, watch.taken[realtime].left)


def test_without_the_union_ticks_are_doubled(watch: Watch) -> None:
    doubled = [pair for pair in PAIRS if wrong([row for side in both(watch, pair) for row in seen(side)])]
    marts = BOUNDARIES.index("marts")
    assert doubled == [pair for pair in PAIRS if pair[1] >= marts and pair[0] < len(BOUNDARIES) - 1]


def shown(batches: Batches) -> list[tuple[Any, ...]]:
    """The exact values of bars, and when each begins."""
    return [tuple(row[name] for name in (*VALUES, "bar_start_at")) for batch in batches for row in batch.to_pylist()]


def joined(watch: Watch, pair: Pair, interval: str = "1m") -> list[tuple[Any, ...]]:
    realtime, warehouse = watch.taken[pair[0]], watch.taken[pair[1]].warehouse
    return shown(iter(bars(interval=interval).join(realtime.bars, warehouse)))


@pytest.fixture(scope="module")
def expected(watch: Watch, stack: Stack) -> list[tuple[Any, ...]]:
    """The bars of the twin, of which nothing has left."""
    values = ", ".join(f"{name}::text" for name in VALUES)
    query = f"select {values}, bar_start_at from live.bars_1m where symbol = 'A/TWIN' order by bar_start_at"
    return [(*row[:-2], int(row[-2]), row[-1]) for row in Databases(stack).query("realtime", query)]


def test_every_pair_has_the_bars_that_dbt_makes_of_the_same_ticks(watch: Watch, expected: Any) -> None:
    assert len(expected) == 7
    for pair in PAIRS:
        assert joined(watch, pair) == expected, named(pair)


def test_the_bars_that_dbt_builds_when_all_has_left_are_the_same(watch: Watch, expected: Any, stack: Stack) -> None:
    """Of the minutes that realtime holds nothing of any more."""
    values = ", ".join(f"{name}::text" for name in VALUES)
    query = f"select {values}, bar_start_at from marts.fct_bars_1m where symbol = 'A/B' order by bar_start_at"
    built = [(*row[:-2], int(row[-2]), row[-1]) for row in Databases(stack).query("warehouse", query)]
    stay = [at("08 23:57:00"), at("09 00:00:00"), at("09 00:02:00")]
    assert [bar for bar in built if bar[-1] in stay] == [bar for bar in expected if bar[-1] in stay]


def test_with_the_sides_own_bars_a_minute_that_both_hold_is_wrong(watch: Watch, expected: Any) -> None:
    for realtime, warehouse in PAIRS:
        own = bars(FROM).united(watch.taken[realtime].own_bars, watch.taken[warehouse].warehouse)
        assert shown(iter(own)) != expected


def test_bars_are_read_again_where_the_warehouse_was_filled_meanwhile(watch: Watch, expected: Any) -> None:
    """From where on bars are realtime's own was asked beforehand; a later snapshot may hold more."""
    begin, dropped, one = watch.taken[0], watch.taken[-1], bars()
    one.since = one.ask_since(begin.warehouse)
    assert one.since == at("08 23:59:00")
    with pytest.raises(rule.ReadAgain, match="one did"):
        one.join(begin.own_bars, dropped.warehouse)
    assert one.since == at("10 00:00:00")


@pytest.mark.parametrize("interval", ["5m", "1h", "1d"])
def test_longer_bars_are_the_same_in_every_pair(watch: Watch, expected: Any, interval: str) -> None:
    """And of all trades: no minute is left out or taken twice."""
    answers = [joined(watch, pair, interval) for pair in PAIRS]
    assert all(answer == answers[0] for answer in answers)
    assert sum(bar[-2] for bar in answers[0]) == sum(bar[-2] for bar in expected)
    assert (answers[0][0][0], answers[0][-1][3]) == (expected[0][0], expected[-1][3])


@pytest.mark.parametrize("interval", ["1m", "1h"])
def test_a_bar_of_batch_ticks_alone_is_final_whenever_it_is_asked_as_in_the_mart(watch: Watch, interval: str) -> None:
    nothing = HeldBars("-infinity", (None,) * len(ARRAYS))
    finals = [
        [row["is_final"] for batch in one.united(nothing, watch.taken[-1].warehouse) for row in batch.to_pylist()]
        for one in (replace(bars(interval=interval), symbol="A/LAKE"), bars(interval=interval))
    ]
    assert (finals[0], set(finals[1])) == ([True], {False})


@pytest.mark.parametrize("size", [1, 7, 50])
def test_pages_have_each_tick_once_while_a_promotion_goes_on(watch: Watch, size: int) -> None:
    """Each page reads both sides anew, from the place where the last one ended."""
    rows: list[tuple[Any, ...]] = []
    place, number = None, 0
    while place or not number:
        one = replace(asked(), limit=size, after=place)
        pair = (min(number, len(BOUNDARIES) - 2), min(number + 1, len(BOUNDARIES) - 1))
        page: list[Any] = []
        question = Rows(
            ticks.TOPICS, ticks.RELATIONS, one.realtime(), one.warehouse(), ticks.ORDER, size, watch.spools.new,
            page.extend,
        )  # fmt: skip
        held = watch.spools.new()
        keep(first(behind(kept(watch.taken[pair[0]].rows), place), size + 1), held)
        place, number = question.join(held, watch.taken[pair[1]].warehouse), number + 1
        question.release(held)
        rows += seen(iter(page))
    assert not wrong(rows)
    assert number == -(-sum(IDENTITIES.values()) // size)


def behind(batches: Batches, place: Any) -> Batches:
    """What realtime's own query would leave out."""
    for batch in batches:
        start = sum(place is not None and ticks.ORDER.key(batch, row) <= place for row in range(batch.num_rows))
        if start < batch.num_rows:
            yield batch.slice(start)


@contextmanager
def begun(settings: Settings, database: Any, *relations: str) -> Iterator[Snapshot]:
    connection = sides.connect(settings, database, READER)
    try:
        yield sides.begin(connection, READER, relations)
    finally:
        connection.close()


def test_a_day_cannot_leave_between_the_snapshot_and_its_rows(watch: Watch, stack: Stack) -> None:
    """Without its lock a reader sees neither the rows, which are gone, nor the note of it, which is younger than it."""
    settings, day = stack.settings, date(2024, 8, 28)
    query = replace(asked(), symbol="A/LOCK", to_at=at("29 00:00:00")).realtime()
    Databases(stack).stream(TOPIC, [tick(9_000, "28 10:00:00", symbol="A/LOCK")])
    slices = copy_out.day_slices(settings, TOPIC, day)
    with begun(settings, "realtime", "live.trimmed_days", "live.ticks") as realtime:
        with pytest.raises(TableBusy):
            trim(settings, TOPIC, day, uuid4(), slices)
        assert len(realtime.rows(query)) == 1
    with begun(settings, "realtime", "live.trimmed_days") as realtime:
        before = rule.have_left(realtime, [TOPIC])
        trim(settings, TOPIC, day, uuid4(), slices)
        assert (rule.have_left(realtime, [TOPIC]), realtime.rows(query)) == (before, [])
    with begun(settings, "realtime", "live.trimmed_days") as realtime:
        assert len(rule.have_left(realtime, [TOPIC])) == len(before) + 1


def test_a_mart_cannot_be_swapped_between_the_snapshot_and_its_rows(stack: Stack, watch: Watch) -> None:
    swap = "begin; set local lock_timeout = '100ms'; create table marts.new as table marts.swapped; "
    swap += "drop table marts.swapped; alter table marts.new rename to swapped; "
    swap += "grant select on marts.swapped to public; commit"
    rows = SQL("select 1 from marts.swapped")
    with lent(stack, "warehouse", "transformer") as builder:
        builder.execute("create table marts.swapped as select 1 as one")
        builder.execute("grant select on marts.swapped to public")
        try:
            with begun(stack.settings, "warehouse", "marts.fct_promotions", "marts.swapped") as warehouse:
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    builder.execute(swap)
                builder.execute("rollback")
                assert len(warehouse.rows(rows)) == 1
            with begun(stack.settings, "warehouse", "marts.fct_promotions") as warehouse:
                rule.check_verified(warehouse, [])
                builder.execute(swap)
                assert warehouse.rows(rows) == []
        finally:
            builder.execute("drop table if exists marts.swapped, marts.new")
