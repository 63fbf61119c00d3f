"""What a check found, of whichever tool, and its row in quality.results: a row a check a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

Outcome = Literal["passed", "failed", "warned", "not evaluated", "error"]
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "warned", "not evaluated", "error")
Severity = Literal["error", "warn"]
Tool = Literal["soda", "dbt", "tidemark"]
COLUMNS = (
    "run_id", "tool", "table_name", "dataset", "check_name", "column_name", "check_type", "severity", "outcome",
    "failing_rows", "measured", "detail", "sample", "owner", "checked_at",
)  # fmt: skip


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


def insert(
    connection: psycopg.Connection[Any], run_id: str, results: Sequence[CheckResult], may_be_there: bool = False
) -> None:
    """Note what one run found, each result with its `checked_at`, in one transaction.

    `may_be_there`: another process may have noted the same run meanwhile; without it a check that comes twice is a
    UniqueViolation.
    """
    statement = sql.SQL("insert into quality.results ({}) values ({}){}").format(
        sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
        sql.SQL(", ").join([sql.Placeholder()] * len(COLUMNS)),
        sql.SQL(" on conflict do nothing" if may_be_there else ""),
    )
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(statement, [_row(run_id, result) for result in results])


def _row(run_id: str, result: CheckResult) -> list[Any]:
    return [
        run_id, result.tool, result.table, result.dataset, result.check, result.column, result.type, result.severity,
        result.outcome, result.failing_rows, result.measured, result.detail,
        Jsonb([json.loads(row) for row in result.sample]), result.owner, result.checked_at,
    ]  # fmt: skip
