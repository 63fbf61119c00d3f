"""What a processor writes to. `prepare` is the processor's own time, `commit` the writer's: they overlap."""

from dataclasses import dataclass
from typing import Any, Protocol

from stream_shim.config import DestinationEntry, TopicEntry
from stream_shim.epochs import LogState
from stream_shim.records import Record
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

TopicAndPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one partition's log, from `from_offset` up to `next_offset`; `empty` offsets of it held no record."""

    topic: str
    partition: int
    from_offset: int
    next_offset: int
    records: list[Record]
    log_end: int  # the end of the partition's log, as it was seen with these records

    @property
    def empty(self) -> int:
        return self.next_offset - self.from_offset - len(self.records)


@dataclass(slots=True)
class Written:
    """What one commit brought: rows and rejects by topic."""

    rows: dict[str, int]
    rejects: dict[str, int]


class Fenced(TidemarkError):
    """Another consumer has written beyond our position: nothing of this batch was committed."""


class NotTaken(TidemarkError):
    """The destination cannot take rows now; nothing was committed, and the same batch may be tried again."""

    retriable = True


class Destination(Protocol):
    """One place that wants topics. `prepare` is pure; `commit` writes all of it or raises Fenced or NotTaken."""

    def positions(self, logs: dict[TopicAndPartition, LogState]) -> dict[TopicAndPartition, int]: ...
    def prepare(self, segments: list[Segment]) -> Any: ...
    def commit(self, prepared: Any) -> Written: ...
    def keep_up(self) -> None: ...
    def headroom_days(self) -> int | None: ...
    def close(self) -> None: ...


def open_destination(
    settings: Settings, name: str, entry: DestinationEntry, topics: dict[str, TopicEntry]
) -> Destination:
    """The destination of one entry of destinations.yml."""
    if entry.kind == "postgres":
        from stream_shim.destinations.postgres import PostgresDestination

        return PostgresDestination(settings, topics)
    if entry.kind == "lake":
        from stream_shim.destinations.lake import LakeDestination

        return LakeDestination(settings, entry.path or name)
    from stream_shim.destinations.kafka import KafkaDestination

    return KafkaDestination(name, entry.bootstrap, entry.prefix)
