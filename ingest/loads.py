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
    loaded = [file for file in files if file.name in rows]
    names, load_ids = [file.name for file in loaded], [file.load_id for file in loaded]
    with warehouse.transaction():
        warehouse.execute("delete from ops.load where table_name = %s and not file_name = any(%s)", [table, names])
        # Joined with what is noted, so that a file of which nothing changed costs no write, and no lock of its row.
        warehouse.execute(
            """
            insert into ops.load (file_name, source, table_name, load_id, row_count)
            select found.file_name, %s, %s, found.load_id, found.row_count
            from unnest(%s::text[], %s::text[], %s::bigint[]) as found (file_name, load_id, row_count)
            where not exists (
                select 1 from ops.load as noted
                where noted.file_name = found.file_name and noted.row_count = found.row_count
            )
            on conflict (file_name) do update set row_count = excluded.row_count, changed_at = now()
            """,
            [source, table, names, load_ids, [rows[name] for name in names]],
        )
