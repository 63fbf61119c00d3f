"""The lake alone makes the ingestion tables again."""

import pytest

from ingest.pipeline import rebuild, run
from tests.conftest import Stack
from tests.dbt_project.conftest import QUIET
from tests.ingest.conftest import Query
from tests.ingest.loopback import serving, zipped
from tests.ingest.test_fred import api
from tests.ingest.test_realtime import add, promote, tick
from tidemark import dbt
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

TABLES = ("ecb__reference_rates", "fred__series", "fred__observations", "realtime__market_tick")


def content(warehouse: Query, table: str) -> list[object]:
    rows = warehouse(f"select to_jsonb(loaded) from ingestion.{table} as loaded order by 1")
    return [row for (row,) in rows]


def test_every_table_comes_back_from_the_lake_with_every_source_down(
    clean_realtime: Stack, settings: Settings, warehouse: Query
) -> None:
    histories = ["Date,USD,\n2024-01-02,1.10,\n", "Date,USD,XYZ,\n2024-01-03,1.2,,\n2024-01-02,1.10,N/A,\n"]
    with serving(lambda path, query: zipped(histories[len(ecb.asked) - 1])) as ecb, serving(api) as fred:
        up = settings.model_copy(update={"ecb_url": ecb.url, "fred_url": fred.url})
        for name in ("ecb", "ecb", "fred"):
            run(up, name)
    add(clean_realtime, "market_tick", tick(1), tick(2))
    promote(settings, "market_tick", "p1")
    before = {table: content(warehouse, table) for table in TABLES}
    assert [len(rows) for rows in before.values()] == [3, 3, 9, 2]
    for noted in ("_dlt_loads", "_dlt_version"):  # nothing of a load stays, so nothing grows
        assert warehouse(f"select count(*) from ingestion_staging.{noted}") == [(0,)]
    rebuilt = [rebuild(settings, name) for name in ("ecb", "fred", "realtime")]
    assert {table: content(warehouse, table) for table in TABLES} == before
    assert [each.rows_loaded for report in rebuilt for each in report.resources] == [3, 3, 9, 2]


def test_a_table_is_not_emptied_where_the_lake_lacks_one_of_its_files(settings: Settings, warehouse: Query) -> None:
    with serving(lambda path, query: zipped("Date,USD,\n2024-01-02,1.10,\n")) as source:
        report = run(settings.model_copy(update={"ecb_url": source.url}), "ecb").resources[0]
    (settings.home / "lake" / report.files[0]).unlink()
    with pytest.raises(TidemarkError, match="1 of its files are not there"):
        rebuild(settings, "ecb")
    assert warehouse("select count(*) from ingestion.ecb__reference_rates") == [(1,)]


def test_the_models_take_no_row_of_a_rebuilt_table_for_a_revision(settings: Settings, warehouse: Query) -> None:
    rates = ["1.10", "1.20", "1.10"]  # revised, and revised back
    with serving(lambda path, query: zipped(f"Date,USD,\n2024-01-02,{rates[len(source.asked) - 1]},\n")) as source:
        for _ in rates:
            run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    build = [*QUIET, "run", "--select", "+int_reference_rates_changed"]
    found = "select event_key, loaded_at from intermediate.int_reference_rates_changed order by 1"
    dbt.run(settings, build)
    before = warehouse(found)
    assert [key for key, _ in before] == [f"ecb:USD:2024-01-02:{statement}" for statement in (1, 2, 3)]
    rebuild(settings, "ecb")
    dbt.run(settings, build)
    assert warehouse(found) == before
