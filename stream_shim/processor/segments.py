"""What a processor hands on: a piece of one partition's log, and the rows that the topic mapping makes of it."""

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

from realtime.positions import Mark
from stream_shim.processor.mapping import Mapped, Mapper
from stream_shim.processor.records import Chunk, Record, mark_of


class Log(NamedTuple):
    """One partition's log, as it was placed, and what makes rows of its records.

    `topic_id` is Kafka's own; `log_epoch` is 0 where the destination keeps none.
    """

    topic: str
    partition: int
    topic_id: str
    log_epoch: int
    mapper: Mapper


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a log, from `from_offset` up to `next_offset`; `empty` offsets of it held no record."""

    log: Log
    from_offset: int
    next_offset: int
    records: list[Record]
    log_end: int  # the end of the partition's log, as it was seen with these records
    mark: Mark | None = None  # of the last of these records; all were written under one leader epoch

    @property
    def empty(self) -> int:
        return self.next_offset - self.from_offset - len(self.records)

    def rows(self) -> Mapped:
        """What becomes of the records by the topic mapping, made anew by each call: as objects, rows are large."""
        return self.log.mapper(self.records, self.log.log_epoch, self.log.partition)


def segments_of(log: Log, from_offset: int, next_offset: int, chunks: list[Chunk], log_end: int) -> list[Segment]:
    """What moved in one log, from one offset up to another: a segment for each leader epoch that wrote of it."""
    held = [chunk for chunk in chunks if chunk.records]
    runs = [list(run) for _, run in groupby(held, lambda chunk: chunk.leader_epoch)] or [[]]
    bounds = [from_offset, *(run[0].records[0].offset for run in runs[1:]), next_offset]
    return [
        Segment(log, low, high, [record for chunk in run for record in chunk.records], log_end, mark_of(run))
        for run, (low, high) in zip(runs, pairwise(bounds), strict=True)
    ]
