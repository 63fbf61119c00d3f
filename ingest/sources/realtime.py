"""The streaming database as a batch source: a day of a topic, to the lake and its ingestion table.

The file holds exactly the text of the copy out (realtime/copy_out.py), gzipped. A row's identity is (log_epoch,
kafka_partition, kafka_offset), and its table knows each once.
"""

import csv
import gzip
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from typing import IO, Any

import psycopg
from psycopg import sql

from ingest import lake, set_aside, tables
from ingest.set_aside import Loaded, SetAside
from ingest.sources import Resource
from realtime import copy_out, slices
from realtime.copy_out import NoPartition
from realtime.slices import IDENTITY, Slice
from tidemark.categories import CATEGORIES, table_columns
from tidemark.connections import connect
from tidemark.errors import TidemarkError
from tidemark.lake import LakeError, file_system, new_file, reaching
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
        return _load(settings, warehouse, tables.qualified(table), lake_path)


def slices_in_ingestion(settings: Settings, topic: str, lake_path: str) -> list[Slice]:
    """What the ingestion table holds of the rows of a lake file, whichever promotion brought them."""
    loaded = tables.qualified(tables.table_name(SOURCE, topic))
    same = sql.SQL(" and ").join(sql.SQL("loaded.{0} = incoming.{0}").format(sql.Identifier(name)) for name in IDENTITY)
    rows = sql.SQL("(select loaded.* from {} as loaded inner join incoming on {}) as loaded").format(loaded, same)
    with connect(settings, "warehouse", "ingest_writer") as warehouse:
        columns = _copy_in(settings, warehouse, lake_path)
        return slices.in_database(warehouse, rows, [sql.Identifier(name) for name in columns])


def rebuild(settings: Settings) -> dict[str, Loaded]:
    """Let the lake alone say what the topics' ingestion tables hold; rows by lake file, and what was set aside.

    A file that cannot be loaded, or has fewer rows than were loaded of it, keeps those. TidemarkError where a table has
    rows of a file that the lake lacks: they would be lost.
    """
    return {topic: _rebuild(settings, topic) for topic in sorted({*lake.names(settings, SOURCE)} & {*CATEGORIES})}


def _rebuild(settings: Settings, topic: str) -> Loaded:
    table = tables.table_name(SOURCE, topic)
    found = sorted(name for name in lake.names(settings, f"{SOURCE}/{topic}") if name.endswith(SUFFIX))
    files = [f"{SOURCE}/{topic}/{name}" for name in found]
    with tables.only_run(settings, table) as warehouse:
        _ensure_table(warehouse, table, list(table_columns(topic)))
        tables.refuse_missing(warehouse, table, files)
        times = tables.times_by_file(warehouse, table)  # of loading: they are in the table alone
        files.sort(key=lambda file: (times.get(file, datetime.max.replace(tzinfo=UTC)), file))
        _make_beside(warehouse, table)
        loaded, columns = Loaded(), dict.fromkeys(table_columns(topic))
        held = tables.rows_by_file(warehouse, tables.qualified(table))
        for file in files:
            try:
                new, loaded.rows[file] = _load_beside(settings, warehouse, file, held.get(file, 0))
                columns |= dict.fromkeys(new)
            except LakeError:
                raise
            except UNREADABLE as error:
                expected = f"expected rows as gzipped CSV in {file}, received {_line(error)}"
                loaded.set_aside.append(SetAside(file, table, f"{expected}: put it back as it was written"))
        _ensure_table(warehouse, table, list(columns))
        with warehouse.transaction():
            arrived = {file: times.get(file, datetime.now(UTC)) for file in loaded.rows}
            taken = tables.replace_files(warehouse, table, BESIDE, list(columns), arrived)
            if not loaded.set_aside:  # else rows of such a file stay, and another file may have some of them too
                tables.refuse_difference(table, sum(loaded.rows.values()), taken)
        set_aside.note(warehouse, SOURCE, loaded.set_aside, loaded.rows)
        set_aside.forget_gone(warehouse, table, files)
    return loaded


# What reading a file of the lake, or copying it into a table, says of a file that is not as it was written.
UNREADABLE = (*lake.UNREADABLE, psycopg.DataError, psycopg.ProgrammingError)
BESIDE = sql.Identifier("pg_temp", "beside")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _make_beside(warehouse: psycopg.Connection[Any], table: str) -> None:
    """A temporary table like the ingestion table: it goes with this session, whatever becomes of it."""
    warehouse.execute("drop table if exists pg_temp.beside")
    warehouse.execute(sql.SQL("create temporary table beside (like {})").format(tables.qualified(table)))
    identity = sql.SQL(", ").join(sql.Identifier(name) for name in IDENTITY)
    warehouse.execute(sql.SQL("create unique index on pg_temp.beside ({})").format(identity))


def _load_beside(settings: Settings, warehouse: psycopg.Connection[Any], path: str, held: int) -> tuple[list[str], int]:
    """Load a file beside, whole or not at all; columns and rows. TidemarkError for fewer rows than are `held` of it."""
    columns = columns_of(settings, path)
    with warehouse.transaction():
        for name in columns:
            add = sql.SQL("alter table pg_temp.beside add column if not exists {} text").format(sql.Identifier(name))
            warehouse.execute(add)
        rows = _load(settings, warehouse, BESIDE, path)
        if rows < held:
            raise TidemarkError(f"{rows:,} rows where the table has {held:,} of it, which stay")
    return columns, rows


@contextmanager
def _new_file(settings: Settings, path: str) -> Iterator[IO[bytes]]:
    """A gzip file of the lake that gets its name when it is whole; the same content gives the same bytes."""
    with new_file(settings, path) as raw:  # the partition goes on the word of this file
        zipped = gzip.GzipFile("", "wb", compresslevel=3, fileobj=raw, mtime=0)
        with zipped, io.BufferedWriter(zipped, CHUNK) as file:  # type: ignore[arg-type]
            yield file


@contextmanager
def _read(settings: Settings, path: str) -> Iterator[IO[bytes]]:
    system, root = file_system(settings)
    with reaching(settings), system.open(f"{root}/{path}", "rb") as raw, gzip.open(raw) as file:
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


def _load(settings: Settings, warehouse: psycopg.Connection[Any], table: sql.Identifier, path: str) -> int:
    """Rows of a lake file that the table does not have yet, by identity; one transaction."""
    promotion_id = path.rpartition("/")[2].removesuffix(SUFFIX).partition(".")[2]
    with warehouse.transaction():
        names = sql.SQL(", ").join(sql.Identifier(name) for name in _copy_in(settings, warehouse, path))
        insert = sql.SQL(
            "insert into {} ({}, load_id, file_name, loaded_at) "
            "select {}, {}, {}, now() from incoming on conflict do nothing"
        ).format(table, names, names, promotion_id, path)
        inserted = warehouse.execute(insert).rowcount
        warehouse.execute("drop table incoming")
    return inserted
