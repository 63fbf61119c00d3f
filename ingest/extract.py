"""Source to lake, by dlt: what a source gives is stored as it came, unless it gave the same the last time."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import dlt
import msgspec

from ingest import lake, plain_dlt
from ingest.sources import Answer, Resource, Row
from tidemark.connections import encoded_lake_url
from tidemark.errors import SourceError
from tidemark.settings import Settings

Progress = Callable[[str, int], None]  # resource, rows so far

BATCH = 5_000  # rows


def extract(
    settings: Settings, source: str, resources: Sequence[Resource], progress: Progress | None = None
) -> dict[str, int]:
    """Ask the source and add what is new to the lake; rows that it gave, by resource, stored or not.

    A killed run is finished first. SourceError where the source gave something other than data.
    """
    to_lake = _pipeline(settings, source)
    received = dict.fromkeys((resource.name for resource in resources), 0)
    if to_lake.has_pending_data:
        plain_dlt.run(to_lake, source, None, "jsonl")
    elif not lake.complete_loads(settings, source):
        to_lake = to_lake.drop()  # what it remembers to have stored was in another lake
    extracted = [_dlt_resource(settings, source, resource, received, progress) for resource in resources]
    plain_dlt.run(to_lake, source, extracted, "jsonl")
    return received


def _pipeline(settings: Settings, source: str) -> Any:
    to_lake = dlt.destinations.filesystem(
        bucket_url=encoded_lake_url(settings),
        warn_unsafe_layout_separators=False,  # no resource has a slash or a point in its name
    )
    return plain_dlt.pipeline(settings, f"{source}_to_lake", to_lake, source)


def _dlt_resource(
    settings: Settings, source: str, resource: Resource, received: dict[str, int], progress: Progress | None
) -> Any:
    def new_rows() -> Iterator[list[Row]]:
        last = dlt.current.resource_state().setdefault("sha256", {})
        for answer in resource.read(settings):
            _refuse_nul(source, resource.name, answer)
            received[resource.name] += len(answer.rows)
            if progress:
                progress(resource.name, received[resource.name])
            digest = sha256(msgspec.json.encode(answer.rows)).hexdigest()
            if last.get(answer.key) != digest:
                for at in range(0, len(answer.rows), BATCH):
                    yield list(answer.rows[at : at + BATCH])
                last[answer.key] = digest

    return dlt.resource(new_rows, name=resource.name, write_disposition="append")


def _refuse_nul(source: str, resource: str, answer: Answer) -> None:
    """A file with a character that the warehouse cannot hold would keep all later ones out."""
    for row in answer.rows:
        for column, value in row.items():
            if value is not None and "\x00" in value:
                raise SourceError(
                    f"source {source}: expected text that a database can hold, received a NUL character in "
                    f"{column} of {resource} ({answer.key}): nothing of this run is stored; ask the source"
                )
