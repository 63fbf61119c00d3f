"""Ticks, books, bars and symbols of the warehouse, load after load."""

import random
import shutil
import string
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.dbt_project.conftest import QUIET, Databases, at, level, tick
from tidemark import dbt
from tidemark.dbt import DbtError

CASTS = ("+int_bad_casts_counted", "+fct_market_ticks")
BARS = "select bar_key, open, high, low, close, volume, trade_count, is_final from marts.fct_bars_1m order by bar_key"


def bar(minute: str, *values: Any) -> tuple[Any, ...]:
    """A row of BARS: the decimals are given as their text."""
    *decimals, trades, final = values
    return (f"venue:A/B:2024-08-{minute}", *map(Decimal, decimals), trades, final)


def test_ticks_that_arrive_load_after_load_end_in_the_bars_of_one_load(warehouse: Databases) -> None:
    """Late ticks, a trade sent again in a later load, and one whose first sending is promoted last."""
    again: dict[str, Any] = {"attributes": {"id": "t1"}}
    warehouse.promote(
        "market_tick", [tick(1, "08 10:00:01", 0.1, 0.1), tick(2, "08 10:00:02", 0.3, 0.2), tick(9, "08 23:59:30")], "a"
    )
    warehouse.build("fct_bars_1m")
    assert warehouse.query("warehouse", BARS) == [
        bar("08T10:00Z", "0.1", "0.3", "0.1", "0.3", "0.3", 2, True),
        bar("08T23:59Z", "100", "100", "100", "100", "1", 1, False),
    ]  # fmt: skip

    # The next day: the first trade again, a tick that came half a day late, and the last minute's other tick.
    late = tick(20, "08 10:00:00.5", 0.7, 0.4, received_at=tick(0, "09 00:00:01")["received_at"])
    resent = tick(21, "08 10:00:01", 0.1, 0.1, received_at=tick(0, "09 00:00:02")["received_at"], **again)
    warehouse.promote(
        "market_tick", [late, resent, tick(22, "08 23:59:59.999999", 99), tick(23, "09 00:00:00", 98)], "b"
    )
    warehouse.build("fct_bars_1m")
    after_two = warehouse.query("warehouse", BARS)
    assert after_two == [
        bar("08T10:00Z", "0.7", "0.7", "0.1", "0.3", "0.7", 3, True),
        bar("08T23:59Z", "100", "100", "99", "99", "2", 2, True),
        bar("09T00:00Z", "98", "98", "98", "98", "1", 1, True),
    ]  # fmt: skip

    # A day that is promoted late holds the first sending of a trade: the one that is here becomes the repeat.
    first = tick(5, "07 23:00:00", 55, attributes={"id": "t23"})
    warehouse.promote("market_tick", [first], "c")
    warehouse.build("fct_market_ticks")
    assert warehouse.query(
        "warehouse",
        "select kafka_offset, is_resent from marts.fct_market_ticks where trade_id in ('t1', 't23') order by 1",
    ) == [(1, False), (5, False), (21, True), (23, True)]


def test_building_again_changes_nothing(warehouse: Databases) -> None:
    """The rows, whole and as they lie in the table: none was written again."""
    warehouse.promote("market_tick", [tick(1, "08 10:00:01"), tick(2, "08 23:59:30")], "a")
    warehouse.promote("order_book_l2", [level(n, "s", ("bid", n), 1, "08 10:00:00", of=2) for n in (1, 2)], "b")
    warehouse.ingest("ecb__reference_rates", [{"Date": "2024-08-08", "USD": "1.1"}], "c")
    dbt.run(warehouse.stack.settings, ["build"])
    tables = (
        "fct_market_ticks",
        "fct_order_book_levels",
        "fct_economic_events",
        "fct_economic_observations",
        "dim_instruments",
    )
    rows = {table: warehouse.query("warehouse", f"select xmin, ctid, t.* from marts.{table} t") for table in tables}
    bars = warehouse.query("warehouse", "select * from marts.fct_bars_1m order by bar_key")
    dbt.run(warehouse.stack.settings, ["build", "--exclude-resource-type", "unit_test"])
    kept = [table for table in tables if table != "dim_instruments"]
    assert {t: warehouse.query("warehouse", f"select xmin, ctid, t.* from marts.{t} t") for t in kept} == {
        t: rows[t] for t in kept
    }
    assert [row[2:] for row in rows["dim_instruments"]] == warehouse.query(
        "warehouse", "select * from marts.dim_instruments"
    )
    assert warehouse.query("warehouse", "select * from marts.fct_bars_1m order by bar_key") == bars
    assert all(rows[table] for table in tables)


def test_a_snapshot_that_crosses_midnight_becomes_whole_with_its_second_half(warehouse: Databases) -> None:
    """Two loads, one book; and one that never gets its rest."""
    half = [level(1, "s1", ("bid", 1), 99, "08 23:59:59", of=2), level(2, "s0", ("ask", 1), 101, "08 23:59:50", of=2)]
    warehouse.promote("order_book_l2", half, "a")
    warehouse.build("fct_order_book_levels")
    whole = "select kafka_offset, is_whole_snapshot from marts.fct_order_book_levels order by 1"
    assert warehouse.query("warehouse", whole) == [(1, False), (2, False)]
    warehouse.promote("order_book_l2", [level(3, "s1", ("ask", 1), 100, "09 00:00:00", of=2)], "b")
    warehouse.build("fct_order_book_levels", "dim_instruments")
    assert warehouse.query("warehouse", whole) == [(1, True), (2, False), (3, True)]
    assert warehouse.query(
        "warehouse", "select instrument_key, base_currency, quote_currency from marts.dim_instruments"
    ) == [("venue:A/B", "A", "B")]


def test_a_value_that_cannot_be_cast_is_counted_and_named_and_its_row_stays(warehouse: Databases) -> None:
    """The build fails at the end, after all else is built."""
    bad = tick(2, "08 10:00:02") | {"timestamp": "today", "price": "cheap"}
    warehouse.promote("market_tick", [tick(1, "08 10:00:01"), bad, bad | {"kafka_offset": 3}], "a")
    with pytest.raises(DbtError, match="no_text_was_lost_in_a_cast"):
        dbt.run(warehouse.stack.settings, ["build", "--exclude-resource-type", "unit_test", "--select", *CASTS])
    assert warehouse.query(
        "warehouse",
        "select model_name, column_name, bad_count from intermediate.int_bad_casts_counted order by 2",
        "transformer",
    ) == [("stg_realtime__market_ticks", "price", 2), ("stg_realtime__market_ticks", "traded_at", 2)]  # fmt: skip
    assert warehouse.query("warehouse", "select count(*), count(traded_at) from marts.fct_market_ticks") == [(3, 1)]


def test_what_a_stranger_sends_is_a_row_whatever_its_length_and_its_joiners(warehouse: Databases) -> None:
    """Ids and names that no index takes, an id that says nothing, and names that joined would be one."""
    rng = random.Random(7)
    long_id = "".join(rng.choices(string.ascii_letters, k=4_000))
    wide = "".join(chr(rng.randrange(0x10000, 0x1FFFF)) for _ in range(200))
    names = [("x", "A:B C"), ("x:A", "B C"), (wide, wide), (wide, wide[:-1] + "0")]
    named = [
        tick(n, "08 10:00:00", source_system=source, symbol=symbol, attributes={"id": long_id})
        for n, (source, symbol) in enumerate(names)
    ]
    without = [tick(n, "08 10:00:00", attributes={"id": ""}) for n in (10, 11)]
    warehouse.promote("market_tick", [*named, *without], "a")
    books = [level(n, long_id, ("bid", n), 1, "08 10:00:00", of=2) for n in (1, 2)]
    warehouse.promote("order_book_l2", books, "b")
    warehouse.build("dim_instruments", "fct_bars_1m")
    warehouse.promote("market_tick", [named[0] | {"kafka_offset": 20}], "c")
    warehouse.build("dim_instruments", "fct_bars_1m")
    assert warehouse.query(
        "warehouse", "select kafka_offset from marts.fct_market_ticks where is_resent or is_resent is null"
    ) == [(20,)]
    assert warehouse.query(
        "warehouse",
        "select source_system, symbol, trade_count from marts.fct_bars_1m where instrument_key like 'x%' "
        "or symbol = 'A/B' order by 1",
    ) == [("venue", "A/B", 2), ("x", "A:B C", 1), ("x:A", "B C", 1)]
    assert warehouse.query("warehouse", "select count(*), max(octet_length(instrument_key)) < 510 from marts.dim_instruments") == [
        (5, True)
    ]  # fmt: skip
    assert warehouse.query("warehouse", "select count(*) from marts.fct_order_book_levels where is_whole_snapshot") == [
        (2,)
    ]  # fmt: skip


def test_a_bar_whose_only_trade_turns_out_to_be_sent_again_goes(warehouse: Databases) -> None:
    """The venue gave the trade another time when it sent it again, and the first sending is promoted last."""
    again: dict[str, Any] = {"attributes": {"id": "t1"}}
    warehouse.promote("market_tick", [tick(9, "09 10:00:00", **again), tick(10, "09 11:00:00")], "a")
    warehouse.build("fct_bars_1m")
    warehouse.promote("market_tick", [tick(1, "08 10:00:00", **again)], "b")
    warehouse.build("fct_bars_1m")
    assert [row[0] for row in warehouse.query("warehouse", BARS)] == [
        "venue:A/B:2024-08-08T10:00Z", "venue:A/B:2024-08-09T11:00Z"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "loads", [[(1, 5, 9)], [(1,), (5,), (9,)], [(9,), (5,), (1,)], [(5, 9), (1,)]], ids=lambda loads: str(loads)
)
def test_a_trade_sent_again_with_another_time_is_one_bar_in_whatever_order_it_is_loaded(
    warehouse: Databases, loads: list[tuple[int, ...]]
) -> None:
    """Another second, another minute, another day: the one that arrived first counts, by its place in the log."""
    again: dict[str, Any] = {"attributes": {"id": "t1"}}
    sent = {
        1: tick(1, "08 10:00:01", 7, **again),
        5: tick(5, "08 10:05:00", 7, received_at=at("08 10:00:02"), **again),
        9: tick(9, "09 10:00:00", 7, received_at=at("09 00:00:02"), **again),
    }
    without = [tick(n, "08 10:00:03", 8, attributes={"id": ""}) for n in (20, 21)]
    for number, load in enumerate(loads):
        warehouse.promote("market_tick", [*(sent[n] for n in load), *([] if number else without)], f"load{number}")
        warehouse.build("fct_bars_1m")
    assert warehouse.query("warehouse", "select kafka_offset, is_resent from marts.fct_market_ticks order by 1") == [
        (1, False), (5, True), (9, True), (20, False), (21, False)
    ]  # fmt: skip
    bars = "select bar_key, close, volume, trade_count from marts.fct_bars_1m"
    assert warehouse.query("warehouse", bars) == [("venue:A/B:2024-08-08T10:00Z", Decimal(8), Decimal(3), 3)]


def test_levels_that_name_no_snapshot_repeat_nothing_and_are_no_whole_book(warehouse: Databases) -> None:
    """Neither in one load nor in two."""
    bare = [dict(level(n, "", ("bid", 1), 99, "08 10:00:00", of=1)) for n in (1, 2, 3)]
    for number, rows in enumerate((bare[:2], bare[2:])):
        warehouse.promote("order_book_l2", rows, f"load{number}")
        warehouse.build("fct_order_book_levels")
    found = "select kafka_offset, is_resent, is_whole_snapshot from marts.fct_order_book_levels order by 1"
    assert warehouse.query("warehouse", found) == [(n, False, False) for n in (1, 2, 3)]


SOURCE = """
sources:
  - name: venue
    schema: ingestion
    tables:
      - name: trades
        identifier: venue__trades
        columns:
          - {name: id, data_type: text}
          - {name: price, data_type: text}
          - {name: at, data_type: text}
          - {name: load_id, data_type: text}
          - {name: file_name, data_type: text}
          - {name: loaded_at, data_type: timestamptz}
"""
STAGING = """
with

trades as (

    select * from {{ source_or_empty("venue", "trades") }} as loaded

),

final as (

    select
        'venue__trades' as source_table,
        'venue' as source_system,
        'A/B' as symbol,
        {{ blank_to_null("trades.id") }} as trade_id,
        trades.load_id,
        trades.file_name,
        null::jsonb as attributes,
        {{ cast_text("trades.price", "double precision") }} as price,
        1::double precision as size,
        {{ record_number("trades") }} as record_number,
        {{ cast_text("trades.at", "timestamptz") }} as traded_at,
        trades.loaded_at
    from trades

)

select * from final
"""


def test_a_batch_source_of_ticks_that_loads_late_is_seen_and_its_repeats_are_marked(
    warehouse: Databases, tmp_path: Path
) -> None:
    """One staging folder and one line: its load began before the day was promoted that is here already."""
    project = tmp_path / "dbt_project"
    shutil.copytree(dbt.DBT_PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    staging = project / "models" / "staging" / "venue"
    staging.mkdir()
    (staging / "_venue__sources.yml").write_text(SOURCE)
    (staging / "stg_venue__trades.sql").write_text(STAGING)
    united = project / "models" / "intermediate" / "market" / "int_market_ticks_united.sql"
    listed = "{%- set batch = [\n"
    assert listed in united.read_text()
    united.write_text(united.read_text().replace(listed, f'{listed}    ref("stg_venue__trades"),\n'))

    # What dbt parsed of it stays there: the next test has the project itself.
    there = ["--project-dir", str(project), "--target-path", str(tmp_path / "target")]

    def build() -> None:
        selected = ["--select", "+fct_bars_1m", "+dim_instruments"]
        dbt.run(warehouse.stack.settings, [*QUIET, "run", *selected, *there])

    def load(load: str, *trades: tuple[str | None, str, str]) -> None:
        rows = [{"id": name, "price": price, "at": f"2024-08-{time}Z"} for name, price, time in trades]
        warehouse.ingest("venue__trades", rows, load)
        with psycopg.connect(warehouse.stack.dsn("warehouse", "ingest_writer")) as connection:
            connection.execute(
                "update ingestion.venue__trades set loaded_at = loaded_at - interval '1 day' where load_id = %s", [load]
            )

    warehouse.promote("market_tick", [tick(1, "08 10:00:01", 5, attributes={"id": "7"})], "a")
    build()
    load("v1", ("7", "5", "08 10:00:01"), ("8", "6", "08 10:00:02"), (None, "7", "08 10:00:03"))
    build()
    load("v2", ("8", "6", "08 10:00:02"), (None, "7", "08 10:00:03"), (None, "7", "08 10:00:03"))
    build()
    rows = warehouse.query("warehouse", "select market_tick_key, is_resent from marts.fct_market_ticks order by 1")
    assert sorted(rows) == [
        ("market_tick:1:0:1", False),
        ("v1.gz:1", False),
        ("v2.gz:1", False),
        ("v2.gz:2", False),
        ("venue:A/B:7:v1.gz:2", True),
        ("venue:A/B:8:v1.gz:3", False),
        ("venue:A/B:8:v2.gz:3", True),
    ]
    assert warehouse.query("warehouse", BARS) == [bar("08T10:00Z", "5", "7", "5", "7", "5", 5, True)]
    assert warehouse.query("warehouse", "select instrument_key from marts.dim_instruments") == [("venue:A/B",)]
    dbt.run(
        warehouse.stack.settings,
        [*QUIET, "run", "--full-refresh", "--select", "+fct_bars_1m", "+dim_instruments", *there],
    )
    again = warehouse.query("warehouse", "select market_tick_key, is_resent from marts.fct_market_ticks order by 1")
    assert again == rows


def test_a_table_is_there_whatever_dbt_has_cached_of_its_schema(warehouse: Databases) -> None:
    """A thread of dbt adds a schema's tables to the cache one by one; the others take the schema for known at once."""
    warehouse.promote("market_tick", [tick(1, "08 10:00:00")], "first")
    query = (
        "{% if execute %}{% do adapter.cache_added(source('fred', 'observations')) %}{% endif %}"
        "select count(*) as ticks from {{ source_or_empty('realtime', 'market_tick') }} as loaded"
    )
    (shown,) = dbt.run(warehouse.stack.settings, ["show", "--inline", query])
    assert shown.agate_table.rows[0][0] == 1
