"""Lake to ingestion tables, by dlt: one transaction replaces all rows of a lake file."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa

from ingest import plain_dlt
from ingest.lake import LakeFile, read
from ingest.sources import Row
from ingest.tables import LOAD_COLUMNS, SCHEMA, table_name
from tidemark.connections import dsn
from tidemark.settings import Settings

BATCH = 5_000  # rows

Columns = Sequence[str]


def columns_and_rows(settings: Settings, file: LakeFile) -> tuple[Columns, int]:
    """The file's columns in the order in which they come first, and how many rows it has."""
    columns: dict[str, None] = {}
    rows = 0
    for row in read(settings, file):
        columns.update(dict.fromkeys(row))
        rows += 1
    return tuple(columns), rows


def load(settings: Settings, source: str, files: Mapping[str, Mapping[LakeFile, Columns]]) -> None:
    """Put lake files (by resource, with their columns) into their tables, which must have those columns.

    What a killed run left in the pipeline's folder goes: the truth is in the warehouse.
    """
    name = f"{source}_to_warehouse"
    shutil.rmtree(Path(plain_dlt.pipelines_folder(settings)) / name, ignore_errors=True)
    destination = dlt.destinations.postgres(
        credentials=dsn(settings, "warehouse", "ingest_writer"), create_indexes=False
    )
    to_warehouse = plain_dlt.pipeline(settings, name, destination, SCHEMA)
    loaded = [_dlt_resource(settings, table_name(source, resource), new) for resource, new in files.items() if new]
    plain_dlt.run(to_warehouse, source, loaded, "parquet")


def _dlt_resource(settings: Settings, table: str, files: Mapping[LakeFile, Columns]) -> Any:
    return dlt.resource(
        _arrow_tables(settings, files),
        name=table,
        write_disposition={"disposition": "merge", "strategy": "delete-insert"},
        merge_key="file_name",
    )


def _arrow_tables(settings: Settings, files: Mapping[LakeFile, Columns]) -> Iterator[pa.Table]:
    for file, columns in files.items():
        batch: list[Row] = []
        for row in read(settings, file):
            batch.append(row)
            if len(batch) == BATCH:
                yield _arrow(columns, batch, file)
                batch = []
        if batch:
            yield _arrow(columns, batch, file)


def _arrow(columns: Columns, rows: Sequence[Row], file: LakeFile) -> pa.Table:
    data = [pa.array([row.get(column) for row in rows], pa.string()) for column in columns]
    own = [pa.array([value] * len(rows), pa.string()) for value in (file.load_id, file.name)]
    # dlt takes a merge key for one that is never null
    fields = [pa.field(name, pa.string(), nullable=name != "file_name") for name in (*columns, *LOAD_COLUMNS)]
    # A table made again from the lake has the same times, so that no model takes its rows for new ones.
    loaded_at = pa.array([_loaded_at(file)] * len(rows), pa.timestamp("us", "UTC"))
    return pa.table([*data, *own, loaded_at], schema=pa.schema([*fields, pa.field("loaded_at", loaded_at.type)]))


def _loaded_at(file: LakeFile) -> datetime:
    """When the file's load began: its id is that, in seconds since 1970."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(Decimal(file.load_id) * 1_000_000))
