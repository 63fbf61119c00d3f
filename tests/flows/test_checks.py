"""`tidemark check --deep`: what was broken on purpose is found, in its table and by its identity."""

import gzip
import json
import re
import shutil
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from catalog import check, stored
from catalog.check import AS_IN_LAKE
from catalog.kept import failures
from flows import checks, promote
from ingest import pipeline
from tests.conftest import Stack, empty_realtime, empty_warehouse, take_over_parsed
from tests.dbt_project.conftest import Databases, at, level, tick
from tests.ingest.conftest import KEY
from tests.ingest.loopback import Query, Reply, serving, zipped
from tidemark import dbt
from tidemark.categories import CATEGORIES
from tidemark.errors import ConfigurationError

PLACE = {"log_epoch": 1, "kafka_partition": 0}
LEFT, STAGED = date(2024, 8, 8), date(2024, 8, 9)


def event(offset: int, value: Any, description: str) -> dict[str, Any]:
    """A release of a wire service, with an id of its own."""
    return {
        "source_system": "wire", "event_publisher": "BEA", "value": value, "unit": "", "description": description,
        "attributes": {"id": f"e{offset}"}, "kafka_offset": offset, "received_at": at("08 12:00:00"), **PLACE,
    }  # fmt: skip


ROWS: dict[str, list[dict[str, Any]]] = {
    "market_tick": [
        *(tick(n, f"08 10:0{n}:01", 100 + n) for n in range(4)),
        tick(4, "08 10:09:00", 5, attributes={"id": "t1"}),  # t1 again, at another time
        *(tick(n, f"09 10:0{n}:01", 100 + n) for n in range(5, 8)),
    ],
    "order_book_l2": [dict(level(n, "s", ("bid", n), 99 - n, "08 10:00:00", of=8)) for n in range(1, 9)],
    "economic_event_numeric": [event(n, n / 10, "GDP") for n in range(3)],
    "economic_event_text": [event(n, f"filing {n}", "10-K") for n in range(5)],
}


def of_fred(path: str, query: Query) -> Reply:
    """Each series with its description and two observations, one of which has no number."""
    series = query["series_id"]
    if path.endswith("vintagedates"):
        return Reply(b'{"count": 1, "vintage_dates": ["2024-10-30"]}')
    if path.endswith("observations"):
        days = {"2024-01-01": "1.10", "2024-04-01": "."}
        rows = [
            {"realtime_start": "2024-10-30", "realtime_end": "9999-12-31", "date": day, "value": value}
            for day, value in days.items()
        ]
        return Reply(json.dumps({"count": len(rows), "observations": rows}).encode())
    return Reply(json.dumps({"seriess": [{"id": series, "title": f"The {series}", "units": "Percent"}]}).encode())


@pytest.fixture(scope="module")
def whole(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Batch sources loaded, a day promoted, of the next day the ticks copied and loaded, and all of it built."""
    empty_realtime(stack)
    empty_warehouse(stack)
    home = tmp_path_factory.mktemp("checks") / "home"
    shutil.copytree(stack.settings.home / "credentials", home / "credentials")
    take_over_parsed(stack, home)
    (home / "mark").write_text("replay")
    first, second = "2024-01-02,1.10,N/A,0.8,\n", "2024-01-03,1.2,7,0.8,\n2024-01-02,1.11,N/A,0.8,\n"
    rates = [f"Date,USD,JPY,GBP,\n{days}" for days in (first, second)]
    with serving(lambda path, query: zipped(rates[len(ecb.asked) - 1])) as ecb, serving(of_fred) as fred:
        settings = stack.with_settings(
            home=home, ecb_url=ecb.url, fred_url=fred.url, fred_api_key=SecretStr(KEY), retry_seconds=(0.01,)
        )
        databases = Databases(Stack(settings))
        for source in ("ecb", "ecb", "fred"):
            pipeline.run(settings, source)
    for topic, rows in ROWS.items():
        databases.stream(topic, rows)
    staged = [promote.stage(settings, topic, LEFT, datetime.now(UTC)) for topic in CATEGORIES]
    promote.stage(settings, "market_tick", STAGED, datetime.now(UTC))
    dbt.run(settings, ["run"])
    for promotion in staged:
        assert promotion is not None
        promote.settle(settings, promotion)
    return databases


COMPARED = (AS_IN_LAKE, stored.CHECK)
BREAKS = {
    "warehouse": (
        "update marts.fct_bars_1m set close = close + 1 where bar_key = 'venue:A/B:2024-08-08T10:02Z'",
        "update marts.fct_economic_events set value = 9 where event_key = 'ecb:USD:2024-01-02:2'",
        "delete from marts.fct_order_book_levels where level <= 5",
        "delete from marts.fct_economic_events where topic = 'economic_event_text' and kafka_offset in (1, 3)",
        "update marts.fct_market_ticks set price = 1 where kafka_offset = 3",
        "update marts.dim_instruments set last_traded_at = '2024-08-08 00:00Z'",
        "delete from ingestion.realtime__economic_event_numeric where kafka_offset = '1'",
        "update ingestion.realtime__market_tick set size = '2.0' where kafka_offset = '2'",
        'alter table ingestion.ecb__reference_rates add column "a%s" text',  # a name that looks like a parameter
        "update ingestion.ecb__reference_rates set \"JPY\" = '8' where \"Date\" = '2024-01-03'",
        "delete from ingestion.fred__series where id = 'GDP'",
    ),
    "realtime": ("update realtime.market_tick set price = 0.5 where kafka_offset = 6",),
}


LEVELS = [f"not in the table: order_book_level_key order_book_l2:1:0:{n}" for n in range(1, 6)]
# Of each table how many rows, and which: its own, and those that no longer follow from what another table says.
FOUND = {
    "realtime.market_tick": (1, ["changed: kafka_offset 6, price 106 -> 0.5"]),
    "ingestion.realtime__market_tick": (1, ["changed: kafka_offset 2, size 1 -> 2.0"]),
    "ingestion.realtime__economic_event_numeric": (1, ["in the lake alone: kafka_offset 1"]),
    "ingestion.ecb__reference_rates": (
        1,
        ["in the lake alone: Date 2024-01-03, JPY 7", "in the table alone: Date 2024-01-03, JPY 8"],
    ),
    "ingestion.fred__series": (1, ["in the lake alone: id GDP"]),
    "intermediate.int_reference_rates_changed": (
        1,
        ["changed: event_key ecb:JPY:2024-01-03:1, value 8 -> 7, value_text 8 -> 7"],
    ),
    "marts.fct_economic_events": (
        6,
        [
            "changed: event_key ecb:USD:2024-01-02:2, value 1.11 -> 9",
            "in the table alone: event_key economic_event_numeric:1:0:1",
            *(f"not in the table: event_key economic_event_text:1:0:{n}" for n in (1, 3)),
            *(
                f"changed: event_key fred:GDP:{day}:2024-10-30:1, description None -> The GDP, unit None -> Percent"
                for day in ("2024-01-01", "2024-04-01")
            ),
        ],
    ),
    "marts.fct_economic_observations": (
        1,
        ["changed: observation_vintage_key ecb:USD:2024-01-02:NOW, value 9 -> 1.11"],
    ),
    "marts.dim_economic_series": (
        1,
        ["changed: series_key fred:GDP, effective_at None -> NOW, is_described False -> True, known_at None -> NOW"],
    ),
    "marts.fct_order_book_levels": (5, LEVELS),
    "marts.fct_book_snapshots": (
        1,
        [
            "changed: book_snapshot_key venue:A/B:s, bid_depth 3 -> 8, bid_price None -> 98, bid_size None -> 1, "
            "level_count 3 -> 8",
        ],
    ),
    "marts.fct_market_ticks": (
        2,
        [
            "changed: market_tick_key market_tick:1:0:2, size 2 -> 1",
            "changed: market_tick_key market_tick:1:0:3, price 103 -> 1",
        ],
    ),
    "marts.fct_bars_1m": (
        2,
        [
            "changed: bar_key venue:A/B:2024-08-08T10:02Z, close 102 -> 103",
            "changed: bar_key venue:A/B:2024-08-08T10:03Z, close 1 -> 103, high 1 -> 103, low 1 -> 103, open 1 -> 103, "
            "quote_volume 1 -> 103, vwap 1.0 -> 103.0",
        ],
    ),
    "marts.dim_instruments": (
        1,
        ["changed: instrument_key venue:A/B, last_traded_at 2024-08-09T10:07:01+00:00 -> 2024-08-08T00:00:00+00:00"],
    ),
}
OF_THE_PLATFORM = """
select 'load of ' || count(1) || ' files' as what, source_table, sum(row_count) = 3 and bool_and(not is_set_aside)
from marts.fct_loads where source_system = 'ecb' group by source_table
union all
select 'promotion of ' || row_count || ' rows', topic, is_verified from marts.fct_promotions where topic = 'market_tick'
union all
select command, target, outcome = 'succeeded' and node_count > 40 and duration_seconds > 0 from marts.fct_dbt_runs
union all
select distinct 'check', tool, outcome in ('failed', 'error') from marts.fct_quality_results
order by 1, 2, 3
"""
NOT_SHOWN = ("difference", "log_epoch", "kafka_partition", "file_name", "title", "units", "USD", "GBP")


def said(result: dict[str, Any]) -> list[str]:
    """The rows that a result shows, each as a line: the kind of difference, the row's identity, what differs."""
    lines = []
    for text in result["sample"]:
        row = json.loads(text)
        shown = {name: value for name, value in row.items() if name not in NOT_SHOWN}
        names = sorted(shown, key=lambda name: (isinstance(shown[name], list), "key" not in name, name))
        values = [
            f"{name} {shown[name]}"
            if not isinstance(shown[name], list)
            else f"{name} {shown[name][0]} -> {shown[name][1]}"
            for name in names
        ]
        lines.append(f"{row['difference']}: {', '.join(values)}")
    return lines


def compared(databases: Databases) -> tuple[int, dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The exit code of `check --deep`, what it found broken by comparing, and all of its results."""
    done = databases.stack.run("check", "--deep", "--json")
    found = json.loads(done.stdout)
    failed = [result for result in found if result["outcome"] == "failed" and result["check"] in COMPARED]
    return done.returncode, {result["table"]: result for result in failed}, found


def test_a_lake_file_that_was_changed_or_is_gone_is_named_and_a_name_that_no_table_has_is_refused(
    whole: Databases,
) -> None:
    lake = whole.stack.settings.home / "lake"
    kept = shutil.copytree(lake, lake.with_name("kept"))
    [changed] = (lake / "realtime" / "order_book_l2").glob("*.csv.gz")
    changed.write_bytes(gzip.compress(gzip.decompress(changed.read_bytes()).replace(b'"98"', b'"97"')))
    gone, broken = sorted((lake / "ecb" / "reference_rates").glob("*.gz"))
    gone.unlink()
    broken.write_bytes(broken.read_bytes()[:-9])
    results_of_dbt = dbt.artifacts(whole.stack.settings) / "run_results.json"
    before = results_of_dbt.read_bytes()
    todo = [one for one in checks.comparisons(whole.stack.settings) if one.name.startswith("ingestion.")]
    assert results_of_dbt.read_bytes() == before  # whose test results the catalog publishes
    levels, rates = failures(checks.run(whole.stack.settings, todo))
    assert [json.loads(row)["difference"] for row in levels.sample] == [
        "the lake's file is not what was verified", "changed"
    ]  # fmt: skip
    shown = {row["file_name"].rpartition("/")[2]: row["difference"] for row in map(json.loads, rates.sample)}
    assert shown == {gone.name: "the lake's file is gone", broken.name: "unreadable"}
    with pytest.raises(ConfigurationError, match=r"expected a table of .*marts.fct_bars_1m.*, received 'marts.bars'"):
        checks.verify(whole.stack.settings, ["marts.bars"], deep=True, quiet=True)
    # The next test begins with what is whole, and what is not checked yet.
    shutil.copytree(kept, lake, dirs_exist_ok=True)
    with psycopg.connect(whole.stack.dsn("warehouse")) as connection:
        connection.execute("delete from quality.results")


def test_what_is_whole_passes_and_each_broken_table_is_named_with_its_rows(whole: Databases) -> None:
    code, failed, found = compared(whole)
    assert (code, failed) == (0, {})
    assert not [r for r in found if r["check"] == check.HAS_CONTRACT]
    assert len([r for r in found if r["check"] in COMPARED and r["outcome"] == "passed"]) == 32

    assert whole.query("warehouse", OF_THE_PLATFORM) == [
        ("check", "soda", False), ("check", "tidemark", False),
        ("load of 2 files", "ecb__reference_rates", True), ("promotion of 3 rows", "market_tick", False),
        ("promotion of 5 rows", "market_tick", True), ("run", "warehouse", True),
    ]  # fmt: skip
    for database, statements in BREAKS.items():
        with psycopg.connect(whole.stack.dsn(database)) as connection:
            for statement in statements:
                assert connection.execute(statement.encode()).rowcount, statement
    code, failed, found = compared(whole)
    assert code == 1
    rows = {name: [re.sub(r"20(?!24)\d\d-[\dT:.+-]+", "NOW", row) for row in said(r)] for name, r in failed.items()}
    assert {name: (result["failing_rows"], rows[name]) for name, result in failed.items()} == FOUND
