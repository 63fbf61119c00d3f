"""The rows that a failed check means: how many there are now, and the first few, small enough to keep and to print."""

import json
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

SAMPLE_ROWS = 10
MOST_LETTERS = 500  # of one value


def failing_rows(connection: psycopg.Connection[Any], query: sql.Composable) -> tuple[int, tuple[str, ...]]:
    """How many rows the query gives, and at most ten as JSON text: of one statement, so that they agree."""
    statement = sql.SQL(
        "select count(*) over () as failing_count, to_jsonb(failing) as failing_row from ({}) as failing limit {}"
    ).format(query, SAMPLE_ROWS)
    with connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(statement).fetchall()
    return (rows[0][0] if rows else 0), tuple(json.dumps(_shortened(row)) for _, row in rows)


def _shortened(row: dict[str, Any]) -> dict[str, Any]:
    """A record may bring a megabyte of attributes; its identity is what somebody looks for."""
    return {name: _cut(value) for name, value in row.items()}


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    return value if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"
