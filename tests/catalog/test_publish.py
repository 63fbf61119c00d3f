"""The OpenMetadata workflows: accepted by the package's own parser, free of secrets, refused without a server."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from pydantic import SecretStr

from catalog.check import run as run_contracts
from catalog.edges import Lineage
from catalog.lineage import lineage
from catalog.naming import COLLECTIONS
from catalog.publish import FOLDER, OURS, WORKFLOWS, publish, variables
from flows.deployments import deploy
from tests.catalog.conftest import Rows
from tests.catalog.double import TOKEN, DoubleProcess
from tests.conftest import Stack
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
    assert "`tidemark catalog docs`" in done.stderr


def test_a_server_that_does_not_answer_is_a_sentence_that_names_its_address(stack: Stack) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/api"
    done = stack.run("catalog", "publish", TIDEMARK_OPENMETADATA_URL=url, TIDEMARK_OPENMETADATA_TOKEN="x")
    assert done.returncode == 1
    assert f"expected an OpenMetadata server at {url}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_static_pages_without_a_database_are_a_sentence_that_names_it(stack: Stack) -> None:
    done = stack.run("catalog", "docs", TIDEMARK_POSTGRES_PORT="9")
    assert done.returncode == 1
    assert "tidemark: expected the database warehouse to answer, received" in done.stderr
    assert "`tidemark status`" in done.stderr


def test_an_unknown_workflow_is_refused_before_anything_runs(stack: Stack) -> None:
    settings = stack.with_settings(openmetadata_url="http://127.0.0.1:1/api", openmetadata_token=SecretStr("x"))
    with pytest.raises(ConfigurationError, match="received postgres_other"):
        publish(settings, ["postgres_other"])


def test_everything_is_published_and_a_second_time_changes_nothing(rows: Rows, double: DoubleProcess) -> None:
    stack = rows.stack
    rows.good()
    deploy(stack.settings)
    for database in DATABASES:
        dbt.run(stack.settings, ["build", "--exclude-resource-type", "unit_test"], database)
    run_contracts(stack.settings, ["realtime.market_tick"])
    done = stack.run("catalog", "publish", **double.environ)
    assert done.returncode == 0, done.stderr
    kept = double.kept()
    assert kept["problems"] == []
    _assert_whole(kept, lineage(stack.settings))
    logs = "".join(path.read_text() for path in (stack.settings.home / "logs").glob("catalog_*.log"))
    secrets = (TOKEN, credential(stack.settings, "catalog_reader"), credential(stack.settings, PREFECT))
    assert not [secret for secret in secrets if secret in logs + done.stderr]
    # Who has the string of Prefect runs code on its server: it is not OpenMetadata's to keep.
    assert sorted(set(kept["connections"])) == ["tidemark_realtime", "tidemark_warehouse"]

    assert stack.run("catalog", "publish", *OURS, **double.environ).returncode == 0
    assert double.kept() == kept

    # A folder of the lake and a result that are gone, and one workflow that cannot log in: the others run.
    rows.forget("fred__observations")
    named = f"http://127.0.0.1:{stack.settings.prefect_port}/api"
    done = stack.run("catalog", "publish", "prefect", "places", TIDEMARK_PREFECT_URL=named, **double.environ)
    assert done.returncode == 1
    assert "1 of 2 steps failed: prefect: " in done.stderr
    assert "it answered 401: set TIDEMARK_PREFECT_AUTH_STRING to" in done.stderr
    assert "tidemark_lake.fred/observations" in double.kept()["deleted"]


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
