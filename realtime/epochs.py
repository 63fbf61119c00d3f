"""The next epoch of a topic: where it begins in each partition, and which offsets of the last one are lost."""

import bisect
import getpass
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from psycopg import Connection, sql

from realtime import positions
from realtime.positions import LogState, Position
from realtime.tables import EPOCHS, LOST, POSITIONS
from tidemark.errors import TidemarkError

_OPEN = sql.SQL("insert into {} (topic, log_epoch, topic_id) values (%s, %s, %s)").format(EPOCHS)
_CLOSE = sql.SQL("update {} set closed_at = now() where topic = %s and log_epoch = %s").format(POSITIONS)
_LOSE = sql.SQL(
    "insert into {} (topic, log_epoch, kafka_partition, first_offset, end_offset, acknowledged_by) "
    "values (%s, %s, %s, %s, %s, %s)"
).format(LOST)
_PASS = sql.SQL("update {} set next_offset = %s where topic = %s and log_epoch = %s and kafka_partition = %s").format(
    POSITIONS
)


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


def plan_next_epoch(
    connection: Connection[Any], topic: str, logs: Mapping[int, LogState], tail: LostTail
) -> list[Step]:
    """What opening the topic's next epoch does to each partition. It locks the offsets until the transaction ends.

    What a recreated topic held beyond the last end offset that was seen is in no log any more, and cannot be counted.
    """
    current = positions.newest_epoch(connection, topic)
    if current is None:
        raise TidemarkError(f"{topic}: expected an epoch to follow, none was ever opened: there is nothing to do")
    steps = []
    for partition, _, position in positions.reaches(connection, topic, current.log_epoch, for_update=True):
        log, next_offset, seen_end = logs.get(partition), position.next_offset, position.seen_end
        if log is None or log.topic_id != current.topic_id:
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


def has_a_reason(connection: Connection[Any], topic: str, topic_id: str, steps: list[Step]) -> bool:
    """Whether the topic's log is not the one that was read, so that it cannot be read on in this epoch."""
    current = positions.newest_epoch(connection, topic)
    if current is None or current.topic_id != topic_id:
        return True
    stored = {reach.partition: reach.position for reach in positions.reaches(connection, topic, current.log_epoch)}
    return any(s.lost or s.partition not in stored or s.first_offset != stored[s.partition].next_offset for s in steps)


def require_a_reason(connection: Connection[Any], topic: str, topic_id: str, steps: list[Step]) -> None:
    """An epoch that nothing asks for would only be one more: TidemarkError where the log is the one that was read."""
    if not has_a_reason(connection, topic, topic_id, steps):
        raise TidemarkError(
            f"{topic}: expected a log that cannot be read on, it is the one that was read: run the lane"
        )


def open_next_epoch(connection: Connection[Any], topic: str, topic_id: str, steps: list[Step]) -> int:
    """Record what is lost, close this epoch's accounting, begin the next where the steps say; returns its number."""
    with connection.transaction():
        current = positions.newest_epoch(connection, topic)
        log_epoch = 0 if current is None else current.log_epoch
        connection.execute(_OPEN, (topic, log_epoch + 1, topic_id))
        connection.execute(_CLOSE, (topic, log_epoch))
        for step in steps:
            identity = (topic, log_epoch, step.partition)
            if step.lost:
                connection.execute(_LOSE, (*identity, step.lost_from, step.lost_to, getpass.getuser()))
                connection.execute(_PASS, (step.lost_to, *identity))
            positions.begin(connection, topic, log_epoch + 1, step.partition, step.first_offset)
    return log_epoch + 1
