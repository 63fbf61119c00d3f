"""What users ask of `live`: the last price of a symbol, and its bars of a day; QuestDB on the same rows is the peer.

Ticks of 500 symbols, in the order of their time over the four days that `realtime` keeps (today and x = 3), go into
`realtime` by COPY, which is vacuumed as autovacuum leaves it, and into QuestDB by its line protocol; bars are asked of
one whole day. Both are asked over the Postgres wire by the same client, one query at a time, twenty of the one and
twenty of the other in turn, for symbols by chance (the seed is fixed); the clock runs until the client has the rows.
Answers are compared first. `live.bars_1m` does more than the peer's query: it leaves out re-sent trades, sums exact
decimals, and says which bars are final.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from math import isclose
from statistics import median, quantiles
from time import perf_counter
from typing import Any

from psycopg.sql import SQL

from bench import questdb
from bench.filling import TOPIC
from bench.report import Measure
from bench.stack import BenchmarkFailed, Connection, own_stack
from bench.ticks import SOURCE, START, SYMBOLS, Tick, blocks, copy_line, symbol, tick
from realtime import partitions, tables
from realtime.rows import note_feeds
from tidemark import dbt

SEED = 9
COMPARED = 5  # symbols whose answers are compared
IN_A_ROW = 20  # queries of one side before the other's turn: after its own, the peer's threads look for work a while
DAYS = 4
DAY = (START + timedelta(days=1), START + timedelta(days=2))

LAST_PRICE = "select price, size, traded_at from live.last_price where symbol = %s"
BARS = (
    "select bar_start_at, open, high, low, close, volume, trade_count, is_final from live.bars_1m "
    "where symbol = %s and bar_start_at >= %s and bar_start_at < %s order by bar_start_at"
)
Ask = Callable[[str], list[tuple[Any, ...]]]


def measure(ticks: int, queries: int, rounds: int) -> list[Measure]:
    """Rounds of so many queries of each kind, ours and the peer's in turn."""
    with own_stack() as stack, questdb.questdb(stack) as server:
        with stack.connect() as connection:
            load(connection, ticks)
        server.load(blocks(questdb.line(one, n, us(n, ticks)) for n, one in all_ticks(ticks)), ticks)
        dbt.run(stack.settings, ["run"], target="realtime")
        with stack.connect("bi_reader") as ours, server.connect() as peer:
            last = (asking(ours, LAST_PRICE), asking(peer, questdb.LAST_PRICE))
            bars = (asking(ours, BARS, *DAY), asking(peer, questdb.BARS, *(at.replace(tzinfo=None) for at in DAY)))
            compare(last, bars)
            return [
                *_measures("read_last_price", [alternate(*last, queries, n) for n in range(rounds)], 5),
                *_measures("read_bars_1m_of_a_day", [alternate(*bars, queries, n) for n in range(rounds)], 50),
            ]


def _measures(name: str, rounds: list[tuple[list[float], list[float]]], most: float) -> list[Measure]:
    """p50 and p99 of each round; the goal is `most`, and at most twice what the peer takes."""
    found = []
    for percent in (50, 99):
        ours, peer = ([quantiles(side, n=100)[percent - 1] for side in sides] for sides in zip(*rounds, strict=True))
        goal = min(most, 2 * median(peer)) if percent == 99 else None
        found.append(Measure(f"{name}_p{percent}_ms", ours, peer, goal=goal, lower_is_better=True))
    return found


def all_ticks(ticks: int) -> Iterator[tuple[int, Tick]]:
    """All ticks, evenly spread over the days."""
    step = timedelta(days=DAYS) / ticks
    return ((number, tick(number, step)) for number in range(ticks))


def us(number: int, ticks: int) -> int:
    """The time of a tick in microseconds since 1970 UTC, as `all_ticks` has it."""
    return int(START.timestamp()) * 1_000_000 + number * (timedelta(days=DAYS) / ticks // timedelta(microseconds=1))


def load(connection: Connection, ticks: int) -> None:
    """The days' partitions, filled by COPY, with the feeds that the processor would have noted."""
    partitions.ensure(connection, [(TOPIC, START.date() + timedelta(days=day)) for day in range(DAYS)])
    table = tables.of_topic(TOPIC)
    with connection.cursor() as cursor, cursor.copy(SQL("copy {} from stdin").format(table)) as copy:
        for block in blocks(copy_line(one, number, one.time) for number, one in all_ticks(ticks)):
            copy.write(block)
    with connection.cursor() as cursor:
        note_feeds(cursor, {(TOPIC, SOURCE, symbol(index)) for index in range(SYMBOLS)})
    connection.execute(SQL("vacuum (analyze) {}").format(table))
    connection.execute(SQL("analyze {}").format(tables.FEEDS))
    connection.execute("checkpoint")


def asking(connection: Connection, query: str, *more: datetime) -> Ask:
    """A function from a symbol to the query's rows."""
    return lambda name: connection.execute(query, (name, *more)).fetchall()


def compare(last: Sequence[Ask], bars: Sequence[Ask]) -> None:
    """BenchmarkFailed where the two do not say the same."""
    for index in range(COMPARED):
        name = symbol(index * 97)
        (ours,), (peer,) = last[0](name), last[1](name)
        if ours[:2] != peer[:2]:
            raise BenchmarkFailed(f"expected the last price {peer} of {name}, as QuestDB says, received {ours}")
        mine, theirs = bars[0](name), bars[1](name)
        if len(mine) != len(theirs) or not all(map(_same_bar, mine, theirs)):
            raise BenchmarkFailed(f"expected {len(theirs)} bars of {name} as QuestDB gives them, received other ones")


def _same_bar(ours: tuple[Any, ...], peer: tuple[Any, ...]) -> bool:
    """QuestDB's times have no zone; its sums are of doubles."""
    same_time = ours[0].replace(tzinfo=None) == peer[0]
    return same_time and all(isclose(float(a), b, rel_tol=1e-9) for a, b in zip(ours[1:7], peer[1:], strict=True))


def alternate(ours: Ask, peer: Ask, queries: int, number: int) -> tuple[list[float], list[float]]:
    """Milliseconds of every query of one round, ours and the peer's: some of the one, then the same of the other."""
    by_chance = random.Random(SEED + number)
    names = [symbol(by_chance.randrange(SYMBOLS)) for _ in range(queries)]
    taken: tuple[list[float], list[float]] = ([], [])
    for begin in range(0, queries, IN_A_ROW):
        for ask, times in zip((ours, peer), taken, strict=True):
            ask(names[begin])  # the other side's work is out of the caches when the clock counts
            for name in names[begin : begin + IN_A_ROW]:
                began = perf_counter()
                ask(name)
                times.append((perf_counter() - began) * 1000)
    return taken
