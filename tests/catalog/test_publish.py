"""The lineage that is expected of models built here, and all of it published to a stand-in for a server."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from catalog.check import run as run_contracts
from catalog.edges import Lineage, Place
from catalog.lineage import lineage
from catalog.naming import COLLECTIONS
from catalog.publish import FOLDER, OURS, WORKFLOWS, publish, variables
from flows.deployments import deploy
from tests.catalog.conftest import INGESTION_ROWS, Rows
from tests.catalog.double import TOKEN, DoubleProcess
from tests.conftest import Stack, empty_realtime, empty_warehouse
from tidemark import dbt
from tidemark.categories import CATEGORIES, required_fields
from tidemark.connections import DATABASES
from tidemark.credentials import PREFECT, ROLES, credential
from tidemark.errors import ConfigurationError
from tidemark.stack.ports import free_ports

PARSE = """
import json, sys, pathlib
from metadata.config.common import load_config_file
from metadata.ingestion.api.parser import parse_workflow_config_gracefully
for path in sys.argv[1:]:
    parsed = parse_workflow_config_gracefully(load_config_file(pathlib.Path(path)))
    print(json.dumps({
        "source": parsed.source.type,
        "service": parsed.source.serviceName,
        "threshold": parsed.workflowConfig.successThreshold,
        "token": parsed.workflowConfig.openMetadataServerConfig.securityConfig.jwtToken.get_secret_value(),
    }))
"""


def test_every_workflow_is_accepted_by_the_packages_own_parser_and_tolerates_no_failure(stack: Stack) -> None:
    token = 'a"\\: #token'
    settings = stack.with_settings(openmetadata_url="http://127.0.0.1:8585/api", openmetadata_token=SecretStr(token))
    files = [str(FOLDER / f"{name}.yml") for name in WORKFLOWS]
    assert sorted(files) == sorted(map(str, FOLDER.glob("*.yml")))
    done = subprocess.run(
        [sys.executable, "-c", PARSE, *files], env={**os.environ, **variables(settings)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parsed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["source"] for each in parsed] == ["postgres", "postgres", "prefect"]
    assert {each["threshold"] for each in parsed} == {100}
    assert {each["token"] for each in parsed} == {token}


def test_no_workflow_file_holds_a_secret_or_enters_as_another_role(stack: Stack) -> None:
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.yml"))
    assert not [role for role in ROLES if credential(stack.settings, role) in text]
    secret = ("password:", "jwtToken:", "authString:")
    values = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.strip().startswith(secret)]
    assert values and all(value.startswith('"$') for value in values)
    assert {line.strip() for line in text.splitlines() if "username:" in line} == {"username: catalog_reader"}


def test_without_a_server_publishing_is_a_sentence_that_names_the_setting_and_the_way_out(
    stack: Stack,
) -> None:
    done = stack.run("catalog", "publish")
    assert done.returncode == 2
    assert "TIDEMARK_OPENMETADATA_URL: expected the API URL" in done.stderr
    assert "`tidemark catalog site`" in done.stderr


def test_a_server_that_does_not_answer_is_a_sentence_that_names_its_address(stack: Stack) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/api"
    done = stack.run("catalog", "publish", TIDEMARK_OPENMETADATA_URL=url, TIDEMARK_OPENMETADATA_TOKEN="x")
    assert done.returncode == 1
    assert f"expected an OpenMetadata server at {url}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_static_pages_without_a_database_are_a_sentence_that_names_it(stack: Stack) -> None:
    done = stack.run("catalog", "site", TIDEMARK_POSTGRES_PORT="9")
    assert done.returncode == 1
    assert "tidemark: expected the database realtime to answer, received" in done.stderr
    assert "`tidemark up` starts the local one; with --from-files no database is asked" in done.stderr


def test_an_unknown_workflow_is_refused_before_anything_runs(stack: Stack) -> None:
    settings = stack.with_settings(openmetadata_url="http://127.0.0.1:1/api", openmetadata_token=SecretStr("x"))
    with pytest.raises(ConfigurationError, match="received postgres_other"):
        publish(settings, ["postgres_other"])


TICKS = Place("table", "warehouse.marts.fct_market_ticks")


def _above(found: Lineage, place: Place, column: str) -> set[tuple[Place, str]]:
    """Every column that a column is made of, however far."""
    direct = {
        (edge.upstream, there) for edge in found.upstream_of(place) for there, here in edge.columns if here == column
    }
    return direct.union(*(_above(found, *each) for each in direct))


@pytest.fixture(scope="module")
def built(stack: Stack) -> Rows:
    """A good row everywhere, and the models that dbt builds of them; contracts and tests have results."""
    empty_realtime(stack)
    empty_warehouse(stack)
    rows = Rows(stack)
    rows.good()
    with psycopg.connect(stack.dsn("realtime")) as connection:
        connection.execute(
            "insert into realtime.feed (topic, source_system, name) values ('market_tick', 'binance', 'x')"
        )
    with psycopg.connect(stack.dsn("warehouse", "ingest_writer")) as connection:
        connection.execute("create table ingestion.venue__trades (id text, load_id text)")
    for database in DATABASES:
        dbt.run(stack.settings, ["run"], database)
    dbt.run(stack.settings, ["test", "--select", "dim_instruments"])
    run_contracts(stack.settings, ["realtime.market_tick"])
    return rows


@pytest.fixture(scope="module")
def found(built: Rows) -> Lineage:
    """The lineage that is expected of them."""
    return lineage(built.stack.settings)


def test_every_column_of_a_mart_leads_to_a_source_or_says_why_not(found: Lineage) -> None:
    marts = {place: columns for place, columns in found.columns.items() if place.name.startswith("warehouse.marts.")}
    assert found.mart_columns == sum(map(len, marts.values()))
    assert found.share >= 0.95
    unreached = {(column.table, column.column): column.reason for column in found.unreached}
    for place, columns in marts.items():
        for column in columns:
            above = _above(found, place, column)
            if {name for at, name in above if at.name.startswith("warehouse.ingestion.")} == {"loaded_at"}:
                continue  # no file of the lake says when it was loaded
            if any(at.name.startswith(("warehouse.ops.", "warehouse.quality.")) for at, _ in above):
                continue  # of the platform's own ledgers and results
            assert ("lake" in {at.kind for at, _ in above}) != ((place.name, column) in unreached), column
    assert unreached[TICKS.name, "built_at"] == "the clock of the build that writes the row"
    assert unreached[TICKS.name, "source_table"] == "the name of the ingestion table, which the model writes"
    # Nothing was loaded into it, and nothing lacks: its file declares what it will have.
    texts = Place("table", "warehouse.ingestion.realtime__economic_event_text")
    assert {texts, Place("lake", "realtime/economic_event_text")} <= found.absent
    assert (texts, "attributes") in _above(found, Place("table", "warehouse.marts.fct_text_events"), "attributes")
    assert texts not in found.without_absent().columns
    assert TICKS not in found.absent

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


def test_topics_reach_the_live_views_and_flows_what_they_write(found: Lineage) -> None:
    pairs = {(edge.upstream, edge.downstream) for edge in found.edges}
    recent = {topic: Place("table", f"realtime.realtime.{topic}") for topic in CATEGORIES}
    assert {(Place("topic", topic), table) for topic, table in recent.items()} <= pairs
    assert (recent["market_tick"], Place("table", "realtime.live.bars_1m")) in pairs
    promote, ingest = Place("flow", "promote"), Place("flow", "ingest")
    assert {(promote, TICKS), (ingest, Place("table", "warehouse.marts.fct_economic_events"))} <= pairs
    assert (ingest, TICKS) not in pairs
    for table in INGESTION_ROWS:
        lake, loaded = Place("lake", table.replace("__", "/", 1)), Place("table", f"warehouse.ingestion.{table}")
        assert {(lake, loaded), (promote if table.startswith("realtime") else ingest, loaded)} <= pairs
    assert json.loads(json.dumps(found.as_json()))["mart_columns"] == found.mart_columns


@pytest.mark.faults
def test_everything_is_published_and_a_second_time_changes_nothing(
    built: Rows, found: Lineage, double: DoubleProcess
) -> None:
    stack = built.stack
    deploy(stack.settings)
    done = stack.run("catalog", "publish", **double.environ)
    assert done.returncode == 0, done.stderr
    kept = double.kept()
    assert kept["problems"] == []
    _assert_whole(kept, found.without_absent())
    logs = "".join(path.read_text() for path in (stack.settings.home / "logs").glob("catalog_*.log"))
    secrets = (TOKEN, credential(stack.settings, "catalog_reader"), credential(stack.settings, PREFECT))
    assert not [secret for secret in secrets if secret in logs + done.stderr]
    # Who has the string of Prefect runs code on its server: it is not OpenMetadata's to keep.
    assert sorted(set(kept["connections"])) == ["tidemark_realtime", "tidemark_warehouse"]

    assert stack.run("catalog", "publish", *OURS, **double.environ).returncode == 0
    assert double.kept() == kept

    # A table with its source and folder is gone, and one workflow cannot log in: the other steps run.
    built.forget("venue__trades")
    named = f"http://127.0.0.1:{stack.settings.prefect_port}/api"
    steps = ("postgres_warehouse", "prefect", "places")
    done = stack.run("catalog", "publish", *steps, TIDEMARK_PREFECT_URL=named, **double.environ)
    assert done.returncode == 1
    assert "1 of 3 steps failed: prefect: " in done.stderr
    assert "it answered 401: set TIDEMARK_PREFECT_AUTH_STRING to" in done.stderr
    gone = ["tidemark_lake.venue/trades", "tidemark_sources.venue.trades"]
    table = "tidemark_warehouse.warehouse.ingestion.venue__trades"
    assert sorted(double.kept()["deleted"]) == [*gone, table]


def _assert_whole(kept: dict[str, Any], expected: Lineage) -> None:
    entities = kept["entities"]
    assert sorted(entities["pipelines"]) == ["tidemark_flows.check", "tidemark_flows.ingest", "tidemark_flows.promote"]
    assert {name.rpartition(".")[2] for name in entities["topics"]} == set(CATEGORIES)
    fields = entities["topics"]["tidemark_buffer.market_tick"]["messageSchema"]["schemaFields"]
    assert [field["name"] for field in fields] == [*required_fields("market_tick"), "attributes"]
    assert not [name for name in entities["tables"] if re.search(r"_[0-9]{8}$", name)]
    assert len(kept["edges"]) == len(expected.edges)
    pairs = sum(len(line["fromColumns"]) for *_, lines in kept["edges"] for line in lines)
    assert pairs == sum(len(edge.columns) for edge in expected.edges)
    unowned = [name for kind in COLLECTIONS.values() for name, one in entities[kind].items() if not one.get("owners")]
    assert unowned == []
    platforms = {name.rpartition(".")[2].partition("_")[0] for name, _ in kept["results"]}
    assert platforms == {"Soda", "dbt"}
