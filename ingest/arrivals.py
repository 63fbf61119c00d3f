"""Lake files into their tables: loaded beside, compared with what the lake holds, taken over in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from ingest import tables
from ingest.lake import LakeFile
from ingest.load import Content, Unloadable, content, stage
from ingest.plain_dlt import PipelineError
from ingest.set_aside import Loaded, SetAside
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.settings import Settings

Warehouse = psycopg.Connection[Any]


@dataclass(frozen=True)
class Arrival:
    """A lake file that is to be loaded, and what is in it."""

    resource: str
    table: str
    file: LakeFile
    content: Content


def load(settings: Settings, warehouse: Warehouse, source: str, files: Mapping[str, Sequence[LakeFile]]) -> Loaded:
    """Load lake files, by resource; what the tables have of them is replaced. One that cannot be loaded hinders none.

    PipelineError where it is not a file's fault; then what was loaded before is as it was.
    """
    loaded = Loaded()
    arrivals: list[Arrival] = []
    for resource, found in files.items():
        table = tables.table_name(source, resource)
        for file in found:
            try:
                arrivals.append(Arrival(resource, table, file, content(settings, file)))
            except Unloadable as error:
                loaded.set_aside.append(SetAside(file.name, table, str(error)))
    if arrivals:
        _load(settings, warehouse, source, arrivals, loaded)
    return loaded


def _load(settings: Settings, warehouse: Warehouse, source: str, arrivals: list[Arrival], loaded: Loaded) -> None:
    """All at once, or, where that fails, by halves until it is known which file it is."""
    staged = sorted({arrival.table for arrival in arrivals})
    tables.drop_staged(warehouse, source, staged)
    try:
        stage(settings, source, _columns_by_resource(arrivals))
    except TidemarkError as error:
        if isinstance(error, ConfigurationError) or (isinstance(error, PipelineError) and error.of_the_server):
            raise
        if len(arrivals) > 1:
            half = len(arrivals) // 2
            _load(settings, warehouse, source, arrivals[:half], loaded)
            _load(settings, warehouse, source, arrivals[half:], loaded)
        else:
            loaded.set_aside.append(SetAside(arrivals[0].file.name, arrivals[0].table, str(error)))
        return
    _take_over(warehouse, arrivals, loaded)
    tables.drop_staged(warehouse, source, staged)


def _columns_by_resource(arrivals: Sequence[Arrival]) -> dict[str, dict[LakeFile, Sequence[str]]]:
    columns: dict[str, dict[LakeFile, Sequence[str]]] = {}
    for arrival in arrivals:
        columns.setdefault(arrival.resource, {})[arrival.file] = arrival.content.columns
    return columns


def _take_over(warehouse: Warehouse, arrivals: Sequence[Arrival], loaded: Loaded) -> None:
    """Compare what was staged with what was read before, and replace the files' rows in their tables."""
    whole: dict[str, list[Arrival]] = {}
    for table in sorted({arrival.table for arrival in arrivals}):
        staged = tables.rows_by_file(warehouse, tables.staged(table))
        for arrival in (arrival for arrival in arrivals if arrival.table == table):
            if (found := staged.get(arrival.file.name, 0)) == arrival.content.rows:
                whole.setdefault(table, []).append(arrival)
            else:
                reason = (
                    f"expected {arrival.content.rows:,} rows of {arrival.file.name}, received {found:,}: it changed"
                )
                loaded.set_aside.append(SetAside(arrival.file.name, table, f"{reason} while it was loaded"))
    columns = {
        table: list(dict.fromkeys(name for arrival in of_table for name in arrival.content.columns))
        for table, of_table in whole.items()
    }
    for table, names in columns.items():
        tables.ensure_table(warehouse, table, names)
    with warehouse.transaction():
        for table, of_table in whole.items():
            times = _times(warehouse, table, [arrival.file for arrival in of_table])
            rows = {arrival.file.name: arrival.content.rows for arrival in of_table}
            taken = tables.replace_files(warehouse, table, tables.staged(table), columns[table], times)
            tables.refuse_difference(table, sum(rows.values()), taken)
            loaded.rows |= rows


def _times(warehouse: Warehouse, table: str, files: Sequence[LakeFile]) -> dict[str, datetime]:
    """When each file arrived: what the table says of it, else its load's time, which a table made anew has again.

    Where the table has a later one already, the file arrives now: models ask for what is later than what they have.
    """
    known = tables.times_by_file(warehouse, table)
    newest = max(known.values(), default=datetime.min.replace(tzinfo=UTC))
    times: dict[str, datetime] = {}
    for file in files:
        own = file.load_began_at
        late = max(datetime.now(UTC), newest + timedelta(microseconds=1)) if own <= newest else own
        times[file.name] = known.get(file.name, late)
    return times
