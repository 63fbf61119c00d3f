"""Source to lake, by dlt: what a source gives is stored as it came, unless it gave the same the last time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import dlt
import msgspec

from ingest import lake, plain_dlt
from ingest.sources import Answer, Resource, Row
from tidemark.errors import SourceError
from tidemark.lake import LakeError, encoded_lake_url, endpoint, file_system, of_s3, on_s3, s3_client, said
from tidemark.settings import Settings

Progress = Callable[[str, int], None]  # resource, rows so far

BATCH = 5_000  # rows


@dataclass
class Extracted:
    """Rows by resource: what the source gave, and what of it was new and stored, in which loads of the lake."""

    received: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    loads: set[str] = field(default_factory=set)


def extract(
    settings: Settings, source: str, resources: Sequence[Resource], progress: Progress | None = None
) -> Extracted:
    """Ask the source and add what is new to the lake.

    A killed run is finished first. SourceError where the source gave something other than data.
    """
    to_lake = _pipeline(settings, source)
    names = [resource.name for resource in resources]
    extracted = Extracted(dict.fromkeys(names, 0), dict.fromkeys(names, 0))
    if to_lake.has_pending_data:
        _store(settings, to_lake, source, None)
    before = lake.complete_loads(settings, source)
    if not before:
        to_lake = to_lake.drop()  # what it remembers to have stored was in another lake
    asked = [_dlt_resource(settings, source, resource, extracted, progress) for resource in resources]
    _store(settings, to_lake, source, asked)
    extracted.loads = lake.complete_loads(settings, source) - before
    return extracted


def forget_stored(settings: Settings, source: str) -> None:
    """Forget what the source gave the last time, so that the next run stores all of it again."""
    to_lake = _pipeline(settings, source)
    with to_lake.managed_state(extract_state=True) as state:
        for resource in state["sources"].get(source, {}).get("resources", {}).values():
            resource.pop("sha256", None)
            resource.pop("reached", None)
    _store(settings, to_lake, source, None)


def _pipeline(settings: Settings, source: str) -> Any:
    file_system(settings)  # dlt would make a bucket that is not there
    to_lake = dlt.destinations.filesystem(
        bucket_url=encoded_lake_url(settings),
        kwargs={"endpoint_url": endpoint()} if on_s3(settings) else None,
        config_kwargs=s3_client(settings) if on_s3(settings) else None,
        warn_unsafe_layout_separators=False,  # no resource has a slash or a point in its name
    )
    return plain_dlt.pipeline(settings, f"{source}_to_lake", to_lake, source)


def _store(settings: Settings, to_lake: Any, source: str, resources: list[Any] | None) -> None:
    """Run the pipeline to the lake. LakeError where it is the lake's server that failed."""
    try:
        plain_dlt.run(to_lake, source, resources, "jsonl")
    except plain_dlt.PipelineError as failure:
        if found := next((error for error in plain_dlt.causes(failure) if of_s3(settings, error)), None):
            raise LakeError(said(settings, found)) from None
        raise


def _dlt_resource(
    settings: Settings, source: str, resource: Resource, extracted: Extracted, progress: Progress | None
) -> Any:
    def new_rows() -> Iterator[list[Row]]:
        last = dlt.current.resource_state().setdefault("sha256", {})
        reached = dlt.current.resource_state().setdefault("reached", {})
        for answer in resource.read(settings, dict(reached)):
            _refuse_nul(source, resource.name, answer)
            extracted.received[resource.name] += len(answer.rows)
            if progress:
                progress(resource.name, extracted.received[resource.name])
            known_by = answer.rows if answer.known_by is None else answer.known_by
            digest = sha256(msgspec.json.encode(known_by)).hexdigest()
            if last.get(answer.key) != digest:
                for at in range(0, len(answer.rows), BATCH):
                    yield list(answer.rows[at : at + BATCH])
                extracted.stored[resource.name] += len(answer.rows)
                last[answer.key] = digest
                if answer.reached is not None:
                    reached[answer.key] = answer.reached

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
