"""What a processor writes to. `prepare` is the processor's own time, `commit` the writer's: they overlap."""

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Protocol

from realtime.positions import LogState, Mark, Position
from stream_shim.processor.records import Chunk, Record, mark_of
from tidemark.errors import TidemarkError

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
    mark: Mark | None = None  # of the last of these records; all were written under one leader epoch

    @property
    def empty(self) -> int:
        return self.next_offset - self.from_offset - len(self.records)


def segments_of(
    partition: TopicAndPartition, from_offset: int, next_offset: int, chunks: list[Chunk], log_end: int
) -> list[Segment]:
    """What moved in one partition, from one offset up to another: a segment for each leader epoch that wrote of it."""
    held = [chunk for chunk in chunks if chunk.records]
    runs = [list(run) for _, run in groupby(held, lambda chunk: chunk.leader_epoch)] or [[]]
    bounds = [from_offset, *(run[0].records[0].offset for run in runs[1:]), next_offset]
    topic, number = partition
    return [
        Segment(topic, number, low, high, [record for chunk in run for record in chunk.records], log_end, mark_of(run))
        for run, (low, high) in zip(runs, pairwise(bounds), strict=True)
    ]


@dataclass(slots=True)
class Written:
    """What one commit brought: rows and rejects by topic."""

    rows: dict[str, int]
    rejects: dict[str, int]


class NotTaken(TidemarkError):
    """The destination cannot take rows now; nothing was committed, and the same batch may be tried again."""

    retriable = True


class Destination(Protocol):
    """One place that wants topics, for one processor. `commit` has a thread of its own, beside `prepare` and `keep_up`.

    Exactly once where a destination keeps its own positions, in the transaction of what it writes, as Postgres does. At
    least once where the processor commits them to Kafka after `commit` has returned: a kill in between repeats a batch.
    """

    def positions(self, logs: dict[TopicAndPartition, LogState]) -> dict[TopicAndPartition, Position]:
        """The epoch and the offset to read each of these partitions on from, asked when they are newly assigned.

        A partition is left out where the destination keeps no position: then Kafka's committed one counts, else the
        log's start. EpochEnded where a topic is not the one that was read, which ends the processor; NotTaken.
        Whether the log still holds what was read is the processor's to find out, by the position's mark.
        """

    def prepare(self, segments: list[Segment]) -> Any:
        """What `commit` takes: the segments, in order, mapped and serialized. Pure: it reads and writes nothing."""

    def commit(self, prepared: Any) -> Written:
        """Write all that was prepared, and say how many rows and rejects of each topic that were.

        NotTaken: nothing is taken now, and the same batch comes again after a wait. Fenced: another consumer is ahead,
        nothing was written, and the positions are asked for anew. Any other error ends the processor.
        """

    def keep_up(self) -> None:
        """Prepare for the days ahead, now and then. NotTaken: it is tried again soon, and reading goes on meanwhile."""

    def headroom_days(self) -> int | None:
        """How many days after today are prepared, for metrics and alerts; None where that means nothing."""

    def close(self) -> None:
        """Give back what is held open; nothing is called afterwards."""
