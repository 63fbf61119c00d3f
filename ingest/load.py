"""Lake to staged tables, by dlt: rows of lake files beside the ingestion tables, which take them from there."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.configuration import configspec
from dlt.destinations.impl.postgres.configuration import PostgresCredentials
from psycopg.conninfo import conninfo_to_dict

from ingest import plain_dlt
from ingest.lake import LakeFile, read
from ingest.sources import Row
from ingest.tables import LOAD_COLUMNS, STAGING, table_name
from tidemark.connections import dsn
from tidemark.errors import TidemarkError
from tidemark.lake import LakeError
from tidemark.settings import Settings

BATCH = 5_000  # rows
MOST_NAME_BYTES = 63  # Postgres cuts a longer name
MOST_COLUMNS = 1_500  # of Postgres's 1,600: a table keeps room for its own

Columns = Sequence[str]


@dataclass(frozen=True)
class Content:
    """What a lake file holds: its columns in the order in which they come first, and how many rows."""

    columns: Columns
    rows: int


class Unloadable(TidemarkError):
    """A lake file that no table takes as it is; the message says what of it."""


def content(settings: Settings, file: LakeFile) -> Content:
    """What the file holds; Unloadable where it cannot be read, or no table can have its columns."""
    columns: dict[str, None] = {}
    rows = 0
    try:
        for row in read(settings, file):
            columns.update(dict.fromkeys(row))
            rows += 1
    except LakeError:
        raise
    except (TidemarkError, OSError) as error:
        raise Unloadable(str(error)) from None
    if not rows:
        raise Unloadable(f"expected rows in {file.name}, received none: put the file back as it was written")
    _refuse_names(file, tuple(columns))
    return Content(tuple(columns), rows)


def _refuse_names(file: LakeFile, columns: Columns) -> None:
    if unfit := [name for name in columns if not _fits(name)]:
        raise Unloadable(
            f"expected in {file.name} columns that a table can have by their names (no quote, line end or NUL, no "
            f"blank at an end, at most {MOST_NAME_BYTES} bytes, not {', '.join(OWN_COLUMNS)}), received {unfit[0]!r}: "
            "mend what reads the source, or the file"
        )
    if len(columns) > MOST_COLUMNS:
        raise Unloadable(
            f"expected at most {MOST_COLUMNS:,} columns in {file.name}, received {len(columns):,}: mend what reads the "
            "source, or the file"
        )


OWN_COLUMNS = (*LOAD_COLUMNS, "loaded_at")
UNFIT = re.compile(r"[\x00\r\n'\"▶]")  # what dlt joins names by, and what its statements and others' end at


def _fits(name: str) -> bool:
    """Whether dlt and Postgres take the name as it is."""
    plain = name == name.strip() and name not in {"", *OWN_COLUMNS} and not UNFIT.search(name)
    return plain and len(name.encode()) <= MOST_NAME_BYTES


def stage(settings: Settings, source: str, files: Mapping[str, Mapping[LakeFile, Columns]]) -> None:
    """Put lake files (by resource, with their columns) into staged tables that are not there yet.

    What a killed run left in the pipeline's folder goes, and no schema comes back from the warehouse: what is loaded
    is what the ingestion tables say.
    """
    name = f"{source}_to_warehouse"
    shutil.rmtree(Path(plain_dlt.pipelines_folder(settings)) / name, ignore_errors=True)
    to_warehouse = plain_dlt.pipeline(settings, name, destination(settings), STAGING)
    to_warehouse.config.restore_from_destination = False
    staged = [_dlt_resource(settings, table_name(source, resource), new) for resource, new in files.items() if new]
    plain_dlt.run(to_warehouse, source, staged, "parquet")


@configspec(init=False)
class _Credentials(PostgresCredentials):  # type: ignore[misc]
    """How dlt, and ADBC by it, enter: by libpq's words. dlt's own know no socket, no second host and no blank."""

    words: str = ""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words
        parts = conninfo_to_dict(words)
        self.database, self.username, self.password = parts["dbname"], parts["user"], parts["password"]
        self.host = parts.get("host") or parts["hostaddr"]
        self.query = {"options": parts["options"]} if "options" in parts else {}  # dlt adds its own to these
        self.resolve()  # else dlt makes one of its own class from the fields

    def to_native_representation(self) -> str:
        return self.words


def destination(settings: Settings) -> Any:
    """dlt's destination that is the warehouse, entered as ingest_writer."""
    credentials = _Credentials(dsn(settings, "warehouse", "ingest_writer"))
    return dlt.destinations.postgres(credentials=credentials, create_indexes=False)


def _dlt_resource(settings: Settings, table: str, files: Mapping[LakeFile, Columns]) -> Any:
    return dlt.resource(_arrow_tables(settings, files), name=table, write_disposition="append")


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
    return pa.table([*data, *own], names=[*columns, *LOAD_COLUMNS])
