"""The lineage that is expected, over models that dbt builds here of a good row everywhere."""

import json

from catalog.edges import Lineage, Place
from catalog.lineage import lineage
from tests.catalog.conftest import INGESTION_ROWS, Rows
from tidemark import dbt
from tidemark.categories import CATEGORIES
from tidemark.connections import DATABASES

TICKS = Place("table", "warehouse.marts.fct_market_ticks")


def _above(found: Lineage, place: Place, column: str) -> set[tuple[Place, str]]:
    """Every column that a column is made of, however far."""
    direct = {
        (edge.upstream, there) for edge in found.upstream_of(place) for there, here in edge.columns if here == column
    }
    return direct.union(*(_above(found, *each) for each in direct))


def test_every_column_of_a_mart_leads_to_a_source_or_says_why_not(rows: Rows) -> None:
    rows.good()
    for database in DATABASES:
        dbt.run(rows.stack.settings, ["run"], database)
    found = lineage(rows.stack.settings)
    marts = {place: columns for place, columns in found.columns.items() if place.name.startswith("warehouse.marts.")}
    assert found.mart_columns == sum(map(len, marts.values()))
    assert found.share >= 0.95
    unreached = {(column.table, column.column): column.reason for column in found.unreached}
    for place, columns in marts.items():
        for column in columns:
            above = {kind.kind for kind, _ in _above(found, place, column)}
            assert ("lake" in above) != ((place.name, column) in unreached) or column.endswith("loaded_at"), column
    assert unreached[TICKS.name, "built_at"] == "the clock of the build that writes the row"
    assert unreached[TICKS.name, "source_table"] == "the name of the ingestion table, which the model writes"
    assert (
        "yet into warehouse.ingestion.realtime__economic" in unreached["warehouse.marts.fct_text_events", "attributes"]
    )

    assert _above(found, TICKS, "price") >= {
        (Place("source", "binance.market_tick"), "price"),
        (Place("topic", "market_tick"), "price"),
        (Place("table", "realtime.realtime.market_tick"), "price"),
        (Place("lake", "realtime/market_tick"), "price"),
        (Place("table", "warehouse.ingestion.realtime__market_tick"), "price"),
    }
    rates = _above(found, Place("table", "warehouse.marts.fct_numeric_events"), "value")
    assert (Place("source", "ecb.reference_rates"), "USD") in rates
    assert (Place("source", "fred.observations"), "value") in rates
    _assert_places(found)


def _assert_places(found: Lineage) -> None:
    """Topics reach `live`, flows what they write; all of it is plain data."""
    pairs = {(edge.upstream, edge.downstream) for edge in found.edges}
    recent = {topic: Place("table", f"realtime.realtime.{topic}") for topic in CATEGORIES}
    assert {(Place("topic", topic), table) for topic, table in recent.items()} <= pairs
    assert (recent["market_tick"], Place("table", "realtime.live.bars_1m")) in pairs
    promote, ingest = Place("flow", "promote"), Place("flow", "ingest")
    assert {(promote, TICKS), (ingest, Place("table", "warehouse.marts.fct_numeric_events"))} <= pairs
    assert (ingest, TICKS) not in pairs
    for table in INGESTION_ROWS:
        lake, loaded = Place("lake", table.replace("__", "/", 1)), Place("table", f"warehouse.ingestion.{table}")
        assert {(lake, loaded), (promote if table.startswith("realtime") else ingest, loaded)} <= pairs
    assert json.loads(json.dumps(found.as_json()))["mart_columns"] == found.mart_columns
