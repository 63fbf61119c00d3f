"""Results of checks, of whichever tool: which fail, what is said of one, and the last of dbt."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import yaml
from psycopg.rows import class_row

from tidemark.quality_results import CheckResult, insert

ROLE = "catalog_reader"
GOVERNANCE = Path(__file__).parent / "governance.yml"


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
    owned = [replace(each, owner=each.owner or owner(), checked_at=checked_at) for each in results]
    insert(connection, str(uuid4()), owned)


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
