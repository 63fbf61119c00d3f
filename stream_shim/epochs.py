"""Log epochs: where to read on, and when to stop because the log is no longer the one that was read.

A row's identity is (topic, log epoch, partition, offset). A topic that was made again, or a log that was cut short or
has expired beyond the stored offset, would give old offsets to new records, and they would vanish as repeats: the
processor stops, a person opens the next epoch, and what may be missing is recorded as lost.
"""

from typing import NamedTuple

from psycopg import Connection

from tidemark.errors import TidemarkError


class LogState(NamedTuple):
    """What Kafka says of one partition now: `start` is the first offset there, `end` the next one to be written."""

    topic_id: str
    start: int
    end: int


class Position(NamedTuple):
    """Where the processor reads on."""

    log_epoch: int
    next_offset: int


class EpochEnded(TidemarkError):
    """The log is not the one that the stored offset belongs to; `tidemark stream epoch TOPIC` opens the next epoch."""


def _stop(topic: str, partition: int, expected: str, received: str) -> EpochEnded:
    return EpochEnded(
        f"{topic}, partition {partition}: expected {expected}, received {received}. Nothing was read or written; "
        f"`tidemark stream epoch {topic}` shows what may be missing, and opens the next epoch"
    )


def read_position(connection: Connection, topic: str, partition: int, log: LogState) -> Position:
    """The stored position, or the log's start where this partition was never read. EpochEnded where neither fits."""
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
        "select next_offset from realtime.consumer_offset where topic = %s and log_epoch = %s and kafka_partition = %s",
        (topic, log_epoch, partition),
    ).fetchone()
    if stored is None:
        connection.execute(
            "insert into realtime.consumer_offset (topic, log_epoch, kafka_partition, first_offset, next_offset) "
            "values (%s, %s, %s, %s, %s) on conflict do nothing",
            (topic, log_epoch, partition, log.start, log.start),
        )
        return read_position(connection, topic, partition, log)
    if log.end < stored[0]:
        raise _stop(topic, partition, f"a log of at least {stored[0]} offsets", f"{log.end}: it was cut short")
    if log.start > stored[0]:
        raise _stop(topic, partition, f"a log that begins at or before {stored[0]}", f"{log.start}: it expired unread")
    return Position(log_epoch, stored[0])
