"""The contracts of marts, over models that dbt builds here: what one build cannot know."""

import json
import shutil

import psycopg
import pytest

from catalog.check import run
from catalog.kept import failures
from tests.catalog.conftest import Rows
from tidemark import dbt

MARTS = ["marts.fct_market_ticks", "marts.fct_bars_1m"]


def test_a_mart_that_lost_a_row_fails_against_what_was_loaded_and_against_yesterday(rows: Rows) -> None:
    for offset, price in enumerate(("100.5", "101.5", "99.5")):
        rows.ingestion("realtime__market_tick", kafka_offset=str(offset), price=price)
    dbt.run(rows.stack.settings, ["run", "--select", "+fct_bars_1m"])
    assert not failures(run(rows.stack.settings, MARTS))

    with psycopg.connect(rows.stack.dsn("warehouse")) as connection:
        connection.execute("update quality.results set checked_at = checked_at - interval '1 day'")
        connection.execute("delete from marts.fct_market_ticks where kafka_offset = 1")
    failed = {(result.table, result.check): result for result in failures(run(rows.stack.settings, MARTS))}
    assert set(failed) == {
        ("marts.fct_market_ticks", "as many rows of each partition as were loaded"),
        ("marts.fct_market_ticks", "no fewer rows than on an earlier day"),
        ("marts.fct_bars_1m", "the bars of an instrument count all its trades once"),
    }
    (sample,) = failed[MARTS[0], "as many rows of each partition as were loaded"].sample
    assert json.loads(sample) == {"log_epoch": "0", "kafka_partition": "0", "loaded_rows": 3, "built_rows": 2}


SAME_COUNT = "same_count_fct_market_ticks_ref_int_market_ticks_united_"
FAULTS = {  # of each table the checks that must say so, and a table or exposure that is downstream of it
    "realtime.market_tick": ({"a finite price"}, "warehouse.ingestion.realtime__market_tick"),
    "realtime.lost": ({"a range ends after it begins"}, None),
    "ingestion.ecb__reference_rates": ({"every rate is a positive number or N/A"}, "warehouse.marts.fct_fx_rates"),
    "ingestion.fred__series": ({"a series has units"}, "warehouse.marts.dim_economic_series"),
    "ingestion.realtime__economic_event_numeric": ({"value is a finite number"}, "exposure promotion"),
    "marts.fct_market_ticks": (
        {"as many rows of each partition as were loaded", "a_tick_has_a_known_side", SAME_COUNT},
        "warehouse.marts.fct_bars_1m",
    ),
}  # fmt: skip


def test_six_faults_in_six_tables_are_all_found_and_named(rows: Rows) -> None:
    settings = rows.stack.settings
    for offset in range(12):
        rows.ingestion("realtime__market_tick", kafka_offset=str(offset))
    dbt.run(settings, ["run", "--select", "+fct_market_ticks"])
    rows.realtime("market_tick", price=float("nan"))
    rows.ingestion("ecb__reference_rates", XXX="1,0")
    rows.ingestion("fred__series", units="")
    rows.ingestion("realtime__economic_event_numeric", value="much")
    with psycopg.connect(rows.stack.dsn("realtime")) as connection:
        connection.execute("insert into realtime.lost values ('market_tick', 1, 0, 8, 8)")
    with psycopg.connect(rows.stack.dsn("warehouse")) as connection:
        connection.execute("update marts.fct_market_ticks set side = 'up'")
        connection.execute("delete from marts.fct_market_ticks where kafka_offset = 1")
    with pytest.raises(dbt.DbtError, match="a_tick_has_a_known_side"):
        dbt.run(settings, ["test", "--exclude-resource-type", "unit_test", "--select", "fct_market_ticks"])

    done = rows.stack.run("check", "--json")
    assert done.returncode == 1
    failed = [one for one in json.loads(done.stdout) if one["outcome"] == "failed" and one["type"] != "freshness"]
    found: dict[str, set[str]] = {}
    for result in failed:
        found.setdefault(result["table"], set()).add(result["check"])
        assert result["owner"] == "data_platform" and result["severity"] == "error" and result["to_do"]
        downstream = FAULTS[result["table"]][1]
        assert downstream is None or downstream in result["downstream"], result
    assert found == {table: checks for table, (checks, _) in FAULTS.items()}
    of_dbt = {result["check"]: result for result in failed if result["tool"] == "dbt"}
    sided = of_dbt["a_tick_has_a_known_side"]
    assert (len(of_dbt), sided["failing_rows"], len(sided["sample"])) == (2, 11, 10)

    # A run by hand leaves its artifacts elsewhere: they are kept with the next check, once.
    shutil.copytree(dbt.artifacts(settings), settings.home / "dbt" / "by_hand" / "warehouse", dirs_exist_ok=True)
    with psycopg.connect(rows.stack.dsn("warehouse"), autocommit=True) as connection:
        connection.execute("delete from quality.results")
        for _ in range(2):
            assert rows.stack.run("check", "realtime.lost").returncode == 1
            kept = "select count(1) from quality.results where tool = 'dbt' and outcome = 'failed'"
            assert connection.execute(kept).fetchall() == [(2,)]
