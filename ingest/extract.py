"""Source to lake, by dlt: what a source gives is stored as it came, unless it gave the same the last time."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import dlt
import msgspec
from dlt.pipeline.exceptions import PipelineStepFailed

from ingest import lake
from ingest.plain_dlt import pipeline, plain_schema
from ingest.sources import Resource, Row
from tidemark.connections import lake_url
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

Progress = Callable[[str, int], None]  # resource, rows so far

BATCH = 5_000  # rows


def extract(
    settings: Settings, source: str, resources: Sequence[Resource], progress: Progress | None = None
) -> dict[str, int]:
    """Ask the source and add what is new to the lake; rows that it gave, by resource, stored or not.

    A killed run is finished first. The errors of a source's read function come through as they are.
    """
    to_lake = _pipeline(settings, source)
    received = dict.fromkeys((resource.name for resource in resources), 0)
    if to_lake.has_pending_data:
        to_lake.run(loader_file_format="jsonl")
    elif not lake.complete_loads(settings, source):
        to_lake = to_lake.drop()  # what it remembers to have stored was in another lake
    try:
        to_lake.run(
            [_dlt_resource(settings, resource, received, progress) for resource in resources],
            schema=plain_schema(source),
            loader_file_format="jsonl",
        )
    except PipelineStepFailed as failure:
        raise _ours(failure) or failure from failure
    return received


def _pipeline(settings: Settings, source: str) -> Any:
    to_lake = dlt.destinations.filesystem(
        bucket_url=lake_url(settings),
        warn_unsafe_layout_separators=False,  # no resource has a slash or a point in its name
    )
    return pipeline(settings, f"{source}_to_lake", to_lake, source)


def _dlt_resource(settings: Settings, resource: Resource, received: dict[str, int], progress: Progress | None) -> Any:
    def new_rows() -> Iterator[list[Row]]:
        last = dlt.current.resource_state().setdefault("sha256", {})
        for answer in resource.read(settings):
            received[resource.name] += len(answer.rows)
            if progress:
                progress(resource.name, received[resource.name])
            digest = sha256(msgspec.json.encode(answer.rows)).hexdigest()
            if last.get(answer.key) != digest:
                for at in range(0, len(answer.rows), BATCH):
                    yield list(answer.rows[at : at + BATCH])
                last[answer.key] = digest

    return dlt.resource(new_rows, name=resource.name, write_disposition="append")


def _ours(failure: BaseException) -> TidemarkError | None:
    """The error of ours that dlt has wrapped, if that is what it is."""
    error: BaseException | None = failure
    while error is not None and not isinstance(error, TidemarkError):
        error = error.__cause__ or error.__context__
    return error
