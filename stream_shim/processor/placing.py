"""Where a processor reads each partition on, and whether the log there is still the one that was read.

The record that was taken last is read once more and compared with its mark, on every placing and after every reconnect:
a broker that lost its log's tail may have been filled again, and offsets alone would not show it. Where the marked
record is no longer there, Kafka's leader epochs say whether the log was cut.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from realtime.positions import (
    REFILLED,
    EpochEnded,
    LogState,
    Mark,
    Position,
    check_log,
    refilled,
    shortened,
    taken_last,
)
from stream_shim.buffer.topics import topic_ids
from stream_shim.processor.consumer import PROCESSOR
from stream_shim.processor.records import Chunk, is_marked
from tidemark.kafka import ANSWER_MS
from tidemark.settings import Settings

log = logging.getLogger("tidemark.processor")

SHORT_SECONDS = 15.0  # a new leader may name an earlier end for a moment

Logs = dict[TopicPartition, LogState]


def ask_logs(settings: Settings, consumer: KafkaConsumer, partitions: Sequence[TopicPartition]) -> Logs:
    """What Kafka says of each partition now. Its id is asked first, then its ends: they may be of a later log."""
    ids = topic_ids(settings, sorted({partition.topic for partition in partitions}), PROCESSOR)
    starts = consumer.beginning_offsets(partitions, timeout_ms=ANSWER_MS)
    ends = consumer.end_offsets(partitions, timeout_ms=ANSWER_MS)
    return {p: LogState(ids[p.topic], starts[p], ends[p]) for p in partitions}


def same_topics(one: Logs, other: Logs) -> bool:
    """Whether no topic was made again between the two."""
    return {p: log.topic_id for p, log in one.items()} == {p: log.topic_id for p, log in other.items()}


def to_commit(offset: int, mark: Mark | None) -> OffsetAndMetadata:
    """What Kafka is told of a partition: for the lag tools, and for a destination that keeps no position."""
    if mark is None:
        return OffsetAndMetadata(offset, "", -1)
    return OffsetAndMetadata(offset, msgspec.json.encode(mark).decode(), mark.leader_epoch)


def note_commit(offsets: Any, error: Any) -> None:
    """What came of telling Kafka: nothing but the lag tools depends on it."""
    if error is not None and isinstance(error, Exception):
        log.info("Kafka kept no offsets for the lag tools: %s", error)


def committed_position(consumer: KafkaConsumer, name: str, partition: TopicPartition, log: LogState) -> Position:
    """For a destination that keeps no position: Kafka's, else the log's start. EpochEnded where neither fits."""
    committed = consumer.committed(partition, metadata=True, timeout_ms=ANSWER_MS)
    if committed is None:
        return Position(0, log.start)
    mark = msgspec.json.decode(committed.metadata, type=Mark) if committed.metadata else None
    position = Position(0, int(committed.offset), mark)
    try:
        check_log(partition.topic, partition.partition, position, log)
    except EpochEnded:
        raise _begin_anew(
            name, partition, f"a log that holds offset {position.next_offset}, up to which it was written",
            f"{log.start} to {log.end}: it expired unread or was cut short",
        ) from None  # fmt: skip
    return position


def _begin_anew(name: str, partition: TopicPartition, expected: str, received: str) -> EpochEnded:
    return EpochEnded(
        f"{partition.topic}, partition {partition.partition}, into {name}: expected {expected}, received {received}. "
        f"Nothing was written; after `tidemark stream forget {name}` it begins at the log's start"
    )


class Places:
    """The partitions that a consumer was placed in, with what is still to be compared of each."""

    def __init__(self, name: str, consumer: KafkaConsumer) -> None:
        self._name, self._consumer = name, consumer
        self._placed: dict[TopicPartition, Position] = {}
        self._unseen: set[TopicPartition] = set()  # whose marked record has not come yet
        self._seen_ends: dict[tuple[str, int, TopicPartition], int] = {}  # of each log, by topic's id and epoch
        self._topic_ids: dict[TopicPartition, str] = {}
        self._short_since: dict[TopicPartition, float] = {}  # whose log ends below that
        self._connections: dict[Any, Any] = {}  # to each node, as they were at the last look

    def place(self, partition: TopicPartition, position: Position, log: LogState) -> None:
        """Seek to the marked record, or to what comes next where that has expired or was never noted."""
        mark = position.mark
        self._placed[partition] = position
        self._topic_ids[partition] = log.topic_id
        self._see_end(partition, position.seen_end)
        self._unseen.discard(partition)
        if mark is None:
            self._consumer.seek(partition, position.next_offset)
            return
        if log.start <= mark.offset:
            self._unseen.add(partition)
        offset = mark.offset if partition in self._unseen else position.next_offset
        self._consumer.seek(partition, offset)
        # With the epoch of the record before it, kafka-python asks the broker whether its log was cut below.
        self._consumer._subscription.assignment[partition].seek(OffsetAndMetadata(offset, "", mark.leader_epoch))

    def leave(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are no longer ours, or are to be placed anew."""
        for partition in partitions:
            self._placed.pop(partition, None)
            self._short_since.pop(partition, None)
            self._unseen.discard(partition)

    def compared(self, partition: TopicPartition, chunks: Sequence[Chunk]) -> list[Chunk]:
        """The chunks less what was taken before. EpochEnded where the marked record is another one."""
        if partition not in self._unseen or not chunks:
            return list(chunks)
        self._unseen.discard(partition)
        position = self._placed[partition]
        if position.mark is not None and is_marked(chunks[0], position.mark) is False:
            raise self._ended(partition, position)
        return [chunk.from_offset(position.next_offset) for chunk in chunks]

    def cut(self, partitions: Iterable[TopicPartition], accounted: dict[TopicPartition, int]) -> None:
        """These logs were cut below where we read. EpochEnded where that is the stored position."""
        for partition in partitions:
            position = self._placed.get(partition)
            if position is not None and position.next_offset == accounted.get(partition):
                raise self._ended(partition, position)

    def _see_end(self, partition: TopicPartition, end: int) -> int:
        """The greatest end of the log that was seen, with this one."""
        name = self._life(partition)
        self._seen_ends[name] = max(end, self._seen_ends.get(name, 0))
        return self._seen_ends[name]

    def _life(self, partition: TopicPartition) -> tuple[str, int, TopicPartition]:
        """One life of one log."""
        return self._topic_ids[partition], self._placed[partition].log_epoch, partition

    def check_end(self, partition: TopicPartition, next_offset: int, end: int | None) -> None:
        """EpochEnded where the log, read to its end, has stayed shorter than it was seen: its tail was lost unread.

        A destination without epochs has nothing to account for it in: it is said, and reading goes on.
        """
        position = self._placed.get(partition)
        if position is None or end is None:
            return
        seen = self._see_end(partition, end)
        if not next_offset == end < seen:
            self._short_since.pop(partition, None)
            return
        if time.monotonic() - self._short_since.setdefault(partition, time.monotonic()) < SHORT_SECONDS:
            return
        ended = shortened(partition.topic, partition.partition, seen, end)
        if position.log_epoch:
            raise ended
        log.error("%s: %s: expected a log of %s offsets, as was seen, received %s", self._name, partition, seen, end)
        self._seen_ends[self._life(partition)] = end

    def _ended(self, partition: TopicPartition, position: Position) -> EpochEnded:
        assert position.mark is not None
        if position.log_epoch:
            return refilled(partition.topic, partition.partition, position.mark)
        return _begin_anew(self._name, partition, taken_last(position.mark), REFILLED)

    def reconnected(self) -> bool:
        """Whether a connection was made anew since the last look: the broker may have lost its log's tail."""
        now = dict(self._consumer._manager._conns)
        changed = any(node in self._connections and now[node] is not self._connections[node] for node in now)
        self._connections |= now
        return changed
