"""The contracts of marts, over models that dbt builds here: what one build cannot know."""

import json

import psycopg

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
