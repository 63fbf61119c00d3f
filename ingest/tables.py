"""The ingestion tables: every data column text, then load id, lake file's name and the load's time.

What is loaded is what the table says: a file whose name is in it is in it whole. Rows come from a table beside it,
where they were counted, in one transaction that no reader waits for and that none sees half of.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
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
STAGING = "ingestion_staging"
LOAD_COLUMNS = ("load_id", "file_name")  # and loaded_at
WAIT_SECONDS = 60.0  # for another run of the same source, or for the last statement of a killed one
NEW_COLUMN_LOCK_TIMEOUT = "5s"  # as long as it waits behind one reader, all that come later wait behind it


class TableLocked(TidemarkError):
    """Another session holds a lock on a table for longer than is waited for; nothing was changed."""

    retriable = True


def table_name(source: str, resource: str) -> str:
    """The ingestion table of a resource."""
    return f"{source}__{resource}"


def qualified(table: str) -> sql.Identifier:
    """The table for composing SQL."""
    return sql.Identifier(SCHEMA, table)


def staged(table: str) -> sql.Identifier:
    """The table beside it, where rows are counted before they are taken over."""
    return sql.Identifier(STAGING, table)


@contextmanager
def only_run(settings: Settings, source: str) -> Iterator[psycopg.Connection[Any]]:
    """The warehouse as ingest_writer, with no other run of the source anywhere; TurnTaken after WAIT_SECONDS."""
    with (
        turns.held(settings, "warehouse", "ingest_writer", f"ingest {source}", WAIT_SECONDS),
        connect(settings, "warehouse", "ingest_writer", autocommit=True) as warehouse,
    ):
        try:
            yield warehouse
        except psycopg.errors.LockNotAvailable as error:
            raise TableLocked(
                f"source {source}: expected its tables for a moment, another session holds one "
                f"({str(error).partition(chr(10))[0]}): nothing was changed; end what reads it, or run it again later"
            ) from None


def ensure_table(warehouse: psycopg.Connection[Any], table: str, columns: Sequence[str]) -> None:
    """Make the table, or add the columns that it lacks. Waits for a killed run's last statement to end."""
    columns = [*columns, *LOAD_COLUMNS]
    text = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(column)) for column in columns)
    create = sql.SQL("create table if not exists {} ({}, loaded_at timestamptz not null default now())")
    with warehouse.transaction():
        warehouse.execute(create.format(qualified(table), text))
        warehouse.execute(sql.SQL("lock table {} in share row exclusive mode").format(qualified(table)))
        _add_columns(warehouse, table, columns)
        for method, column in (("btree", "file_name"), ("brin", "loaded_at")):
            index = sql.SQL("create index if not exists {} on {} using {} ({})").format(
                sql.Identifier(f"{table}_{column}"), qualified(table), sql.SQL(method), sql.Identifier(column)
            )
            warehouse.execute(index)


def _add_columns(warehouse: psycopg.Connection[Any], table: str, columns: Sequence[str]) -> None:
    known = {name for (name,) in warehouse.execute(_COLUMNS, [SCHEMA, table]).fetchall()}
    adds = [sql.SQL("add column {} text").format(sql.Identifier(column)) for column in columns if column not in known]
    if adds:
        warehouse.execute("select set_config('lock_timeout', %s, true)", [NEW_COLUMN_LOCK_TIMEOUT])
        warehouse.execute(sql.SQL("alter table {} {}").format(qualified(table), sql.SQL(", ").join(adds)))


_COLUMNS = "select column_name from information_schema.columns where table_schema = %s and table_name = %s"


def data_columns(warehouse: psycopg.Connection[Any], table: str) -> list[str]:
    """The columns whose values came from the source."""
    own = {*LOAD_COLUMNS, "loaded_at"}
    names = [name for (name,) in warehouse.execute(_COLUMNS, [SCHEMA, table]).fetchall()]
    return [name for name in names if name not in own and not name.startswith("_dlt_")]


def is_there(warehouse: psycopg.Connection[Any], table: sql.Identifier) -> bool:
    """Whether the table was ever made."""
    return warehouse.execute("select to_regclass(%s) is not null", [table.as_string(None)]).fetchall() == [(True,)]


def rows_by_file(warehouse: psycopg.Connection[Any], table: sql.Identifier) -> dict[str, int]:
    """How many rows of each lake file a table (`qualified` or `staged`) holds, counted in it; none where it is not."""
    if not is_there(warehouse, table):
        return {}
    query = sql.SQL("select file_name, count(*) from {} group by file_name").format(table)
    return dict(warehouse.execute(query).fetchall())


def times_by_file(warehouse: psycopg.Connection[Any], table: str) -> dict[str, datetime]:
    """When each lake file was loaded."""
    query = sql.SQL("select file_name, min(loaded_at) from {} group by file_name").format(qualified(table))
    return dict(warehouse.execute(query).fetchall())


def refuse_missing(warehouse: psycopg.Connection[Any], table: str, files: Collection[str]) -> None:
    """TidemarkError where `files`, all that the lake has of a table, lack rows that it holds."""
    missing = sorted(rows_by_file(warehouse, qualified(table)).keys() - set(files))
    if missing:
        raise TidemarkError(
            f"expected all of {SCHEMA}.{table} in the lake, {len(missing)} of its files are not there "
            f"(first: {missing[0]}): bring them back before you rebuild"
        )


def drop_staged(warehouse: psycopg.Connection[Any], source: str, names: Collection[str]) -> None:
    """Drop the staged tables of a source, and what dlt noted of them: every load begins with nothing."""
    for table in names:
        warehouse.execute(sql.SQL("drop table if exists {}").format(staged(table)))
    for noted, column, value in (
        ("_dlt_version", "schema_name", source),
        ("_dlt_loads", "schema_name", source),
        ("_dlt_pipeline_state", "pipeline_name", f"{source}_to_warehouse"),
    ):
        there = warehouse.execute("select to_regclass(%s)", [f"{STAGING}.{noted}"]).fetchall()[0][0]
        if there is not None:
            query = sql.SQL("delete from {} where {} = %s")
            warehouse.execute(query.format(sql.Identifier(STAGING, noted), sql.Identifier(column)), [value])


def replace_files(
    warehouse: psycopg.Connection[Any],
    table: str,
    rows: sql.Composable,
    columns: Sequence[str],
    times: Mapping[str, datetime],
) -> int:
    """Let the rows of lake files (`times`: when each arrived) be those of `rows`, which has their columns; how many.

    Within the caller's transaction. A row whose identity the table has from another file stays that file's.
    """
    names = sql.SQL(", ").join(sql.Identifier(name) for name in (*columns, *LOAD_COLUMNS))
    given = sql.SQL(", ").join(sql.Identifier("given", name) for name in (*columns, *LOAD_COLUMNS))
    # Without parameters: a % in a name would be one.
    insert = sql.SQL(
        "insert into {} ({}, loaded_at) select {}, arrived.loaded_at from {} as given "
        "inner join unnest({}::text [], {}::timestamptz []) as arrived (file_name, loaded_at) using (file_name) "
        "on conflict do nothing"
    ).format(qualified(table), names, given, rows, list(times), list(times.values()))
    warehouse.execute(sql.SQL("delete from {} where file_name = any(%s)").format(qualified(table)), [list(times)])
    return warehouse.execute(insert).rowcount


def refuse_difference(table: str, expected: int, taken: int) -> None:
    """TidemarkError, which undoes the transaction, where a table did not take all rows that lay beside it."""
    if taken != expected:
        raise TidemarkError(
            f"expected {SCHEMA}.{table} to take the {expected:,} rows that lay beside it, it took {taken:,}: it is as "
            "it was; run it again"
        )
