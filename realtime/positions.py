"""Positions: up to where each partition's log was read, in the database of the rows, and moved in their transaction.

A row's identity is (topic, log epoch, partition, offset). A topic that was made again, or a log that was cut short or
has expired beyond the stored offset, would give old offsets to new records, and they would vanish as repeats: nothing
more is written, a person opens the next epoch (epochs.py), and what may be missing is recorded as lost.
"""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection, sql

from realtime.tables import EPOCHS, POSITIONS
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


class Position(NamedTuple):
    """Where the processor reads on; `mark` is of what it took last (None: nothing yet, or before marks were kept).

    `seen_end` is the greatest end of the log that was seen, read or not; 0 where nobody kept it.
    """

    log_epoch: int
    next_offset: int
    mark: Mark | None = None
    seen_end: int = 0


class Epoch(NamedTuple):
    """One life of a topic's log; `topic_id` is Kafka's own."""

    log_epoch: int
    topic_id: str


class Reach(NamedTuple):
    """One partition's stored position, and where its accounting begins."""

    partition: int
    first_offset: int
    position: Position


class Move(NamedTuple):
    """One partition's step in a transaction; `empty` of the offsets between held no record."""

    topic: str
    partition: int
    log_epoch: int
    from_offset: int
    next_offset: int
    empty: int
    log_end: int  # the end of the partition's log, as it was seen with these records
    mark: Mark | None


class EpochEnded(TidemarkError):
    """The log is not the one that the stored offset belongs to; `tidemark stream epoch TOPIC` opens the next epoch."""


class Fenced(TidemarkError):
    """Another consumer has written beyond our position: nothing of this batch was committed."""


REFILLED = "another one: the log lost its tail and was filled again"
_MARK = ("last_offset", "last_leader_epoch", "last_batch_crc", "last_timestamp_ms")  # as a Mark has them
_EPOCH = sql.SQL("select log_epoch, topic_id from {} where topic = %s order by log_epoch desc limit 1").format(EPOCHS)
_MOVED = sql.SQL("select topic, max(updated_at) from {} where closed_at is null group by topic").format(POSITIONS)
_FIRST_EPOCH = sql.SQL("insert into {} (topic, log_epoch, topic_id) values (%s, 1, %s) on conflict do nothing").format(
    EPOCHS
)
_REACHES = sql.SQL(
    "select kafka_partition, first_offset, greatest(next_offset, log_end_offset), next_offset, "
    "last_offset, last_leader_epoch, last_batch_crc, last_timestamp_ms from {} "
    "where topic = %s and log_epoch = %s"
).format(POSITIONS)
_BEGIN = sql.SQL(
    "insert into {} (topic, log_epoch, kafka_partition, first_offset, next_offset) values (%s, %s, %s, %s, %s) "
    "on conflict do nothing"
).format(POSITIONS)
_SEE_END = sql.SQL(
    "update {} set log_end_offset = greatest(log_end_offset, %s) "
    "where topic = %s and log_epoch = %s and kafka_partition = %s"
).format(POSITIONS)
_ADVANCE = sql.SQL("""
    update {}
    set
        next_offset = %(next_offset)s,
        log_end_offset = greatest(log_end_offset, %(log_end)s),
        empty_offsets = empty_offsets + %(empty)s,
        last_offset = coalesce(%(last_offset)s, last_offset),
        last_leader_epoch = coalesce(%(last_leader_epoch)s, last_leader_epoch),
        last_batch_crc = coalesce(%(last_batch_crc)s, last_batch_crc),
        last_timestamp_ms = coalesce(%(last_timestamp_ms)s, last_timestamp_ms),
        updated_at = now()
    where topic = %(topic)s and log_epoch = %(log_epoch)s and kafka_partition = %(partition)s
        and next_offset = %(from_offset)s and closed_at is null
""").format(POSITIONS)


def newest_epoch(connection: Connection[Any], topic: str) -> Epoch | None:
    """The topic's epoch that is written in; None before anything of it was read."""
    found = connection.execute(_EPOCH, (topic,)).fetchone()
    return None if found is None else Epoch(*found)


def reaches(connection: Connection[Any], topic: str, log_epoch: int, for_update: bool = False) -> list[Reach]:
    """Each partition's stored position in an epoch; `for_update` keeps writers out until the transaction ends."""
    query = _REACHES + sql.SQL(" order by kafka_partition") + sql.SQL(" for update" if for_update else "")
    return [_reach(log_epoch, *row) for row in connection.execute(query, (topic, log_epoch))]


def moved_at(connection: Connection[Any]) -> dict[str, datetime]:
    """By topic, when a position was last written."""
    return dict(connection.execute(_MOVED).fetchall())


def _reach(log_epoch: int, partition: int, first: int, end: int, next_offset: int, *mark: Any) -> Reach:
    return Reach(partition, first, Position(log_epoch, next_offset, None if mark[0] is None else Mark(*mark), end))


def read_position(connection: Connection[Any], topic: str, partition: int, log: LogState) -> Position:
    """The stored position, or the log's start where this partition was never read. EpochEnded: the topic is another.

    Whether the log reaches to it is `check_log`'s question: another processor may have moved it since `log` was asked.
    """
    epoch = newest_epoch(connection, topic)
    if epoch is None:
        connection.execute(_FIRST_EPOCH, (topic, log.topic_id))
        return read_position(connection, topic, partition, log)
    if epoch.topic_id != log.topic_id:
        raise _stop(topic, partition, f"the topic with the id {epoch.topic_id}", f"{log.topic_id}: it was made again")
    alone = _REACHES + sql.SQL(" and kafka_partition = %s")
    for row in connection.execute(alone, (topic, epoch.log_epoch, partition)):
        return _reach(epoch.log_epoch, *row).position
    begin(connection, topic, epoch.log_epoch, partition, log.start)
    return read_position(connection, topic, partition, log)


def begin(connection: Connection[Any], topic: str, log_epoch: int, partition: int, offset: int) -> None:
    """Begin the accounting of one partition at an offset, unless it has begun."""
    connection.execute(_BEGIN, (topic, log_epoch, partition, offset, offset))


def see_end(connection: Connection[Any], topic: str, log_epoch: int, partition: int, end: int) -> None:
    """Keep that the log was seen to reach so far, by another than the processor."""
    connection.execute(_SEE_END, (end, topic, log_epoch, partition))


def advance(cursor: Any, move: Move) -> None:
    """Move one partition's position, if it is where we know it to be: else Fenced, and the transaction must end."""
    fields = move._asdict()
    mark = fields.pop("mark") or (None,) * len(_MARK)
    cursor.execute(_ADVANCE, fields | dict(zip(_MARK, mark, strict=True)))
    if cursor.rowcount != 1:
        raise Fenced(
            f"{move.topic}, partition {move.partition}: expected the stored offset {move.from_offset}, "
            "another consumer has moved it, or a crash has taken it back; nothing is written, and the position is "
            "read again"
        )


def check_log(topic: str, partition: int, position: Position, log: LogState) -> None:
    """EpochEnded where the log, asked after the position was read, does not reach to it, or begins behind it."""
    if log.end < position.next_offset:
        expected = f"a log of at least {position.next_offset} offsets"
        raise _stop(topic, partition, expected, f"{log.end}: it was cut short")
    if log.start > position.next_offset:
        expected = f"a log that begins at or before {position.next_offset}"
        raise _stop(topic, partition, expected, f"{log.start}: it expired unread")


def refilled(topic: str, partition: int, mark: Mark) -> EpochEnded:
    """Another record stands where the last one was taken from: the log lost its tail and was filled again."""
    return _stop(topic, partition, taken_last(mark), REFILLED)


def shortened(topic: str, partition: int, seen_end: int, end: int) -> EpochEnded:
    """The log ends below an end that was seen: what nobody had read of its tail is lost."""
    return _stop(topic, partition, f"a log of {seen_end} offsets, as was seen", f"{end}: its tail was lost unread")


def taken_last(mark: Mark) -> str:
    """What is expected of a log that still holds what was read."""
    return f"under offset {mark.offset} the record that was taken last"


def _stop(topic: str, partition: int, expected: str, received: str) -> EpochEnded:
    return EpochEnded(
        f"{topic}, partition {partition}: expected {expected}, received {received}. Nothing more is written; "
        f"`tidemark stream epoch {topic}` shows what may be missing, and opens the next epoch"
    )
