"""The streaming database as a batch source: a day of a topic, to the lake and its ingestion table.

The file holds exactly the text of the copy out (realtime/copy_out.py), gzipped. A row's identity is (log_epoch,
kafka_partition, kafka_offset), and its table knows each once.
"""

import csv
import gzip
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import IO, Any

import psycopg
from fsspec.implementations.local import LocalFileSystem
from psycopg import sql

from ingest import lake, tables
from ingest.sources import Resource
from realtime import copy_out, slices
from realtime.copy_out import NoPartition
from realtime.slices import IDENTITY, Slice
from tidemark.categories import table_columns
from tidemark.connections import connect
from tidemark.settings import Settings

RESOURCES: tuple[Resource, ...] = ()  # `tidemark promote` decides which day comes when

SOURCE = "realtime"
SUFFIX = ".csv.gz"
CHUNK = 1 << 20  # bytes

csv.field_size_limit(sys.maxsize)  # attributes may be larger than the module's own 128 KiB


def copy_day_to_lake(settings: Settings, topic: str, day: date, promotion_id: str) -> tuple[str, list[Slice]]:
    """Copy a day's partition to the lake; the file's path below the lake's root, and what was in the partition.

    Both come from one snapshot. The same promotion writes the same file again, whole or not at all.
    """
    path = f"{SOURCE}/{topic}/{day:%Y-%m-%d}.{promotion_id}{SUFFIX}"
    with copy_out.day_rows(settings, topic, day) as (held, rows), _new_file(settings, path) as file:
        for row in rows:
            file.write(row)
    return path, held


def slices_in_lake(settings: Settings, lake_path: str) -> list[Slice]:
    """What a file of the lake holds, computed from its bytes alone."""
    with _read(settings, lake_path) as file:
        return slices.in_csv(io.TextIOWrapper(file, "utf-8", newline=""))


def load_day(settings: Settings, topic: str, lake_path: str) -> int:
    """Load a file of the lake into the topic's ingestion table; how many of its rows the table did not have."""
    table = tables.table_name(SOURCE, topic)
    with tables.only_run(settings, table) as warehouse:
        _ensure_table(warehouse, table, columns_of(settings, lake_path))
        return _load(settings, warehouse, table, lake_path)


def slices_in_ingestion(settings: Settings, topic: str, lake_path: str) -> list[Slice]:
    """What the ingestion table holds of the rows of a lake file, whichever promotion brought them."""
    loaded = tables.qualified(tables.table_name(SOURCE, topic))
    same = sql.SQL(" and ").join(sql.SQL("loaded.{0} = incoming.{0}").format(sql.Identifier(name)) for name in IDENTITY)
    rows = sql.SQL("(select loaded.* from {} as loaded inner join incoming on {}) as loaded").format(loaded, same)
    with connect(settings, "warehouse", "ingest_writer") as warehouse:
        columns = _copy_in(settings, warehouse, lake_path)
        return slices.in_database(warehouse, rows, [sql.Identifier(name) for name in columns])


def rebuild(settings: Settings) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Empty the topics' ingestion tables and load them from the lake alone; rows and lake files, by topic.

    TidemarkError where a table has rows of a file that the lake lacks: they would be lost.
    """
    return {topic: _rebuild(settings, topic) for topic in sorted(lake.names(settings, SOURCE))}


def _rebuild(settings: Settings, topic: str) -> tuple[int, tuple[str, ...]]:
    table = tables.table_name(SOURCE, topic)
    found = sorted(name for name in lake.names(settings, f"{SOURCE}/{topic}") if name.endswith(SUFFIX))
    files = tuple(f"{SOURCE}/{topic}/{name}" for name in found)
    with tables.only_run(settings, table) as warehouse:
        for columns in (list(table_columns(topic)), *(columns_of(settings, file) for file in files)):
            _ensure_table(warehouse, table, columns)
        with warehouse.transaction():  # the times of loading are in the table alone
            times = tables.times_by_file(warehouse, table)
            tables.empty(warehouse, table, files)
            rows = sum(_load(settings, warehouse, table, file, times.get(file)) for file in files)
    return rows, files


@contextmanager
def _new_file(settings: Settings, path: str) -> Iterator[IO[bytes]]:
    """A gzip file of the lake that gets its name when it is whole; the same content gives the same bytes."""
    system, root = lake.file_system(settings)
    final, part = f"{root}/{path}", f"{root}/{path}.part"
    system.makedirs(final.rpartition("/")[0], exist_ok=True)
    with system.open(part, "wb") as raw:
        zipped = gzip.GzipFile("", "wb", compresslevel=3, fileobj=raw, mtime=0)
        with zipped, io.BufferedWriter(zipped, CHUNK) as file:  # type: ignore[arg-type]
            yield file
        if isinstance(system, LocalFileSystem):
            raw.flush()
            os.fsync(raw.fileno())  # the partition goes on the word of this file
    system.mv(part, final)


@contextmanager
def _read(settings: Settings, path: str) -> Iterator[IO[bytes]]:
    system, root = lake.file_system(settings)
    with system.open(f"{root}/{path}", "rb") as raw, gzip.open(raw) as file:
        yield file  # type: ignore[misc]


def columns_of(settings: Settings, path: str) -> list[str]:
    """The header of a file of the lake."""
    with _read(settings, path) as file:
        return next(csv.reader(io.TextIOWrapper(file, "utf-8", newline="")))


def _ensure_table(warehouse: psycopg.Connection[Any], table: str, columns: Sequence[str]) -> None:
    tables.ensure_table(warehouse, table, columns)
    index = sql.SQL("create unique index if not exists {} on {} ({})").format(
        sql.Identifier(f"{table}_identity"),
        tables.qualified(table),
        sql.SQL(", ").join(sql.Identifier(name) for name in IDENTITY),
    )
    warehouse.execute(index)


def _copy_in(settings: Settings, warehouse: psycopg.Connection[Any], *paths: str) -> list[str]:
    """The files' rows in a temporary table `incoming`, until the transaction ends; their columns."""
    headers = {path: columns_of(settings, path) for path in paths}
    columns = list(dict.fromkeys(name for header in headers.values() for name in header))
    text = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in columns)
    warehouse.execute(sql.SQL("create temporary table incoming ({}) on commit drop").format(text))
    for path, header in headers.items():
        into = sql.SQL("copy incoming ({}) from stdin (format csv, header match)").format(
            sql.SQL(", ").join(map(sql.Identifier, header))
        )
        with _read(settings, path) as file, warehouse.cursor().copy(into) as copy:
            while data := file.read(CHUNK):
                copy.write(data)
    warehouse.execute("analyze incoming")
    return columns


@contextmanager
def incoming(settings: Settings, warehouse: psycopg.Connection[Any], paths: Sequence[str]) -> Iterator[list[str]]:
    """The rows of files of the lake, each record once, in a temporary table `incoming` meanwhile; their columns."""
    same = sql.SQL(" and ").join(sql.SQL("again.{0} = incoming.{0}").format(sql.Identifier(n)) for n in IDENTITY)
    with warehouse.transaction():
        columns = _copy_in(settings, warehouse, *paths)
        if paths[1:]:
            twice = sql.SQL("delete from incoming using incoming as again where {} and again.ctid < incoming.ctid")
            warehouse.execute(twice.format(same))
        yield columns
        warehouse.execute("drop table incoming")


def copy_held(settings: Settings, warehouse: psycopg.Connection[Any], topic: str, day: date) -> None:
    """What a day's partition holds, as its copy in the lake would, in a temporary table `held` of a transaction."""
    columns = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in table_columns(topic))
    warehouse.execute(sql.SQL("create temporary table held ({}) on commit drop").format(columns))
    into = warehouse.cursor().copy("copy held from stdin (format csv, header match)")
    with suppress(NoPartition), copy_out.day_rows(settings, topic, day) as (_, rows), into as copy:
        for row in rows:
            copy.write(row)


def _load(
    settings: Settings, warehouse: psycopg.Connection[Any], table: str, path: str, loaded_at: datetime | None = None
) -> int:
    """Rows of a lake file that the table does not have yet, by identity; one transaction. loaded_at: by default now."""
    promotion_id = path.rpartition("/")[2].removesuffix(SUFFIX).partition(".")[2]
    with warehouse.transaction():
        names = sql.SQL(", ").join(sql.Identifier(name) for name in _copy_in(settings, warehouse, path))
        insert = sql.SQL(
            "insert into {} ({}, load_id, file_name, loaded_at) "
            "select {}, {}, {}, coalesce({}, now()) from incoming on conflict do nothing"
        ).format(tables.qualified(table), names, names, promotion_id, path, loaded_at)
        inserted = warehouse.execute(insert).rowcount
        warehouse.execute("drop table incoming")
    return inserted
