"""The lake alone makes the ingestion tables again."""

import pytest

from ingest.pipeline import rebuild, run
from tests.conftest import Stack
from tests.ingest.conftest import Query
from tests.ingest.loopback import serving, zipped
from tests.ingest.test_fred import api
from tests.ingest.test_realtime import add, promote, tick
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

TABLES = ("ecb__reference_rates", "fred__series", "fred__observations", "realtime__market_tick")


def content(warehouse: Query, table: str) -> list[object]:
    rows = warehouse(f"select to_jsonb(loaded) - 'loaded_at' from ingestion.{table} as loaded order by 1")
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
