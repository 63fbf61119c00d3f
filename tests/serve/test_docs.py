"""The API describes itself as it is, offline; what docs/api.md shows runs as it stands there."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest
import yaml

from tests.conftest import Stack
from tests.serve.conftest import Served, environ_of
from tidemark.settings import PROJECT

PAGE = (PROJECT / "docs" / "api.md").read_text()
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@contextmanager
def in_place_of(stack: Stack, database: str, kind: str, name: str, made: str) -> Iterator[None]:
    """A relation of these tests, and afterwards the one that was there, if any."""
    with psycopg.connect(stack.dsn(database, "transformer"), autocommit=True) as connection:
        connection.execute(f"alter {kind} if exists {name} rename to kept".encode())
        connection.execute(f"create {kind} {name} {made}".encode())
        try:
            yield
        finally:
            connection.execute(f"drop {kind} {name}".encode())
            schema, _, relation = name.partition(".")
            connection.execute(f"alter {kind} if exists {schema}.kept rename to {relation}".encode())


def declared(mart: str) -> list[tuple[str, str]]:
    """Name and type of each column of a mart, as dbt is told: so that a line which names another column fails."""
    models = yaml.safe_load((PROJECT / "dbt_project/models/marts/market/_market__models.yml").read_text())["models"]
    [model] = [model for model in models if model["name"] == mart]
    return [(column["name"], column["data_type"]) for column in model["columns"]]


@pytest.fixture(scope="module")
def bars(stack: Stack, served: Served) -> Iterator[Served]:
    """The relations that the page names, with a row each."""
    columns = ", ".join(f'"{name}" {kind}' for name, kind in declared("fct_bars_1d"))
    price = "as select 'BTC/USD' as symbol, 61234.5::numeric as price"
    with (
        in_place_of(stack, "warehouse", "table", "marts.fct_bars_1d", f"({columns}, primary key (bar_key))"),
        in_place_of(stack, "realtime", "view", "live.last_price", price),
    ):
        with psycopg.connect(stack.dsn("warehouse", "transformer")) as warehouse:
            warehouse.execute("insert into marts.fct_bars_1d (bar_key, close) values ('a', 61234.5)")
        yield served


@pytest.mark.parametrize("line", [*SHELL, *PYTHON])
def test_a_line_of_the_page_runs_as_it_stands_there(bars: Served, line: str) -> None:
    command = ["bash", "-c", line] if line in SHELL else [sys.executable, "-c", line]
    ran = subprocess.run(command, env=environ_of(bars), capture_output=True, text=True, check=False)
    assert (ran.returncode, "61234.5" in ran.stdout) == (0, True), ran.stderr + ran.stdout


def test_the_page_shows_curl_pandas_and_polars() -> None:
    assert [name for name in ("curl", "pandas.", "polars.") if name in "".join([*SHELL, *PYTHON])] == [
        "curl",
        "pandas.",
        "polars.",
    ]


def test_the_docs_page_has_everything_of_this_server_alone(served: Served) -> None:
    page = httpx.get(f"{served.url}/docs", timeout=60)
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) >= 3
    for path in named:
        if not path.startswith("data:"):
            assert path.startswith("/")
            file = httpx.get(f"{served.url}{path}", timeout=60)
            assert (file.status_code, len(file.content) > 50) == (200, True), path
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


def test_openapi_names_every_route_with_its_key_refusals_and_examples(served: Served) -> None:
    said = httpx.get(f"{served.url}/openapi.json", timeout=60).json()
    assert {"/v1/me", "/v1/live", "/v1/live/{name}", "/v1/marts", "/v1/marts/{name}"} <= said["paths"].keys()
    assert said["security"]
    for path in said["paths"].values():
        for operation in path.values():
            assert {"400", "401", "404", "429", "503"} <= operation["responses"].keys()
            assert operation["summary"]
    rows = said["paths"]["/v1/marts/{name}"]["get"]["responses"]["200"]["content"]
    assert rows["application/json"]["example"]
    assert {"text/csv", "application/x-ndjson", "application/vnd.apache.arrow.stream"} <= rows.keys()
    parameters = said["paths"]["/v1/marts/{name}"]["get"]["parameters"]
    assert any("examples" in parameter.get("schema", {}) or "examples" in parameter for parameter in parameters)
