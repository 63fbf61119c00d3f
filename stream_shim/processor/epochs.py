"""Log epochs: where to read on, and when to stop because the log is no longer the one that was read.

A row's identity is (topic, log epoch, partition, offset). A topic that was made again, or a log that was cut short or
has expired beyond the stored offset, would give old offsets to new records, and they would vanish as repeats: the
processor stops, a person opens the next epoch, and what may be missing is recorded as lost.
"""

import bisect
import getpass
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from psycopg import Connection

from stream_shim.processor.records import Chunk
from tidemark.errors import TidemarkError


class LogState(NamedTuple):
    """What Kafka says of one partition now: `start` is the first offset there, `end` the next one to be written."""

    topic_id: str
    start: int
    end: int


class Mark(NamedTuple):
    """By what the last record taken is known again: its offset and time (ms since 1970), its batch's epoch and CRC.

    A broker that loses power may lose the tail of its log, and be filled again beyond the stored offset: then the
    offsets say nothing, and another record stands under this one.
    """

    offset: int
    leader_epoch: int
    crc: int
    timestamp: int


REFILLED = "another one: the log lost its tail and was filled again"


def mark_of(chunks: Sequence[Chunk]) -> Mark | None:
    """The mark of the last record of one partition's chunks; None where they hold none."""
    for chunk in reversed(chunks):
        if chunk.records:
            last = chunk.records[-1]
            return Mark(last.offset, chunk.leader_epoch, chunk.crc, last.timestamp)
    return None


def is_marked(chunk: Chunk, mark: Mark) -> bool | None:
    """Whether the chunk, read from the mark's offset on, begins with the marked record; None: no record is there."""
    if not chunk.records or chunk.records[0].offset != mark.offset:
        return None
    return (chunk.leader_epoch, chunk.crc, chunk.records[0].timestamp) == mark[1:]


class Position(NamedTuple):
    """Where the processor reads on; `mark` is of what it took last (None: nothing yet, or before marks were kept).

    `seen_end` is the greatest end of the log that was seen, read or not; 0 where nobody kept it.
    """

    log_epoch: int
    next_offset: int
    mark: Mark | None = None
    seen_end: int = 0


class EpochEnded(TidemarkError):
    """The log is not the one that the stored offset belongs to; `tidemark stream epoch TOPIC` opens the next epoch."""


def _stop(topic: str, partition: int, expected: str, received: str) -> EpochEnded:
    return EpochEnded(
        f"{topic}, partition {partition}: expected {expected}, received {received}. Nothing more is written; "
        f"`tidemark stream epoch {topic}` shows what may be missing, and opens the next epoch"
    )


def refilled(topic: str, partition: int, mark: Mark) -> EpochEnded:
    """Another record stands where the last one was taken from: the log lost its tail and was filled again."""
    return _stop(topic, partition, taken_last(mark), REFILLED)


def shortened(topic: str, partition: int, seen_end: int, end: int) -> EpochEnded:
    """The log ends below an end that was seen: what nobody had read of its tail is lost."""
    return _stop(topic, partition, f"a log of {seen_end} offsets, as was seen", f"{end}: its tail was lost unread")


def taken_last(mark: Mark) -> str:
    """What is expected of a log that still holds what was read."""
    return f"under offset {mark.offset} the record that was taken last"


def check_log(topic: str, partition: int, position: Position, log: LogState) -> None:
    """EpochEnded where the log, asked after the position was read, does not reach to it, or begins behind it."""
    if log.end < position.next_offset:
        expected = f"a log of at least {position.next_offset} offsets"
        raise _stop(topic, partition, expected, f"{log.end}: it was cut short")
    if log.start > position.next_offset:
        expected = f"a log that begins at or before {position.next_offset}"
        raise _stop(topic, partition, expected, f"{log.start}: it expired unread")


def read_position(connection: Connection, topic: str, partition: int, log: LogState) -> Position:
    """The stored position, or the log's start where this partition was never read. EpochEnded: the topic is another.

    Whether the log reaches to it is `check_log`'s question: another processor may have moved it since `log` was asked.
    """
    found = connection.execute(
        "select log_epoch, topic_id from realtime.log_epoch where topic = %s order by log_epoch desc limit 1",
        (topic,),
    ).fetchone()
    if found is None:
        connection.execute(
            "insert into realtime.log_epoch (topic, log_epoch, topic_id) values (%s, 1, %s) on conflict do nothing",
            (topic, log.topic_id),
        )
        return read_position(connection, topic, partition, log)
    log_epoch, topic_id = found
    if topic_id != log.topic_id:
        raise _stop(topic, partition, f"the topic with the id {topic_id}", f"{log.topic_id}: it was made again")
    stored = connection.execute(
        "select next_offset, log_end_offset, last_offset, last_leader_epoch, last_batch_crc, last_timestamp_ms "
        "from realtime.consumer_offset where topic = %s and log_epoch = %s and kafka_partition = %s",
        (topic, log_epoch, partition),
    ).fetchone()
    if stored is None:
        connection.execute(
            "insert into realtime.consumer_offset (topic, log_epoch, kafka_partition, first_offset, next_offset) "
            "values (%s, %s, %s, %s, %s) on conflict do nothing",
            (topic, log_epoch, partition, log.start, log.start),
        )
        return read_position(connection, topic, partition, log)
    next_offset, seen_end, *mark = stored
    return Position(log_epoch, next_offset, None if mark[0] is None else Mark(*mark), seen_end or 0)


class Step(NamedTuple):
    """What the next epoch means for one partition: where it begins, and which offsets of this one are lost."""

    partition: int
    first_offset: int
    lost_from: int
    lost_to: int

    @property
    def lost(self) -> int:
        return self.lost_to - self.lost_from


class LostTail(Protocol):
    """What is asked of a partition's log, to find where it is no longer the one that was read."""

    def is_as_read(self, partition: int, position: Position) -> bool:
        """Whether the record that was taken last still stands under its offset."""

    def is_stored(self, partition: int, offset: int, position: Position) -> bool:
        """Whether the record at an offset is the one that was stored under it."""


def plan_next_epoch(connection: Connection, topic: str, logs: dict[int, LogState], tail: LostTail) -> list[Step]:
    """What opening the topic's next epoch does to each partition. It locks the offsets until the transaction ends.

    What a recreated topic held beyond the last end offset that was seen is in no log any more, and cannot be counted.
    """
    current = connection.execute(
        "select log_epoch, topic_id from realtime.log_epoch where topic = %s order by log_epoch desc limit 1", (topic,)
    ).fetchone()
    if current is None:
        raise TidemarkError(f"{topic}: expected an epoch to follow, none was ever opened: there is nothing to do")
    stored = connection.execute(
        "select kafka_partition, next_offset, greatest(next_offset, log_end_offset), "
        "last_offset, last_leader_epoch, last_batch_crc, last_timestamp_ms from realtime.consumer_offset "
        "where topic = %s and log_epoch = %s order by kafka_partition for update",
        (topic, current[0]),
    ).fetchall()
    steps = []
    for partition, next_offset, seen_end, *mark in stored:
        log = logs.get(partition)
        position = Position(current[0], next_offset, None if mark[0] is None else Mark(*mark))
        if log is None or log.topic_id != current[1]:
            steps.append(Step(partition, log.start if log else 0, next_offset, seen_end))
        elif log.start > next_offset:
            steps.append(Step(partition, log.start, next_offset, log.start))
        elif log.end < next_offset or not tail.is_as_read(partition, position):
            steps.append(Step(partition, _first_that_is_new(partition, log, position, tail), next_offset, seen_end))
        elif log.end == next_offset < seen_end:  # all that is there was read, and what was seen beyond it is lost
            steps.append(Step(partition, next_offset, next_offset, seen_end))
        else:
            steps.append(Step(partition, next_offset, next_offset, next_offset))
    known = {step.partition for step in steps}
    return steps + [Step(p, log.start, log.start, log.start) for p, log in logs.items() if p not in known]


def _first_that_is_new(partition: int, log: LogState, position: Position, tail: LostTail) -> int:
    """The first offset whose record is not the stored one: below it the log is as it was read, from it on it is new."""
    read = min(log.end, position.next_offset)
    return bisect.bisect_left(
        range(read), True, lo=log.start, key=lambda offset: not tail.is_stored(partition, offset, position)
    )


def open_next_epoch(connection: Connection, topic: str, topic_id: str, steps: list[Step]) -> int:
    """Record what is lost, close this epoch's accounting, begin the next where the steps say; returns its number."""
    with connection.transaction():
        (log_epoch,) = connection.execute(
            "select max(log_epoch) from realtime.log_epoch where topic = %s", (topic,)
        ).fetchone() or (0,)
        connection.execute(
            "insert into realtime.log_epoch (topic, log_epoch, topic_id) values (%s, %s, %s)",
            (topic, log_epoch + 1, topic_id),
        )
        connection.execute(
            "update realtime.consumer_offset set closed_at = now() where topic = %s and log_epoch = %s",
            (topic, log_epoch),
        )
        for step in steps:
            identity = (topic, log_epoch, step.partition)
            if step.lost:
                connection.execute(
                    "insert into realtime.lost (topic, log_epoch, kafka_partition, first_offset, end_offset, "
                    "acknowledged_by) values (%s, %s, %s, %s, %s, %s)",
                    (*identity, step.lost_from, step.lost_to, getpass.getuser()),
                )
                connection.execute(
                    "update realtime.consumer_offset set next_offset = %s "
                    "where topic = %s and log_epoch = %s and kafka_partition = %s",
                    (step.lost_to, *identity),
                )
            connection.execute(
                "insert into realtime.consumer_offset (topic, log_epoch, kafka_partition, first_offset, next_offset) "
                "values (%s, %s, %s, %s, %s)",
                (topic, log_epoch + 1, step.partition, step.first_offset, step.first_offset),
            )
    return int(log_epoch) + 1
