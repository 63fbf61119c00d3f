"""One run of a batch source: source, lake, ingestion tables; and the tables made anew from the lake alone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ingest import lake, sources, tables
from ingest.extract import Progress, extract
from ingest.lake import LakeFile
from ingest.load import Columns, columns_and_rows, load
from ingest.sources import Resource, realtime
from tidemark.errors import ConfigurationError, SourceError, TidemarkError
from tidemark.settings import Settings

Warehouse = psycopg.Connection[Any]


@dataclass(frozen=True)
class ResourceReport:
    """`rows_in`: what the source gave in this run; `rows_loaded`: what its table got, counted there."""

    resource: str
    table: str
    rows_in: int
    rows_loaded: int
    files: tuple[str, ...]  # lake files that were loaded, below the lake's root


@dataclass(frozen=True)
class IngestReport:
    """What one run of a source did."""

    source: str
    resources: tuple[ResourceReport, ...]
    seconds: float


def run(settings: Settings, name: str, progress: Progress | None = None) -> IngestReport:
    """Ask the source, store what is new in the lake, load every lake file that its tables do not have yet.

    SourceError when the source gave something other than data; what the lake has is loaded all the same.
    """
    started = time.monotonic()
    resources = sources.resources(name)
    if not resources:
        raise ConfigurationError(f"source {name}: its days come by `tidemark promote`, not by `tidemark ingest run`")
    with tables.only_run(settings, name) as warehouse:
        try:
            received = extract(settings, name, resources, progress)
        except SourceError:
            _load_new(settings, warehouse, name, resources, {})
            raise
        reports = _load_new(settings, warehouse, name, resources, received)
    return IngestReport(name, reports, round(time.monotonic() - started, 3))


def rebuild(settings: Settings, name: str) -> IngestReport:
    """Empty the source's ingestion tables and load them from the lake alone; the source is not asked.

    TidemarkError where a table has rows of a file that the lake lacks: they would be lost.
    """
    started = time.monotonic()
    resources = sources.resources(name)
    if name == realtime.SOURCE:
        return IngestReport(name, _rebuild_realtime(settings), round(time.monotonic() - started, 3))
    with tables.only_run(settings, name) as warehouse:
        for resource in resources:
            _empty(settings, warehouse, name, resource.name)
        reports = _load_new(settings, warehouse, name, resources, {})
    return IngestReport(name, reports, round(time.monotonic() - started, 3))


def _rebuild_realtime(settings: Settings) -> tuple[ResourceReport, ...]:
    rebuilt = realtime.rebuild(settings)
    return tuple(
        ResourceReport(topic, tables.table_name(realtime.SOURCE, topic), 0, rows, files)
        for topic, (rows, files) in rebuilt.items()
    )


def _empty(settings: Settings, warehouse: Warehouse, source: str, resource: str) -> None:
    table = tables.table_name(source, resource)
    tables.ensure_table(warehouse, table, [])
    tables.empty(warehouse, table, [file.name for file in lake.files(settings, source, resource)])


def _load_new(
    settings: Settings,
    warehouse: Warehouse,
    source: str,
    resources: Sequence[Resource],
    received: Mapping[str, int],
) -> tuple[ResourceReport, ...]:
    new: dict[str, dict[LakeFile, Columns]] = {}
    rows: dict[str, dict[str, int]] = {}
    for resource in resources:
        new[resource.name], rows[resource.name] = _new_files(settings, warehouse, source, resource.name)
    if any(new.values()):
        load(settings, source, new)
    return tuple(
        ResourceReport(
            name,
            table := tables.table_name(source, name),
            received.get(name, 0),
            _counted(warehouse, table, expected),
            tuple(expected),
        )
        for name, expected in rows.items()
    )


def _new_files(
    settings: Settings, warehouse: Warehouse, source: str, resource: str
) -> tuple[dict[LakeFile, Columns], dict[str, int]]:
    """Lake files that the table does not have, with their columns and rows; the table gets the columns."""
    table = tables.table_name(source, resource)
    tables.ensure_table(warehouse, table, [])
    known = tables.rows_by_file(warehouse, table)
    new: dict[LakeFile, Columns] = {}
    rows: dict[str, int] = {}
    for file in lake.files(settings, source, resource):
        if file.name not in known:
            new[file], rows[file.name] = columns_and_rows(settings, file)
            tables.ensure_table(warehouse, table, new[file])
    return new, rows


def _counted(warehouse: Warehouse, table: str, expected: Mapping[str, int]) -> int:
    """The rows that the table got; TidemarkError unless each file is in it whole."""
    loaded = tables.rows_by_file(warehouse, table) if expected else {}
    for file, rows in expected.items():
        if loaded.get(file, 0) != rows:
            raise TidemarkError(
                f"expected {rows} rows of {file} in {tables.SCHEMA}.{table}, found {loaded.get(file, 0)}: "
                f"run `tidemark ingest rebuild {table.partition('__')[0]}`"
            )
    return sum(loaded[file] for file in expected)
