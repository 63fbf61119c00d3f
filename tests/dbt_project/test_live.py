"""The views of `live`, as the BI reader sees them."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dbt_project.conftest import Databases, at, level, tick

RESENT_IDS = yaml.safe_load((Path(__file__).parents[1] / "cases" / "resent_ids.yml").read_text())


def test_the_last_price_is_the_newest_by_the_venues_clock_and_then_by_arrival(live: Databases) -> None:
    """An older trade that arrives later does not win; of one instant the later arrival does."""
    live.stream("market_tick", [
        tick(1, "08 10:00:00", 1), tick(2, "08 10:00:05", 2), tick(3, "08 10:00:05", 3),
        tick(4, "08 09:00:00", 4, received_at=at("09 00:00:00")), tick(5, "08 11:00:00", 5, symbol="C/D"),
    ])  # fmt: skip
    assert live.query("realtime", "select symbol, price from live.last_price order by symbol") == [
        ("A/B", 3),
        ("C/D", 5),
    ]


def test_final_bars_of_a_promoted_day_are_the_final_bars_that_live_showed(
    live: Databases, warehouse: Databases
) -> None:
    """Exact decimals, half-open minutes, a trade sent again and one that is late: every cell, whichever database."""
    again: dict[str, Any] = {"attributes": {"id": "t1"}, "received_at": at("08 10:07:00")}
    ticks = [
        tick(1, "08 10:00:00", 64000.123456789, 0.1), tick(2, "08 10:00:59.999999", 63999.1, 0.2),
        tick(3, "08 10:00:00", 64000.123456789, 0.1, **again), tick(4, "08 10:01:00", 1e-7, 1e22),
        tick(5, "08 10:01:00", 2e-7, 1), tick(6, "08 10:01:00", 3e-7, 1, attributes={}),
        tick(7, "08 10:00:30", 63000, 0.7, received_at=at("08 11:00:00")), tick(8, "08 10:02:00", 5, 0),
        tick(9, "08 23:59:30", 7, received_at=at("08 23:59:59")), tick(10, "08 10:03:00", 8, symbol="BTC/USD:BTC"),
    ]  # fmt: skip
    live.stream("market_tick", ticks)
    warehouse.promote("market_tick", ticks, "a")
    warehouse.build("fct_bars_1m")
    columns = (
        "symbol, bar_start_at, volume_unit, open, high, low, close, vwap, volume, quote_volume, trade_count, is_final"
    )
    shown, kept = (
        databases.query(name, f"select {columns} from {table} order by 1, 2")
        for databases, name, table in (
            (live, "realtime", "live.bars_1m"),
            (warehouse, "warehouse", "marts.fct_bars_1m"),
        )
    )
    assert shown[:-2] + shown[-1:] == kept[:-2] + kept[-1:]
    assert shown[-2][:-1] == kept[-2][:-1]
    assert (shown[-2][-1], kept[-2][-1]) == (True, False)  # next to the tidemark, whose other side may have a tick of it
    assert [(bar[2], bar[8], bar[10]) for bar in shown[:3]] == [
        ("A", Decimal("1.0"), 3), ("A", Decimal("10000000000000000000002"), 3), ("A", Decimal(0), 1)
    ]  # fmt: skip
    bounded = "select trade_count from live.bars_1m where symbol = 'A/B' and bar_start_at between '2024-08-08T10:01Z' and '2024-08-08T10:01Z'"
    assert live.query("realtime", bounded) == [(3,)]


@pytest.mark.parametrize("case", [c for c in RESENT_IDS if c.get("live", True)], ids=lambda case: case["case"])
def test_a_trade_is_known_again_by_an_id_that_says_something(live: Databases, case: dict[str, Any]) -> None:
    live.stream("market_tick", [
        tick(n, f"08 {time}", 1, size, received_at=at(f"08 11:00:0{n}"), attributes={} if id_ is None else {"id": id_})
        for n, (id_, time, size) in enumerate(case["ticks"])
    ])  # fmt: skip
    bars = live.query("realtime", "select bar_start_at, trade_count, volume from live.bars_1m order by 1")
    assert bars == [(at(f"08 {minute}:00"), count, Decimal(volume)) for minute, count, volume in case["bars"]]


def test_bars_next_to_the_tidemark_or_to_now_are_not_final(live: Databases) -> None:
    """The first minute after the day that has left, one later, and the running one."""
    now = live.query("realtime", "select now()")[0][0]
    running = tick(3, "09 00:00:00", timestamp=now, received_at=now)
    live.stream("market_tick", [tick(1, "09 00:00:30"), tick(2, "09 00:01:00"), running])
    final = "select is_final from live.bars_1m order by bar_start_at"
    assert live.query("realtime", final) == [(True,), (True,), (False,)]
    live.trim("market_tick", date(2024, 8, 8))
    assert live.query("realtime", final) == [(False,), (True,), (False,)]


def test_a_wrong_clock_costs_no_reader_the_bars(live: Databases) -> None:
    """A tick of 1970 and one of the year 9998, beside today's."""
    strange = [
        tick(n, "08 10:00:00", timestamp=at("08 10:00:00").replace(year=year)) for n, year in ((2, 1970), (3, 9998))
    ]
    live.stream("market_tick", [tick(1, "08 10:00:00"), *strange])
    found = live.query("realtime", "select extract(year from bar_start_at)::int from live.bars_1m order by 1")
    assert found == [(1970,), (2024,), (9998,)]


def test_readers_see_whole_books_only(live: Databases) -> None:
    """The newest snapshot still lacks a record, so the one before it is the book; sent twice it is no other."""
    sides = [(("bid", 1), 99.0), (("bid", 2), 98.0), (("ask", 1), 101.0), (("ask", 2), 102.0)]
    old = [level(n, "s1", place, price, "08 10:00:00", of=4) for n, (place, price) in enumerate(sides)]
    again = [level(4, "s1", *sides[0], "08 10:00:00", of=4)]
    torn = [level(10 + n, "s2", place, price + 7, "08 10:00:01", of=4) for n, (place, price) in enumerate(sides[:3])]
    live.stream("order_book_l2", old + again + torn)
    book = "select side, level, price, snapshot_id from live.book order by side, level"
    assert live.query("realtime", book) == [
        ("ask", 1, 101, "s1"), ("ask", 2, 102, "s1"), ("bid", 1, 99, "s1"), ("bid", 2, 98, "s1"),
    ]  # fmt: skip
    top = "select bid_price, ask_price from live.top_of_book where symbol = 'A/B'"
    assert live.query("realtime", top) == [(99, 101)]
    live.stream("order_book_l2", [level(13, "s2", ("ask", 2), 109, "08 10:00:01", of=4)])
    assert live.query("realtime", top) == [(106, 108)]


def test_latest_events_and_the_feeds_health_come_from_the_rows(live: Databases) -> None:
    """Of a series its newest period, of an entry its newest wording, of a feed its last arrival and rate."""
    event = {
        "source_system": "fred", "event_publisher": "BEA", "unit": "dollars", "description": "GDP", "value": 1.0,
        "log_epoch": 1, "kafka_partition": 0, "received_at": at("08 10:00:00"),
    }  # fmt: skip
    about = [("2024-04-01", "2024-07-30", 1.0), ("2024-07-01", "2024-12-19", 3.0), ("2024-07-01", "2024-10-30", 2.0)]
    live.stream("economic_event_numeric", [
        event
        | {"value": value, "kafka_offset": n}
        | {"attributes": {"series_id": "GDP", "date": day, "realtime_start": vintage}}
        for n, (day, vintage, value) in enumerate(about)
    ])  # fmt: skip
    live.stream("economic_event_text", [
        event | {"value": title, "kafka_offset": n, "attributes": {"id": entry, "link": "x"}}
        for n, (entry, title) in enumerate([("e1", "10-K"), ("e2", "8-K"), ("e1", "10-K/A")])
    ])  # fmt: skip
    assert live.query("realtime", "select value, reference_date from live.latest_numeric_events") == [
        (3.0, date(2024, 7, 1))
    ]
    assert live.query("realtime", "select value from live.latest_text_events order by 1") == [("10-K/A",), ("8-K",)]
    live.stream("market_tick", [tick(n, f"08 10:00:0{n}") for n in range(3)])
    health = live.query(
        "realtime", "select topic, rows_per_minute, last_received_at, silent_for from live.feed_health order by 1"
    )
    assert [(row[0], row[1], row[2]) for row in health] == [
        ("economic_event_numeric", 3 / 60, at("08 10:00:00")),
        ("economic_event_text", 3 / 60, at("08 10:00:00")),
        ("market_tick", 3, at("08 10:00:02")),
    ]
    assert all(row[3] > timedelta(days=300) for row in health)
