"""The ingestion tables: every data column text, then load id, lake file's name and the load's time.

What is loaded is what the table says: a file whose name is in it is in it whole.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from tidemark import turns
from tidemark.connections import connect
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

SCHEMA = "ingestion"
LOAD_COLUMNS = ("load_id", "file_name")  # and loaded_at
WAIT_SECONDS = 60.0  # for another run of the same source, or for the last statement of a killed one


def table_name(source: str, resource: str) -> str:
    """The ingestion table of a resource."""
    return f"{source}__{resource}"


def qualified(table: str) -> sql.Identifier:
    """The table for composing SQL."""
    return sql.Identifier(SCHEMA, table)


@contextmanager
def only_run(settings: Settings, source: str) -> Iterator[psycopg.Connection[Any]]:
    """The warehouse as ingest_writer, with no other run of the source anywhere; TurnTaken after WAIT_SECONDS."""
    with (
        turns.held(settings, "warehouse", "ingest_writer", f"ingest {source}", WAIT_SECONDS),
        connect(settings, "warehouse", "ingest_writer", autocommit=True) as warehouse,
    ):
        yield warehouse


def ensure_table(warehouse: psycopg.Connection[Any], table: str, columns: Sequence[str]) -> None:
    """Make the table, or add the columns that it lacks. Waits for a killed run's last statement to end."""
    columns = [*columns, *LOAD_COLUMNS]
    text = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(column)) for column in columns)
    create = sql.SQL("create table if not exists {} ({}, loaded_at timestamptz not null default now())")
    with warehouse.transaction():
        warehouse.execute(create.format(qualified(table), text))
        warehouse.execute(sql.SQL("lock table {} in share row exclusive mode").format(qualified(table)))
        known = {name for (name,) in warehouse.execute(_COLUMNS, [SCHEMA, table]).fetchall()}
        for column in columns:
            if column not in known:
                add = sql.SQL("alter table {} add column {} text")
                warehouse.execute(add.format(qualified(table), sql.Identifier(column)))
        for method, column in (("btree", "file_name"), ("brin", "loaded_at")):
            index = sql.SQL("create index if not exists {} on {} using {} ({})").format(
                sql.Identifier(f"{table}_{column}"), qualified(table), sql.SQL(method), sql.Identifier(column)
            )
            warehouse.execute(index)


_COLUMNS = "select column_name from information_schema.columns where table_schema = %s and table_name = %s"


def data_columns(warehouse: psycopg.Connection[Any], table: str) -> list[str]:
    """The columns whose values came from the source."""
    own = {*LOAD_COLUMNS, "loaded_at"}
    names = [name for (name,) in warehouse.execute(_COLUMNS, [SCHEMA, table]).fetchall()]
    return [name for name in names if name not in own and not name.startswith("_dlt_")]


def rows_by_file(warehouse: psycopg.Connection[Any], table: str) -> dict[str, int]:
    """How many rows of each lake file the table holds, counted in it."""
    query = sql.SQL("select file_name, count(*) from {} group by file_name").format(qualified(table))
    return dict(warehouse.execute(query).fetchall())


def times_by_file(warehouse: psycopg.Connection[Any], table: str) -> dict[str, datetime]:
    """When each lake file was loaded."""
    query = sql.SQL("select file_name, min(loaded_at) from {} group by file_name").format(qualified(table))
    return dict(warehouse.execute(query).fetchall())


def empty(warehouse: psycopg.Connection[Any], table: str, files: Collection[str]) -> None:
    """Empty a table that `files` of the lake fill again; TidemarkError where they lack rows that it holds."""
    missing = sorted(rows_by_file(warehouse, table).keys() - set(files))
    if missing:
        raise TidemarkError(
            f"expected all of {SCHEMA}.{table} in the lake, {len(missing)} of its files are not there "
            f"(first: {missing[0]}): bring them back before you rebuild"
        )
    warehouse.execute(sql.SQL("truncate {}").format(qualified(table)))
