"""The market marts load after load: late, re-sent and torn records, holes that close, and ticks that were deleted."""

from typing import Any

import psycopg
import pytest

from tests.dbt_project.conftest import QUIET, Databases, at, level, tick
from tidemark import dbt
from tidemark.dbt import DbtError

MARTS = (
    "fct_market_ticks", "fct_bars_1m", "fct_bars_1h", "fct_bars_1d", "rpt_returns_daily", "fct_order_book_levels",
    "fct_book_snapshots", "fct_book_spreads", "fct_tick_days", "fct_tick_holes", "rpt_coverage", "dim_instruments", "dim_venues",
    "dim_instruments_history", "dim_venues_history", "dim_symbols",
)  # fmt: skip
BINANCE: dict[str, Any] = {"source_system": "binance", "symbol": "BTC/USDT"}


def numbered(number: int, traded_at: str, price: float = 100, **changes: Any) -> dict[str, Any]:
    """A trade of a venue that numbers them."""
    named = {**BINANCE, "attributes": {"id": str(number), "side": "buy"}}
    return tick(number, traded_at, price, 0.1 * number, **{**named, **changes})


def contents(databases: Databases) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of each mart as text, but when they were written."""
    return {
        mart: databases.query(
            "warehouse",
            f"select to_jsonb(m)::jsonb - array['built_at', 'ticks_built_at', 'books_built_at'] from marts.{mart} as m "
            "order by 1",
        )
        for mart in MARTS
    }


def build(databases: Databases, *more: str) -> None:
    marts = [f"+{mart}" for mart in MARTS]
    dbt.run(databases.stack.settings, [*QUIET, "run", "--select", *marts, *more])


def test_a_full_refresh_equals_what_was_built_load_after_load(warehouse: Databases) -> None:
    """Each kind of change that a later load brings to what an earlier one built."""
    last_minute = [("bid", 1), ("ask", 1)]
    warehouse.promote(
        "market_tick",
        [
            numbered(1, "08 10:00:01", 100), numbered(2, "08 10:00:02", 101), numbered(5, "08 11:00:00", 102),
            tick(40, "08 10:00:00"), tick(41, "08 14:00:00", 7, symbol="C/D:D"), tick(49, "08 23:59:30"),
            tick(50, "08 12:00:00", 3, symbol="GONE", attributes={"id": "again"}, received_at=at("08 12:00:30")),
        ],
        "a",
    )  # fmt: skip
    books = [level(n, "s1", place, 99 + n, "08 23:59:59", of=2) for n, place in enumerate(last_minute)]
    books += [level(5, "s2", ("bid", 1), 98, "08 10:00:10", of=2), level(6, "s3", ("bid", 1), 98, "08 11:00:10", of=1)]
    warehouse.promote("order_book_l2", books, "a")
    build(warehouse)
    holes = "select missing_trade_count, reason from marts.fct_tick_holes where source_system = 'binance'"
    assert warehouse.query("warehouse", holes) == [(2, "records of the log are no rows here")]
    late = at("09 00:00:01")
    warehouse.promote(
        "market_tick",
        [
            numbered(3, "08 10:30:00", 103, received_at=late),  # what was missing, in part
            numbered(6, "09 10:00:00", 104), numbered(9, "11 10:00:00", 90),  # a day without a trade
            tick(42, "08 10:00:00.5", 5, received_at=late), tick(43, "08 10:00:00", received_at=late,
                                                                 attributes={"id": "t40"}),
        ],
        "b",
    )  # fmt: skip
    torn = [level(7, "s2", ("ask", 1), 99, "08 10:00:10", of=2), level(8, "s3", ("ask", 1), 99, "09 00:00:00", of=1)]
    torn += [level(9, "s1", ("ask", 1), 100, "09 00:05:00", of=2)]  # again, with another time
    warehouse.promote("order_book_l2", torn, "b")
    build(warehouse)
    # A day that is promoted last has the first sending of the only trade of its symbol's day.
    first = tick(30, "07 12:00:00", 3, symbol="GONE", attributes={"id": "again"})
    warehouse.promote("market_tick", [first, numbered(4, "08 10:31:00", 99, received_at=at("10 01:00:00"))], "c")
    build(warehouse)
    incremental = contents(warehouse)
    build(warehouse, "--full-refresh")
    assert contents(warehouse) == incremental

    assert warehouse.query("warehouse", "select bar_key from marts.fct_bars_1d where symbol = 'GONE'") == [
        ("venue:GONE:2024-08-07",)
    ]
    assert warehouse.query("warehouse", "select snapshot_id from marts.fct_book_snapshots order by 1") == [
        ("s1",), ("s2",)
    ]  # fmt: skip
    assert warehouse.query(
        "warehouse",
        "select traded_date::text, expected_trade_count, trade_count, hole_count, holes -> 0 ->> 'missing' "
        "from marts.rpt_coverage where source_system = 'binance' order by 1",
    ) == [
        ("2024-08-08", 5, 5, 0, None), ("2024-08-09", 1, 1, 1, "2"), ("2024-08-10", 0, 0, 1, "2"),
        ("2024-08-11", 3, 1, 1, "2"),
    ]  # fmt: skip


TICKS = "select count(*) from marts.fct_market_ticks"
BARS = "select bar_key, close, trade_count from marts.fct_bars_{} order by bar_key"


def delete(databases: Databases, days: int) -> None:
    from flows.retention import delete_ticks

    delete_ticks(databases.stack.settings.model_copy(update={"warehouse_tick_days": days}))


def test_ticks_that_are_old_are_deleted_by_day_and_what_was_computed_of_them_stays(warehouse: Databases) -> None:
    """A late tick changes no bar of such a day; a refresh of the bars alone is refused, of ticks and bars is whole."""
    warehouse.promote("market_tick", [tick(1, "08 10:00:01"), tick(2, "08 10:00:02", 101)], "a")
    warehouse.promote("market_tick", [tick(3, "09 10:00:01"), tick(4, "09 10:00:02", 7)], "b")
    with psycopg.connect(warehouse.stack.dsn("warehouse", "ingest_writer")) as connection:
        ago = "update ingestion.realtime__market_tick set loaded_at = loaded_at - make_interval(days => %s) where load_id = %s"
        connection.execute(ago, (9, "a"))
        connection.execute(ago, (8, "b"))
    warehouse.build("fct_bars_1m")
    delete(warehouse, 1)
    assert warehouse.query("warehouse", TICKS) == [(4,)]  # longer bars and holes were not computed of them yet
    warehouse.build("fct_bars_1d", "fct_bars_1h", "fct_tick_days", "dim_instruments")
    bars = {width: warehouse.query("warehouse", BARS.format(width)) for width in ("1m", "1h", "1d")}
    delete(warehouse, 1)  # the newest load says what is new, and stays
    assert warehouse.query("warehouse", TICKS) == [(2,)]
    late = tick(5, "08 10:00:03", 999, received_at=at("10 00:00:01"))
    warehouse.promote("market_tick", [late, tick(6, "10 10:00:00")], "c")
    warehouse.build("fct_bars_1d", "fct_bars_1h")
    assert warehouse.query("warehouse", TICKS) == [(4,)]
    for width, known in bars.items():
        assert warehouse.query("warehouse", BARS.format(width))[: len(known)] == known
    settings = warehouse.stack.settings
    assert dbt.run(settings, ["test", "--select", "fct_bars_1m", "fct_market_ticks"])
    refused = r"fct_bars_1m \(error.*expected every tick, found that 2 of 1 days were deleted \(TIDEMARK_WAREHOUSE_TICK"
    with pytest.raises(DbtError, match=refused):
        dbt.run(settings, ["run", "--full-refresh", "--select", "fct_bars_1m"])
    assert warehouse.query("warehouse", BARS.format("1m"))[: len(bars["1m"])] == bars["1m"]
    dbt.run(settings, ["run", "--full-refresh", "--select", "fct_market_ticks", "fct_bars_1m"])
    assert warehouse.query("warehouse", TICKS) == [(6,)]
    assert warehouse.query("warehouse", BARS.format("1m"))[0] == ("venue:A/B:2024-08-08T10:00Z", 999, 3)
