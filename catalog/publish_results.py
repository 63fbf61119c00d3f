"""Publishes the last results of Soda's checks and of dbt's tests as results of test cases, each once."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal

from catalog.check import ROLE
from catalog.edges import Lineage, Place
from catalog.naming import column_named, full_name, named
from catalog.server import Server, in_path
from tidemark.connections import DATABASES, connect
from tidemark.dbt import artifacts
from tidemark.settings import Settings

Status = Literal["Success", "Failed", "Aborted"]
_DBT = {"pass": "Success", "warn": "Success", "fail": "Failed", "error": "Aborted", "skipped": "Aborted"}
_SODA = {"passed": "Success", "failed": "Failed", "not evaluated": "Aborted"}


@dataclass(frozen=True)
class Result:
    """What one test last found. `at`: by the clock of the machine that ran it; `column` is None for a whole table's."""

    platform: Literal["Soda", "dbt"]
    table: Place
    column: str | None
    test: str
    status: Status
    at: datetime
    said: str

    @property
    def name(self) -> str:
        """A name for a test case: letters, digits and _, at most 200, a hash of the rest so that two never meet."""
        name = re.sub(r"\W+", "_", f"{self.platform}_{self.test}").strip("_")
        return name if len(name) <= 200 else f"{name[:180]}_{sha256(name.encode()).hexdigest()[:16]}"

    @property
    def full_name(self) -> str:
        """The fully qualified name of the test case."""
        owner = column_named(self.table, self.column) if self.column else named(self.table)
        return f"{owner}.{full_name(self.name)}"

    @property
    def definition(self) -> str:
        """The test definition that it is one of."""
        return f"{self.platform.lower()}{'Column' if self.column else 'Table'}Test"


def publish_results(
    settings: Settings, server: Server, lineage: Lineage, progress: Callable[[str], None] | None = None
) -> None:
    """The last result of every test of a table that the lineage has; one that the server has already is not sent."""
    for platform in ("Soda", "dbt"):
        for kind in ("TABLE", "COLUMN"):
            body = {
                "name": f"{platform.lower()}{kind.capitalize()}Test", "entityType": kind, "testPlatforms": [platform],
                "description": f"A test of {platform}, run by Tidemark.",
            }  # fmt: skip
            server.send("PUT", "dataQuality/testDefinitions", body)
    for result in [*_of_soda(settings), *_of_dbt(settings)]:
        columns = lineage.columns.get(result.table)
        if columns is None or (result.column and result.column not in columns):
            continue  # a table that is gone, or the test of one that is no longer shown
        if progress:
            progress(result.full_name)
        _publish(server, result)


def _publish(server: Server, result: Result) -> None:
    link = f"<#E::table::{named(result.table)}{f'::columns::{result.column}' if result.column else ''}>"
    path = f"dataQuality/testCases/name/{in_path(result.full_name)}?fields=testCaseResult"
    case = server.get(path)
    if case is None:
        body = {"name": result.name, "displayName": result.test[:200], "testDefinition": result.definition}
        case = server.send("PUT", "dataQuality/testCases", {**body, "entityLink": link})
    at = int(result.at.timestamp() * 1000)
    if int((case.get("testCaseResult") or {}).get("timestamp") or 0) >= at:
        return
    found: dict[str, Any] = {
        "timestamp": at,
        "testCaseStatus": result.status,
        "result": result.said,
        "testResultValue": [],
    }
    server.send("POST", f"dataQuality/testCases/testCaseResults/{in_path(result.full_name)}", found)


def _of_soda(settings: Settings) -> Iterator[Result]:
    query = (
        "select distinct on (dataset, check_name, column_name) dataset, check_name, column_name, outcome, checked_at,"
        " failing_rows from quality.check_result order by dataset, check_name, column_name, checked_at desc"
    )
    with connect(settings, "warehouse", ROLE) as connection:
        for dataset, check, column, outcome, at, failing in connection.execute(query):
            said = outcome if failing is None else f"{outcome}: {failing} rows"
            yield Result("Soda", Place("table", dataset), column, check, _SODA[outcome], at, said)  # type: ignore[arg-type]


def _of_dbt(settings: Settings) -> Iterator[Result]:
    """The tests of the last build of each database; none where nothing was ever built."""
    for database in DATABASES:
        folder = artifacts(settings, database)
        if not (folder / "run_results.json").exists() or not (folder / "manifest.json").exists():
            continue
        nodes = json.loads((folder / "manifest.json").read_text())["nodes"]
        for run in json.loads((folder / "run_results.json").read_text())["results"]:
            test = nodes.get(run["unique_id"], {})
            tested = nodes.get(test.get("attached_node") or "")
            if test.get("resource_type") == "test" and tested and (at := _ended(run)):
                table = Place("table", f"{tested['database']}.{tested['schema']}.{tested['alias']}")
                said = run["message"] or run["status"]
                column = test.get("column_name")
                yield Result("dbt", table, column, test["name"], _DBT[run["status"]], at, said)  # type: ignore[arg-type]


def _ended(run: dict[str, Any]) -> datetime | None:
    ends = [timing["completed_at"] for timing in run["timing"] if timing.get("completed_at")]
    return datetime.fromisoformat(max(ends)) if ends else None
