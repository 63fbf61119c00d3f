"""A day leaves `realtime`: its partition goes, and a row says so, in one transaction."""

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

from psycopg import Connection, errors, sql

from realtime import partitions
from realtime.slices import Slice
from realtime.tables import TRIMMED, of_topic
from tidemark.connections import connect
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

# The partition's lock keeps writers out and lets readers in; autovacuum gives way to it after a second.
PARTITION_LOCK_TIMEOUT = "5s"
# The table's lock keeps everybody out, and who waits for it makes others wait: for less than Postgres's
# deadlock_timeout (1 s), so that it is never the processor that a deadlock ends.
TABLE_LOCK_TIMEOUT = "400ms"


class DayChanged(TidemarkError):
    """Rows of the day arrived while it was promoted: it has to be promoted again, with them."""

    retriable = True


class TableBusy(TidemarkError):
    """The day's partition could not be locked in time: a query holds it."""

    retriable = True


def trim(settings: Settings, topic: str, day: date, promotion_id: UUID | None, held: Sequence[Slice]) -> None:
    """Drop the day's partition if it holds exactly the rows of these slices, and note which promotion took them.

    `promotion_id` None: a day without rows, which leaves no note. Detached and dropped in one transaction, not
    DETACH .. CONCURRENTLY: interrupted, that leaves a pending partition whose rows nobody sees, and the note could not
    commit with it. The price is a lock on the whole table for the milliseconds of both statements. DayChanged where
    rows came; TableBusy where no lock did in time.
    """
    with connect(settings, "realtime", "promoter") as connection:
        if _has_left(connection, topic, day, promotion_id):
            return  # an earlier try whose commit was not answered
        try:
            _lock(connection, partitions.partition(topic, day))
            _check_rows(connection, topic, day, held)
            _drop(connection, topic, day)
        except errors.LockNotAvailable:
            raise TableBusy(
                f"{topic} {day}: expected a lock on {topic} in realtime in {TABLE_LOCK_TIMEOUT}, a query holds "
                "it; the day is verified in the warehouse and leaves with the next try"
            ) from None
        if promotion_id is not None:
            noted = sql.SQL("insert into {} (promotion_id, topic, day, row_count) values (%s, %s, %s, %s)")
            rows = sum(piece.row_count for piece in held)
            connection.execute(noted.format(TRIMMED), (promotion_id, topic, day, rows))


def has_left(connection: Connection[Any], topic: str, day: date) -> bool:
    """Whether rows of the day were promoted and are no longer here."""
    noted = sql.SQL("select from {} where topic = %s and day = %s").format(TRIMMED)
    return bool(connection.execute(noted, (topic, day)).fetchall())


def _has_left(connection: Connection[Any], topic: str, day: date, promotion_id: UUID | None) -> bool:
    """By the note that leaves with the rows; a day without rows leaves no note."""
    if promotion_id is None:
        return not partitions.is_there(connection, topic, day)
    noted = sql.SQL("select from {} where promotion_id = %s").format(TRIMMED)
    return bool(connection.execute(noted, (promotion_id,)).fetchall())


def _lock(connection: Connection[Any], partition: sql.Identifier) -> None:
    connection.execute("select set_config('lock_timeout', %s, true)", (PARTITION_LOCK_TIMEOUT,))
    connection.execute(sql.SQL("lock table {} in share row exclusive mode").format(partition))
    connection.execute("select set_config('lock_timeout', %s, true)", (TABLE_LOCK_TIMEOUT,))


def _check_rows(connection: Connection[Any], topic: str, day: date, slices: Sequence[Slice]) -> None:
    """The counts of each epoch and partition, and the ends of their offsets: writers only insert."""
    held = connection.execute(
        sql.SQL(
            "select log_epoch, kafka_partition, count(*), min(kafka_offset), max(kafka_offset) from {} "
            "group by log_epoch, kafka_partition"
        ).format(partitions.partition(topic, day))
    ).fetchall()
    verified = [(s.log_epoch, s.kafka_partition, s.row_count, s.first_offset, s.last_offset) for s in slices]
    if sorted(held) != sorted(verified):
        found, expected = sum(row[2] for row in held), sum(row[2] for row in verified)
        raise DayChanged(
            f"{topic} {day}: expected the {expected} rows that were verified, found {found}: it starts again"
        )


def _drop(connection: Connection[Any], topic: str, day: date) -> None:
    partition = partitions.partition(topic, day)
    connection.execute(sql.SQL("alter table {} detach partition {}").format(of_topic(topic), partition))
    connection.execute(sql.SQL("drop table {}").format(partition))
