"""One run of a batch source: source, lake, ingestion tables; and the tables made anew from the lake alone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ingest import arrivals, lake, loads, set_aside, sources, tables
from ingest.extract import Extracted, Progress, extract, forget_stored
from ingest.lake import LakeFile
from ingest.set_aside import Loaded, NotLoaded, SetAside
from ingest.sources import Resource, realtime
from tidemark.errors import ConfigurationError, SourceError
from tidemark.settings import Settings

Warehouse = psycopg.Connection[Any]


@dataclass(frozen=True)
class ResourceReport:
    """`rows_in`: what the source gave in this run; `rows_loaded`: what its table got, counted beside it."""

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
    set_aside: tuple[SetAside, ...] = ()

    def refuse_gaps(self) -> None:
        """NotLoaded where a lake file could not be loaded, whatever was loaded beside it."""
        set_aside.refuse(
            self.source, self.set_aside, {resource.table: resource.rows_loaded for resource in self.resources}
        )


def run(settings: Settings, name: str, progress: Progress | None = None) -> IngestReport:
    """Ask the source, store what is new in the lake, load every lake file that its tables do not have yet.

    SourceError when the source gave something other than data; what the lake has is loaded all the same. NotLoaded
    where the lake does not hold what was stored in it. A file that cannot be loaded is in the report.
    """
    started = time.monotonic()
    resources = sources.resources(name)
    if not resources:
        raise ConfigurationError(f"source {name}: its days come by `tidemark promote`, not by `tidemark ingest run`")
    with tables.only_run(settings, name) as warehouse:
        try:
            extracted = extract(settings, name, resources, progress)
        except SourceError:
            load_new(settings, warehouse, name, resources, Extracted())
            raise
        reports, aside = load_new(settings, warehouse, name, resources, extracted)
    return IngestReport(name, reports, round(time.monotonic() - started, 3), aside)


def rebuild(settings: Settings, name: str) -> IngestReport:
    """Let the lake alone say what the source's ingestion tables hold; the source is not asked.

    Who reads the tables waits for nothing, and sees the old rows until the new ones are whole. A file that cannot be
    loaded keeps the rows that the table had of it. TidemarkError where a table has rows of a file that the lake lacks:
    they would be lost.
    """
    started = time.monotonic()
    resources = sources.resources(name)
    if name == realtime.SOURCE:
        reports, aside = _rebuild_realtime(settings)
        return IngestReport(name, reports, round(time.monotonic() - started, 3), aside)
    with tables.only_run(settings, name) as warehouse:
        files = {resource.name: lake.files(settings, name, resource.name) for resource in resources}
        for resource, found in files.items():
            table = tables.table_name(name, resource)
            tables.refuse_missing(warehouse, table, [file.name for file in found])
        loaded = _load(settings, warehouse, name, files)
        for resource, found in files.items():
            table = tables.table_name(name, resource)
            loads.note(warehouse, name, table, found, tables.rows_by_file(warehouse, tables.qualified(table)))
    reports = _reports(name, files, loaded, Extracted())
    return IngestReport(name, reports, round(time.monotonic() - started, 3), tuple(loaded.set_aside))


def _rebuild_realtime(settings: Settings) -> tuple[tuple[ResourceReport, ...], tuple[SetAside, ...]]:
    rebuilt = realtime.rebuild(settings)
    reports = tuple(
        ResourceReport(topic, tables.table_name(realtime.SOURCE, topic), 0, sum(loaded.rows.values()), (*loaded.rows,))
        for topic, loaded in rebuilt.items()
    )
    return reports, tuple(file for loaded in rebuilt.values() for file in loaded.set_aside)


def load_new(
    settings: Settings, warehouse: Warehouse, source: str, resources: Sequence[Resource], extracted: Extracted
) -> tuple[tuple[ResourceReport, ...], tuple[SetAside, ...]]:
    """Load the lake files that the tables do not have; what was set aside before is tried again.

    NotLoaded, after all that is there was loaded, where the lake lacks rows that this run stored in it.
    """
    there: dict[str, list[LakeFile]] = {}
    new: dict[str, list[LakeFile]] = {}
    rows: dict[str, dict[str, int]] = {}
    for resource in resources:
        table = tables.table_name(source, resource.name)
        found = there[resource.name] = lake.files(settings, source, resource.name)
        rows[resource.name] = tables.rows_by_file(warehouse, tables.qualified(table))
        known = rows[resource.name].keys() - set_aside.names(warehouse, table)
        new[resource.name] = [file for file in found if file.name not in known]
        set_aside.forget_gone(warehouse, table, [file.name for file in found])
    loaded = _load(settings, warehouse, source, new)
    for name, found in there.items():
        loads.note(warehouse, source, tables.table_name(source, name), found, {**rows[name], **loaded.rows})
    _refuse_loss(settings, source, new, loaded, extracted)
    return _reports(source, new, loaded, extracted), tuple(loaded.set_aside)


def _load(settings: Settings, warehouse: Warehouse, source: str, files: Mapping[str, Sequence[LakeFile]]) -> Loaded:
    loaded = arrivals.load(settings, warehouse, source, files)
    set_aside.note(warehouse, source, loaded.set_aside, loaded.rows)
    return loaded


def _refuse_loss(
    settings: Settings, source: str, files: Mapping[str, Sequence[LakeFile]], loaded: Loaded, extracted: Extracted
) -> None:
    aside = {file.file for file in loaded.set_aside}
    for resource, stored in extracted.stored.items():
        of_run = [file.name for file in files[resource] if file.load_id in extracted.loads]
        found = sum(loaded.rows.get(name, 0) for name in of_run)
        if found != stored and aside.isdisjoint(of_run):
            forget_stored(settings, source)
            raise NotLoaded(
                f"source {source}: expected the {stored:,} rows of {resource} that were stored in the lake in this "
                f"run, found {found:,} to load: the next `tidemark ingest run {source}` stores them again; look at "
                "what else writes to the lake"
            )


def _reports(
    source: str, files: Mapping[str, Sequence[LakeFile]], loaded: Loaded, extracted: Extracted
) -> tuple[ResourceReport, ...]:
    reports = []
    for resource, found in files.items():
        names = tuple(file.name for file in found if file.name in loaded.rows)
        rows = sum(loaded.rows[name] for name in names)
        table = tables.table_name(source, resource)
        reports.append(ResourceReport(resource, table, extracted.received.get(resource, 0), rows, names))
    return tuple(reports)
