"""The ledger of loads: `ops.load`, a row a lake file of a batch source that its ingestion table has."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from ingest.lake import LakeFile


def note(
    warehouse: psycopg.Connection[Any], source: str, table: str, files: Sequence[LakeFile], rows: Mapping[str, int]
) -> None:
    """Note how many rows the table has of each lake file, by the file's name; again, it changes nothing.

    `files` are all that the lake has of the table, not those of this run alone: so what was loaded before there was a
    ledger is in it, and a file that the table has no more is not.
    """
    with warehouse.transaction(), warehouse.cursor() as cursor:
        cursor.execute(
            "delete from ops.load where table_name = %s and not file_name = any(%s)",
            [table, [file.name for file in files if file.name in rows]],
        )
        cursor.executemany(
            "insert into ops.load (file_name, source, table_name, load_id, row_count) values (%s, %s, %s, %s, %s) "
            "on conflict (file_name) do update set row_count = excluded.row_count, changed_at = now() "
            "where load.row_count <> excluded.row_count",
            [(file.name, source, table, file.load_id, rows[file.name]) for file in files if file.name in rows],
        )
