"""Lineage sent to a strict stand-in for a server, and what is said where it does not hold it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from catalog.check import run as run_contracts
from catalog.edges import Edge, Lineage, Place, Unreached
from catalog.naming import named
from catalog.publish_governance import publish_governance
from catalog.publish_lineage import publish_lineage
from catalog.publish_results import publish_results
from catalog.server import CatalogError, Server, server
from tests.catalog.conftest import Rows
from tests.catalog.double import TOKEN, DoubleProcess
from tidemark.settings import Settings

TOPIC = Place("topic", "market_tick")
RECENT = Place("table", "realtime.realtime.market_tick")
LAKE = Place("lake", "realtime/market_tick")
LOADED = Place("table", "warehouse.ingestion.realtime__market_tick")
MART = Place("table", "warehouse.marts.fct_market_ticks")
PLACES = (TOPIC, RECENT, LAKE, LOADED, MART)
NAMES = {"symbol": "text", "price": "text"}
SAME = (("price", "price"), ("symbol", "symbol"))
EDGES = (
    Edge(TOPIC, RECENT, SAME),
    Edge(RECENT, LAKE, SAME),
    Edge(LAKE, LOADED, SAME),
    Edge(LOADED, MART, (("price", "price"), ("symbol", "price"), ("symbol", "symbol")), "select ..."),
)
LINEAGE = Lineage(EDGES, dict.fromkeys(PLACES, NAMES), 2, ())


@pytest.fixture
def settings(double: DoubleProcess, tmp_path: Path) -> Settings:
    """Settings that name the stand-in, which has every place and no edge."""
    columns = [{"name": name, "dataType": "TEXT"} for name in NAMES]
    fields = [{"name": name, "dataType": "STRING"} for name in NAMES]
    for database, schemas in {"realtime": ("realtime",), "warehouse": ("ingestion", "marts")}.items():
        double.put("services/databaseServices", name=f"tidemark_{database}", serviceType="Postgres")
        double.put("databases", name=database, service=f"tidemark_{database}")
        for schema in schemas:
            double.put("databaseSchemas", name=schema, database=f"tidemark_{database}.{database}")
    for place in (RECENT, LOADED, MART):
        schema, _, table = place.name.rpartition(".")
        double.put(
            "tables", name=table, databaseSchema=f"tidemark_{place.name.split('.')[0]}.{schema}", columns=columns
        )
    double.put("services/messagingServices", name="tidemark_buffer", serviceType="Kafka")
    double.put(
        "topics", name=TOPIC.name, service="tidemark_buffer", partitions=1, messageSchema={"schemaFields": fields}
    )
    double.put("services/storageServices", name="tidemark_lake", serviceType="CustomStorage")
    double.put("containers", name=LAKE.name, service="tidemark_lake", dataModel={"columns": columns})
    return Settings(home=tmp_path, openmetadata_url=double.url, openmetadata_token=SecretStr(TOKEN))


@pytest.fixture
def reached(settings: Settings) -> Iterator[Server]:
    """The stand-in, as the catalog asks it."""
    with server(settings) as asked:
        yield asked


def test_every_edge_with_its_columns_is_there_and_a_second_publication_changes_nothing(
    double: DoubleProcess, settings: Settings, reached: Server
) -> None:
    publish_lineage(reached, LINEAGE)
    kept = double.kept()
    assert len(kept["edges"]) == len(EDGES)
    assert [
        "tidemark_warehouse.warehouse.ingestion.realtime__market_tick",
        "tidemark_warehouse.warehouse.marts.fct_market_ticks",
        [
            {
                "fromColumns": [
                    "tidemark_warehouse.warehouse.ingestion.realtime__market_tick.price",
                    "tidemark_warehouse.warehouse.ingestion.realtime__market_tick.symbol",
                ],
                "toColumn": "tidemark_warehouse.warehouse.marts.fct_market_ticks.price",
            },
            {
                "fromColumns": ["tidemark_warehouse.warehouse.ingestion.realtime__market_tick.symbol"],
                "toColumn": "tidemark_warehouse.warehouse.marts.fct_market_ticks.symbol",
            },
        ],
    ] in kept["edges"]

    with server(settings) as again:
        publish_lineage(again, LINEAGE)
        assert again.changes == 0
    assert double.kept() == kept
    assert kept["problems"] == []


@pytest.mark.parametrize("drop_column", [False, True])
@pytest.mark.parametrize("number", range(1, len(EDGES) + 1))
def test_a_server_that_drops_one_edge_or_one_column_makes_it_fail_and_is_told_which(
    double: DoubleProcess, reached: Server, number: int, drop_column: bool
) -> None:
    double.behave(drop_edge=number, drop_column=drop_column)
    with pytest.raises(CatalogError) as failure:
        publish_lineage(reached, LINEAGE)
    there, here = double.kept()["behaviour"]["dropped"]
    dropped = f"column {there} to column {here}" if drop_column else _said_edge(there, here)
    assert "expected the server to hold 4 edges with 9 of columns" in str(failure.value)
    assert f"the first {dropped}: publish again" in str(failure.value)


def _said_edge(there: str, here: str) -> str:
    (edge,) = [edge for edge in EDGES if there.endswith(edge.upstream.name) and here.endswith(edge.downstream.name)]
    return f"{edge.upstream} to {edge.downstream}"


def test_an_edge_that_is_no_longer_expected_goes_and_one_of_a_person_stays(
    double: DoubleProcess, reached: Server
) -> None:
    publish_lineage(reached, LINEAGE)
    ids = {name: one["id"] for found in double.kept()["entities"].values() for name, one in found.items()}
    by_a_person = {"description": "Drawn by hand.", "columnsLineage": []}
    ends = ("tidemark_buffer.market_tick", "tidemark_warehouse.warehouse.marts.fct_market_ticks")
    double.put(
        "lineage",
        edge={
            "fromEntity": {"id": ids[ends[0]], "type": "topic"},
            "toEntity": {"id": ids[ends[1]], "type": "table"},
            "lineageDetails": by_a_person,
        },
    )
    other = Edge(RECENT, MART, SAME)
    publish_lineage(reached, Lineage((*EDGES[:3], other), LINEAGE.columns, 2, ()))
    to_mart = [there for there, here, _ in double.kept()["edges"] if here == ends[1]]
    assert sorted(to_mart) == [ends[0], "tidemark_realtime.realtime.realtime.market_tick"]


def test_too_few_columns_of_marts_that_are_followed_are_a_failure_that_counts_and_names_one(reached: Server) -> None:
    unreached = Unreached(MART.name, "price", "made of 1", counts=True)
    written_by_the_build = Unreached(MART.name, "built_at", "the clock of the build", counts=False)
    with pytest.raises(
        CatalogError,
        match=r"95% of the marts' columns .*, 94\.7% are: 7 to a field .*, 11 to what .* price \(made of 1",
    ):
        publish_lineage(reached, Lineage(EDGES, LINEAGE.columns, 20, (unreached, written_by_the_build), of_sources=7))


def test_a_place_that_the_server_lacks_is_named(double: DoubleProcess, reached: Server) -> None:
    gone = Place("table", "warehouse.marts.fct_gone")
    with pytest.raises(CatalogError, match=r"expected the server to have table warehouse\.marts\.fct_gone, it has no"):
        publish_lineage(reached, Lineage((Edge(LOADED, gone),), {**LINEAGE.columns, gone: NAMES}, 2, ()))


def test_owners_domains_and_tags_are_made_before_they_are_named_and_those_of_people_stay(
    double: DoubleProcess, reached: Server
) -> None:
    publish_governance(reached, LINEAGE)
    kept = double.kept()
    assert kept["problems"] == []
    (mart,) = [one for name, one in kept["entities"]["tables"].items() if name.endswith(".fct_market_ticks")]
    assert [owner["id"] for owner in mart["owners"]] == [kept["entities"]["teams"]["data_platform"]["id"]]
    assert [domain["id"] for domain in mart["domains"]] == [kept["entities"]["domains"]["market"]["id"]]
    assert [tag["tagFQN"] for tag in mart["tags"]] == ["Tier.Tier1", "PII.None", "Licence.Venue", "Tidemark.Warehouse"]

    others = {"op": "add", "path": "/tags/0", "value": {**mart["tags"][0], "tagFQN": "Tier.Tier3"}}
    reached.send("PATCH", f"tables/{mart['id']}", [others, {"op": "remove", "path": "/tags/1"}])
    before = double.kept()
    publish_governance(reached, LINEAGE)
    after = double.kept()
    assert after["entities"]["topics"] == before["entities"]["topics"]
    tags = {tag["tagFQN"] for tag in after["entities"]["tables"][mart["fullyQualifiedName"]]["tags"]}
    assert "Tier.Tier3" in tags and "Tier.Tier1" not in tags


def test_a_test_case_whose_check_is_gone_is_deleted_and_those_of_people_stay(
    rows: Rows, double: DoubleProcess, reached: Server
) -> None:
    rows.realtime("market_tick")
    run_contracts(rows.stack.settings, ["realtime.market_tick"])
    publish_results(rows.stack.settings, reached, LINEAGE)
    published = set(double.kept()["entities"]["dataQuality/testCases"])
    table = "tidemark_realtime.realtime.realtime.market_tick"
    assert {f"{table}.price.Soda_a_finite_price", f"{table}.Soda_the_columns_of_the_category"} <= published

    double.put("dataQuality/testDefinitions", name="theirs", entityType="TABLE", testPlatforms=["Soda"], description="")
    for name, definition in {"Soda_no_longer_there": "sodaTableTest", "Soda_by_hand": "theirs"}.items():
        case = {"name": name, "testDefinition": definition, "entityLink": f"<#E::table::{table}>"}
        double.put("dataQuality/testCases", **case)
    publish_results(rows.stack.settings, reached, LINEAGE)
    kept = double.kept()
    assert set(kept["entities"]["dataQuality/testCases"]) == published | {f"{table}.Soda_by_hand"}
    assert kept["deleted"] == [f"{table}.Soda_no_longer_there"]

    publish_results(rows.stack.settings, reached, LINEAGE)
    assert double.kept() == kept


def test_a_check_that_failed_on_a_column_has_one_test_case_before_and_after(
    rows: Rows, double: DoubleProcess, reached: Server
) -> None:
    rows.realtime("market_tick", price=float("nan"))
    run_contracts(rows.stack.settings, ["realtime.market_tick"])
    publish_results(rows.stack.settings, reached, LINEAGE)
    cases = double.kept()["entities"]["dataQuality/testCases"]
    name = f"{named(RECENT)}.price.Soda_a_finite_price"
    assert cases[name]["testCaseResult"]["testCaseStatus"] == "Failed"
    assert double.kept()["problems"] == []


@pytest.mark.parametrize(
    ("behaviour", "token", "said"),
    [
        (
            {"version": "1.9.3"},
            TOKEN,
            "expected OpenMetadata 2.0 at {url}, received 1.9.3: take a server of that version",
        ),
        ({}, "old", "TIDEMARK_OPENMETADATA_TOKEN: expected {url} to take it for GET system/version, it answered 401"),
        (
            {"refuse": {"teams": 409}},
            TOKEN,
            "PUT teams: expected the server to take it, it answered 409 (told to refuse",
        ),
        (
            {"refuse": {"teams": 500}},
            TOKEN,
            "PUT teams: expected the server to take it, it answered 500 (told to refuse",
        ),
        (
            {"die_after": 3},
            TOKEN,
            "expected an OpenMetadata server at {url}, received after 3 changes no answer to PUT",
        ),
    ],
)
def test_what_a_server_may_answer_is_one_sentence(
    double: DoubleProcess, settings: Settings, behaviour: dict[str, object], token: str, said: str
) -> None:
    double.behave(**behaviour)
    settings = settings.model_copy(update={"openmetadata_token": SecretStr(token)})
    with pytest.raises(CatalogError) as failure, server(settings) as asked:
        asked.check_version()
        publish_governance(asked, LINEAGE)
    assert said.format(url=double.url) in str(failure.value)
    assert "\n" not in str(failure.value) and "Traceback" not in str(failure.value)
