"""The OpenMetadata workflows: accepted by the package's own parser, free of secrets, refused without a server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from catalog.publish import FOLDER, WORKFLOWS, publish, variables
from flows.deployments import deploy
from tests.conftest import Stack
from tidemark.categories import CATEGORIES
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
    assert [each["source"] for each in parsed] == [
        "postgres", "postgres", "postgres-lineage", "postgres-lineage", "dbt", "dbt", "kafka", "prefect",
    ]  # fmt: skip
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


TOKEN = "a token"


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a strict stand-in for an OpenMetadata server, which knows TOKEN and has no search."""
    command = [sys.executable, "-m", "tests.catalog.openmetadata_double", TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def test_the_tables_of_a_database_are_published_and_what_the_package_hides_is_a_failure(
    stack: Stack, server: str
) -> None:
    with psycopg.connect(stack.dsn("realtime", "stream_writer")) as connection:
        connection.execute("select realtime.ensure_partition('market_tick', '2024-08-08'::date)")
    access = {"TIDEMARK_OPENMETADATA_URL": f"{server}/api", "TIDEMARK_OPENMETADATA_TOKEN": TOKEN}
    done = stack.run("catalog", "publish", "postgres_realtime", **access)
    assert done.returncode == 0, done.stderr
    kept = httpx.get(f"{server}/_double").json()
    assert kept["problems"] == []
    assert kept["databases"] == ["tidemark_realtime.realtime"]
    tables = {name.removeprefix("tidemark_realtime.realtime.realtime.") for name in kept["tables"]}
    assert set(CATEGORIES) < tables
    assert "market_tick_20240808" not in tables

    # The stand-in has no search: the package logs that, goes on without lineage, and exits 0.
    done = stack.run("catalog", "publish", "lineage_realtime", **access)
    assert done.returncode == 1
    assert "workflow lineage_realtime: expected it to publish everything" in done.stderr
    logs = "".join(path.read_text() for path in (stack.settings.home / "logs").glob("catalog_*.log"))
    assert TOKEN not in logs + done.stderr
    assert credential(stack.settings, "catalog_reader") not in logs + done.stderr


def test_the_flows_are_published_by_who_logs_in_to_prefect_and_openmetadata_is_not_told_how(
    stack: Stack, server: str
) -> None:
    deploy(stack.settings)
    access = {"TIDEMARK_OPENMETADATA_URL": f"{server}/api", "TIDEMARK_OPENMETADATA_TOKEN": TOKEN}
    done = stack.run("catalog", "publish", "prefect", **access)
    assert done.returncode == 0, done.stderr
    kept = httpx.get(f"{server}/_double").json()
    assert kept["problems"] == []
    assert kept["pipelines"] == ["tidemark_flows.check", "tidemark_flows.ingest", "tidemark_flows.promote"]
    assert kept["connections"] == []
    log = (stack.settings.home / "logs" / "catalog_prefect.log").read_text()
    assert credential(stack.settings, PREFECT) not in log + done.stderr

    named = f"http://127.0.0.1:{stack.settings.prefect_port}/api"
    done = stack.run("catalog", "publish", "prefect", TIDEMARK_PREFECT_URL=named, **access)
    assert done.returncode == 1
    assert "it answered 401: set TIDEMARK_PREFECT_AUTH_STRING to" in done.stderr
