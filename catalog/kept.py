"""What a check found: of Soda, of dbt and of our own comparisons, kept in quality.results, a row a check a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import psycopg
import yaml
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

ROLE = "catalog_reader"
GOVERNANCE = Path(__file__).parent / "governance.yml"
Outcome = Literal["passed", "failed", "warned", "not evaluated", "error"]
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "warned", "not evaluated", "error")
Severity = Literal["error", "warn"]
Tool = Literal["soda", "dbt", "tidemark"]


@dataclass(frozen=True)
class CheckResult:
    """What one check of one table found. `sample`: at most ten failing rows, as JSON text.

    `severity`: whether failing rows fail who asks (`error`) or are said (`warn`: the outcome is `warned`). An outcome
    `error` is a check that could not be carried out.
    """

    table: str  # schema.table
    dataset: str  # database.schema.table
    check: str
    column: str | None
    outcome: Outcome
    failing_rows: int | None = None
    detail: str | None = None
    sample: tuple[str, ...] = ()
    measured: float | None = None  # the number that was compared with the check's limit
    tool: Tool = "soda"
    type: str = "failed_rows"
    severity: Severity = "error"
    owner: str | None = None
    checked_at: datetime | None = None


def failures(results: Sequence[CheckResult]) -> list[CheckResult]:
    """The results that make `tidemark check` exit 1."""
    return [result for result in results if result.outcome == "failed"]


def errors(results: Sequence[CheckResult]) -> list[CheckResult]:
    """The checks that could not be carried out: `tidemark check` exits 3."""
    return [result for result in results if result.outcome == "error"]


def sentence(result: CheckResult) -> str:
    """One failed check as a sentence that names the table, the column, the count and the rows."""
    where = result.dataset + (f", column {result.column}" if result.column else "")
    count = "" if result.failing_rows is None else f": {result.failing_rows} failing rows"
    rows = f", among them {'; '.join(result.sample)}" if result.sample else ""
    return f"{where}: expected {result.check}{count}{rows}{f' ({result.detail})' if result.detail else ''}"


@cache
def owner() -> str:
    """The team of governance.yml, which answers for every table that dbt does not build."""
    return str(yaml.safe_load(GOVERNANCE.read_text())["team"]["name"])


def keep(connection: psycopg.Connection[Any], results: Sequence[CheckResult], checked_at: datetime) -> None:
    """Note the results of one run in quality.results, as the role that owns it."""
    run_id = str(uuid4())
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "insert into quality.results (run_id, tool, table_name, dataset, check_name, column_name, check_type, "
            "severity, outcome, failing_rows, measured, detail, sample, owner, checked_at) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (run_id, r.tool, r.table, r.dataset, r.check, r.column, r.type, r.severity, r.outcome, r.failing_rows,
                 r.measured, r.detail, Jsonb([json.loads(row) for row in r.sample]), r.owner or owner(), checked_at)
                for r in results
            ],
        )  # fmt: skip


def last_of_dbt(connection: psycopg.Connection[Any], datasets: Sequence[str]) -> list[CheckResult]:
    """Of each of dbt's tests of these tables the last result."""
    with connection.cursor(row_factory=class_row(CheckResult)) as cursor:
        found = cursor.execute(
            'select distinct on (dataset, check_name) table_name as "table", dataset, check_name as "check", '
            'column_name as "column", outcome, failing_rows, detail, sample, tool, check_type as type, severity, '
            "owner, checked_at from quality.results "
            "where tool = 'dbt' and dataset = any(%s) order by dataset, check_name, checked_at desc",
            [list(datasets)],
        ).fetchall()
    return [replace(each, sample=tuple(map(json.dumps, each.sample))) for each in found]
