"""The last results of Soda's checks and of dbt's tests, of those that still exist."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from catalog.check import AS_IN_LAKE, CONTRACT_RUNS, TABLE_EXISTS
from catalog.contracts import find
from catalog.edges import Place
from catalog.kept import ROLE
from catalog.naming import column_named, full_name, named
from catalog.stored import CHECK
from tidemark.connections import DATABASES, Database, connect
from tidemark.dbt import artifacts
from tidemark.settings import Settings
from tidemark.state_file import read_whole

if TYPE_CHECKING:
    from psycopg import Connection

Status = Literal["Success", "Failed", "Aborted"]
Platform = Literal["Soda", "dbt"]
_DBT: dict[str, Status] = {
    "pass": "Success",
    "warn": "Success",
    "fail": "Failed",
    "error": "Aborted",
    "skipped": "Aborted",
}
_SODA: dict[str, Status] = {
    "passed": "Success",
    "warned": "Success",
    "failed": "Failed",
    "error": "Aborted",
    "not evaluated": "Aborted",
}
_OF_EVERY_ROW = {AS_IN_LAKE, CHECK}  # of `tidemark check --deep`: no contract names them
_OF_ONE_RUN = {TABLE_EXISTS, CONTRACT_RUNS}  # said where a contract could not run, and of no later run that could


@dataclass(frozen=True)
class DataTest:
    """One test of a table, or of a column of it."""

    platform: Platform
    table: Place
    column: str | None
    test: str

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


@dataclass(frozen=True)
class Result(DataTest):
    """What a test last found. `at`: by the clock of who ran it; `detail`: the rows meant, or what hindered."""

    status: Status
    at: datetime
    said: str
    detail: str | None = None


def of_contracts() -> list[DataTest]:
    """Every check of every contract, in the order of the files, whether or not it ever ran."""
    return [
        DataTest("Soda", Place("table", contract.dataset), column, check)
        for contract in find()
        for check, column in contract.checks.items()
    ]


def results_of_soda(settings: Settings) -> Iterator[Result]:
    """The last result of each check that a contract has, or `tidemark check --deep` makes."""
    with connect(settings, "warehouse", ROLE) as connection:
        yield from last_of_soda(connection)


def last_of_soda(connection: "Connection[Any]") -> Iterator[Result]:
    """The same, of a connection to the warehouse."""
    known = {(test.table.name, test.test): test.column for test in of_contracts()}
    query = (
        "select distinct on (dataset, check_name) dataset, check_name, outcome, checked_at, failing_rows, detail,"
        " checked_at = max(checked_at) over (partition by dataset) as is_of_last_run"
        " from quality.results where tool <> 'dbt' order by dataset, check_name, checked_at desc"
    )
    for dataset, check, outcome, at, failing, detail, is_of_last_run in connection.execute(query):
        named = (dataset, check) in known
        if named or check in _OF_EVERY_ROW or (check in _OF_ONE_RUN and is_of_last_run):
            said = outcome if failing is None else f"{outcome}: {failing} rows"
            column = known.get((dataset, check))
            yield Result("Soda", Place("table", dataset), column, check, _SODA[outcome], at, said, detail)


def of_dbt(settings: Settings, database: Database) -> list[DataTest] | None:
    """The tests of a database's models, as the last run of dbt on it knew them; None where there was none."""
    nodes = _artifact(settings, database, "manifest")
    return None if nodes is None else [test for node in nodes["nodes"] if (test := _of_dbt(nodes["nodes"], node))]


def results_of_dbt(settings: Settings) -> Iterator[Result]:
    """The tests of the last build of each database; none where nothing was ever built."""
    for database in DATABASES:
        manifest, runs = (_artifact(settings, database, name) for name in ("manifest", "run_results"))
        if manifest is None or runs is None:
            continue
        for run in runs["results"]:
            test = _of_dbt(manifest["nodes"], run["unique_id"])
            if test and (at := _ended(run)):
                said = run["message"] or run["status"]
                yield Result("dbt", test.table, test.column, test.test, _DBT[run["status"]], at, said)


def _artifact(settings: Settings, database: Database, name: str) -> dict[str, Any] | None:
    return read_whole(artifacts(settings, database) / f"{name}.json")


def _of_dbt(nodes: dict[str, Any], name: str) -> DataTest | None:
    test = nodes.get(name, {})
    tested = nodes.get(test.get("attached_node") or "")
    if test.get("resource_type") != "test" or not tested:
        return None
    table = Place("table", f"{tested['database']}.{tested['schema']}.{tested['alias']}")
    return DataTest("dbt", table, test.get("column_name"), test["name"])


def _ended(run: dict[str, Any]) -> datetime | None:
    ends = [timing["completed_at"] for timing in run["timing"] if timing.get("completed_at")]
    return datetime.fromisoformat(max(ends)) if ends else None
