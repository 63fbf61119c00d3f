"""What a processor counts, for metrics and alerts: rows, waits, and how far the destination is behind its topics."""

import time
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

from kafka import TopicPartition

from realtime.positions import Mark, Position
from stream_shim.processor.destination import Written
from stream_shim.processor.segments import Segment

RETRY_SECONDS = (0.2, 0.5, 1, 2, 5)

# The next offset; the newest record's time, s since 1970; its mark.
Committed = dict[TopicPartition, tuple[int, float | None, Mark | None]]


class Counts:
    """Written by both threads of a processor, each its own part; `report` may be asked for at any moment."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fences = 0
        self.positions: dict[TopicPartition, int] = {}  # what the destination holds of each, up to this offset
        self.marks: dict[TopicPartition, Mark | None] = {}  # of the last record below
        self._rows: Counter[str] = Counter()
        self._rejects: Counter[str] = Counter()
        self._waits = self._batches = 0
        self._batch_seconds = 0.0
        self._started_at = self._committed_at = time.time()
        self._newest: dict[TopicPartition, float] = {}
        self._ends: dict[TopicPartition, int] = {}  # of the partitions that are ours
        self._behind_since: dict[TopicPartition, float] = {}  # when they had last gone beyond what it holds
        self._tries: Counter[str] = Counter()
        self._waiting_for: dict[str, str] = {}  # whom, and what it said

    def wait(self, whom: str, why: str) -> float:
        """Somebody takes or gives nothing now: the seconds to wait before asking again, longer each time."""
        self._waits += 1
        self._waiting_for[whom] = why
        seconds = RETRY_SECONDS[min(self._tries[whom], len(RETRY_SECONDS) - 1)]
        self._tries[whom] += 1
        return seconds

    def answers(self, whom: str) -> None:
        """What we waited for is over."""
        self._waiting_for.pop(whom, None)
        self._tries.pop(whom, None)

    def commit(self, written: Written, seconds: float, *polls: Committed) -> None:
        """One batch stands in the destination: what these polls gave, in order."""
        self._committed_at = time.time()
        self._batches += 1
        self._batch_seconds += seconds
        self._rows.update(written.rows)
        self._rejects.update(written.rejects)
        for partition, (offset, newest, mark) in chain.from_iterable(committed.items() for committed in polls):
            self.positions[partition] = offset
            self.marks[partition] = mark or self.marks.get(partition)
            if newest is not None:
                self._newest[partition] = newest

    def place(self, partition: TopicPartition, position: Position, end: int) -> None:
        """A partition is ours, and read on from here."""
        self.positions[partition], self._ends[partition] = position.next_offset, end
        self.marks[partition] = position.mark

    @property
    def ends(self) -> dict[TopicPartition, int]:
        """Where the logs of our partitions end, as far as is known."""
        return self._ends

    def see_ends(self, ends: dict[TopicPartition, int]) -> None:
        """Where the logs end now, of those that are ours."""
        for partition, end in ends.items():
            if (before := self._ends.get(partition)) is not None:
                if before <= self.positions.get(partition, end) < end:
                    self._behind_since[partition] = time.time()
                self._ends[partition] = end

    def see_read(self, offsets: dict[TopicPartition, int]) -> None:
        """What is read, and on its way, is in the log: between two looks at the ends, it shows a lag as it grows."""
        self.see_ends({p: offset for p, offset in offsets.items() if self._ends.get(p, offset) < offset})

    def leave(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are somebody else's from now on."""
        for partition in partitions:
            self._ends.pop(partition, None)

    def report(self, headroom_days: int | None, also: Iterable[str] = ()) -> dict[str, Any]:
        """The counts so far. Lag is what the topic holds and the destination does not; `also` is waited for, too.

        In seconds it is the age of the newest record that is held, and no more than for how long there has been a lag.
        """
        lag_records: Counter[str] = Counter()
        lag_seconds: dict[str, float] = {}
        for partition, end in list(self._ends.items()):
            behind = max(end - self.positions.get(partition, end), 0)
            since = max(self._newest.get(partition, self._started_at), self._behind_since.get(partition, 0.0))
            age = max(0.0, time.time() - since) if behind else 0.0
            lag_records[partition.topic] += behind
            lag_seconds[partition.topic] = max(lag_seconds.get(partition.topic, 0.0), age)
        return {
            "destination": self.name,
            "started_at": self._started_at,
            "committed_at": self._committed_at,
            "rows": dict(self._rows),
            "rejects": dict(self._rejects),
            "batches": self._batches,
            "batch_seconds": self._batch_seconds,
            "waits": self._waits,
            "fences": self.fences,
            "waiting_for": "; ".join(filter(None, [*list(self._waiting_for.values()), *also])),
            "lag_records": dict(lag_records),
            "lag_seconds": lag_seconds,
            "partitions": dict(Counter(partition.topic for partition in list(self._ends))),
            "headroom_days": headroom_days,
        }


def committed_of(segments: list[Segment]) -> Committed:
    """What the destination will hold when these segments stand in it."""
    return {
        TopicPartition(s.log.topic, s.log.partition): (
            s.next_offset,
            s.records[-1].timestamp / 1000 if s.records else None,
            s.mark,
        )
        for s in segments
    }
