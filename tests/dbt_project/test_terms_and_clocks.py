"""What people list of venues and instruments, and builds whose clocks or transactions overlap."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from tests.dbt_project.conftest import QUIET, Databases, tick
from tests.dbt_project.test_observations import streamed, vintage
from tidemark import dbt

DAY = {"effective_at": "1970-01-01 00:00:00+00", "known_at": "2026-11-29 00:00:00+00"}
LATER = DAY | {"effective_at": "2024-08-08 12:00:00+00"}
TERMS = {
    "instruments": [
        {"source_system": "venue", "pattern": "^ES", "contract_size": 1, **DAY},
        {"source_system": "venue", "pattern": "^ES[HMUZ][0-9]$", "contract_size": 40, **DAY},
        {"source_system": "venue", "pattern": "^ES[HMUZ][0-9]$", "contract_size": 50, **LATER},
    ],
    "venues": [
        {"source_system": "venue", "size_unit": "lots", **DAY},
        {"source_system": "venue", "size_unit": "contracts", **LATER},
    ],
}  # fmt: skip


def test_terms_are_of_the_most_specific_pattern_and_a_unit_is_of_its_time(warehouse: Databases, tmp_path: Path) -> None:
    """Two patterns match a symbol: one row, its earlier terms in the history, and a warning that names both."""
    traded = [("08 10:00:00", "ESZ4"), ("08 13:00:00", "ESZ4"), ("08 13:00:00", "ES")]
    rows = [tick(offset, at, symbol=symbol) for offset, (at, symbol) in enumerate(traded)]
    warehouse.promote("market_tick", rows, "a")
    settings = warehouse.stack.settings
    # In a folder of its own: other variables make dbt parse the project anew, and the next test after it.
    terms = ["--vars", json.dumps(TERMS), "--target-path", str(tmp_path)]
    dbt.run(settings, ["run", "--select", "+dim_instruments_history", "+fct_bars_1m", *terms])
    query = "select symbol, contract_size::int, size_unit, effective_at from marts.dim_instruments order by symbol"
    begin, noon = datetime(1970, 1, 1, tzinfo=UTC), datetime(2024, 8, 8, 12, tzinfo=UTC)
    assert warehouse.query("warehouse", query) == [("ES", 1, "contracts", begin), ("ESZ4", 50, "contracts", noon)]
    query = "select instrument_key, contract_size::int, is_current from marts.dim_instruments_history order by 1, 2"
    assert warehouse.query("warehouse", query) == [
        ("venue:ES", 1, True), ("venue:ESZ4", 40, False), ("venue:ESZ4", 50, True)
    ]  # fmt: skip
    query = "select symbol, volume_unit from marts.fct_bars_1m order by symbol, bar_start_at"
    assert warehouse.query("warehouse", query) == [("ES", "contracts"), ("ESZ4", "lots"), ("ESZ4", "contracts")]
    found = dbt.run(settings, ["test", "--select", "an_instrument_is_matched_by_one_pattern", *terms])
    assert [(str(test.status), test.failures) for test in found] == [("warn", 1)]


BARS = "select bar_start_at::time::text, close::float, trade_count from marts.fct_bars_1m order by bar_start_at"


def test_a_clock_that_was_set_back_hides_no_row_from_what_reads_it(warehouse: Databases) -> None:
    """All that is here was written an hour from now."""
    warehouse.promote("market_tick", [tick(1, "08 10:00:00")], "a")
    warehouse.build("fct_bars_1m")
    with psycopg.connect(warehouse.stack.dsn("warehouse")) as owner:
        for clock in (
            "marts.fct_market_ticks:built_at",
            "marts.fct_bars_1m:built_at",
            "ops.published_mart:published_at",
        ):
            table, column = clock.split(":")
            owner.execute(f"update {table} set {column} = {column} + interval '1 hour'".encode())
    for offset in (2, 3):
        warehouse.promote("market_tick", [tick(offset, f"08 10:0{offset}:00")], f"b{offset}")
        warehouse.build("fct_bars_1m")
    assert warehouse.query("warehouse", BARS) == [("10:00:00", 100, 1), ("10:02:00", 100, 1), ("10:03:00", 100, 1)]


def test_what_another_build_wrote_meanwhile_is_derived_by_the_next(warehouse: Databases) -> None:
    """Its transaction began before this build's, and was committed after it."""
    warehouse.ingest("fred__observations", [vintage("2020-01-01", "2020-05-01", "9999-12-31", "1")], "a")
    warehouse.build("fct_economic_observations")
    written: Any = (
        "insert into marts.fct_economic_events select (jsonb_populate_record(events, jsonb_build_object('event_key', "
        "event_key || %s, 'observation_key', observation_key || %s, 'built_at', now()))).* "
        "from marts.fct_economic_events as events where event_key like '%%:1'"
    )
    derive = [*QUIET, "run", "--select", "fct_economic_observations"]
    with psycopg.connect(warehouse.stack.dsn("warehouse", "transformer")) as before:
        before.execute(written, ("a", "a"))
    with psycopg.connect(warehouse.stack.dsn("warehouse", "transformer")) as other:
        other.execute(written, ("b", "b"))
        dbt.run(warehouse.stack.settings, derive)
        other.commit()
    dbt.run(warehouse.stack.settings, derive)
    keys = "select observation_key from marts.fct_economic_observations order by 1"
    key = "fred:GDP:2020-01-01"
    assert warehouse.query("warehouse", keys) == [(key,), (f"{key}a",), (f"{key}b",)]


def test_no_year_and_no_number_of_a_stranger_stops_a_model_or_a_reader(warehouse: Databases) -> None:
    """What Postgres takes and cannot compute with: rows stay, their texts are counted, events are rejected."""
    bad = [{"timestamp": "294276-12-31T23:59:59Z"}, {"timestamp": "0044-03-15 BC"}, {"price": "NaN"}, {"size": "-inf"}]
    rows = [tick(offset, "08 10:00:00") | changes for offset, changes in enumerate([{}, *bad])]
    warehouse.promote("market_tick", rows, "a")
    good = {"date": "2024-07-01", "realtime_start": "2024-08-08"}
    ends = [{"realtime_end": "2024-08-08"}, {"realtime_end": "5874897-12-31"}, {"realtime_end": "8/9/2024"}]
    events = [streamed(offset, **good, **end) for offset, end in enumerate(ends)]
    warehouse.promote("economic_event_numeric", [*events, streamed(3, **good) | {"value": "NaN"}], "b")
    rates = [{"Date": "2024-06-26", "USD": "1.1", "JPY": "0"}, {"Date": "2024-06-27", "USD": "Infinity", "JPY": "160"}]
    warehouse.ingest("ecb__reference_rates", rates, "c")
    warehouse.build("fct_bars_1m", "fct_tick_days", "fct_economic_observations", "fct_fx_crosses", "rpt_rejected_rows")
    assert warehouse.query("warehouse", BARS) == [("10:00:00", 100, 1)]
    assert warehouse.query("warehouse", "select count(*) from marts.fct_market_ticks") == [(5,)]
    assert warehouse.query("warehouse", "select kafka_offset from marts.rpt_rejected_rows order by 1") == [
        (1,),
        (2,),
        (3,),
    ]
    known = "select (select count(*) from (select * from asof.fct_economic_{} offset 0) as known)"
    assert [warehouse.query("warehouse", known.format(mart)) for mart in ("events", "observations")] == [[(5,)], [(4,)]]
    crosses = "select count(*), count(rate) from (select * from marts.fct_fx_crosses offset 0) as crosses"
    assert warehouse.query("warehouse", crosses) == [(8, 6)]


def test_a_default_of_the_server_changes_no_value(warehouse: Databases) -> None:
    """How many digits a double's text has, and in which zone and order a day is said."""
    warehouse.promote("market_tick", [tick(1, "08 10:00:00", 0.1234567890123456)], "a")
    defaults = {"extra_float_digits": "-3", "timezone": "Asia/Tokyo", "datestyle": "SQL, DMY"}
    with psycopg.connect(warehouse.stack.dsn("warehouse"), autocommit=True) as owner:
        for name, value in defaults.items():
            owner.execute(f"alter role transformer set {name} = '{value}'".encode())
        try:
            warehouse.build("fct_bars_1d")
        finally:
            for name in defaults:
                owner.execute(f"alter role transformer reset {name}".encode())
    assert warehouse.query("warehouse", "select bar_key, close::text from marts.fct_bars_1d") == [
        ("venue:A/B:2024-08-08", "0.1234567890123456")
    ]
