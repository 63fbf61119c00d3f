"""A verified day leaves `realtime`: its partition goes, and a row says so, in one transaction."""

from datetime import date
from typing import Any

import psycopg
from psycopg import errors, sql

from flows.errors import DayChanged, TableBusy
from flows.ledger import Promotion
from tidemark.connections import connect
from tidemark.settings import Settings

# The partition's lock keeps writers out and lets readers in; autovacuum gives way to it after a second.
PARTITION_LOCK_TIMEOUT = "5s"
# The table's lock keeps everybody out, and who waits for it makes others wait: for less than Postgres's
# deadlock_timeout (1 s), so that it is never the processor that a deadlock ends.
TABLE_LOCK_TIMEOUT = "400ms"


def partition_name(topic: str, day: date) -> str:
    """The table of one day, in schema realtime."""
    return f"{topic}_{day:%Y%m%d}"


def trim(settings: Settings, topic: str, day: date, promotion: Promotion | None) -> None:
    """Drop the day's partition if it holds exactly the rows of `promotion` (None: no rows), and note it.

    Detached and dropped in one transaction, not DETACH .. CONCURRENTLY: interrupted, that leaves a pending
    partition whose rows nobody sees, and the note could not commit with it. The price is a lock on the whole
    table for the milliseconds of both statements. DayChanged where rows came; TableBusy where no lock
    did in time.
    """
    partition = sql.Identifier("realtime", partition_name(topic, day))
    with connect(settings, "realtime", "promoter") as connection:
        if _has_left(connection, topic, day, promotion):
            return  # an earlier try whose commit was not answered
        try:
            _lock(connection, partition)
            _check_rows(connection, partition, topic, day, promotion)
            _drop(connection, sql.Identifier("realtime", topic), partition)
        except errors.LockNotAvailable:
            raise TableBusy(
                f"{topic} {day}: expected a lock on realtime.{topic} in {TABLE_LOCK_TIMEOUT}, a query holds "
                "it; the day is verified in the warehouse and leaves with the next try"
            ) from None
        if promotion is not None:
            connection.execute(
                "insert into realtime.trimmed (promotion_id, topic, day, row_count) values (%s, %s, %s, %s)",
                (promotion.promotion_id, topic, day, promotion.row_count),
            )


def _has_left(connection: psycopg.Connection[Any], topic: str, day: date, promotion: Promotion | None) -> bool:
    """By the note that leaves with the rows; a day without rows leaves no note."""
    if promotion is None:
        gone = "select to_regclass(format('realtime.%%I', %s::text)) is null"
        return bool(connection.execute(gone, (partition_name(topic, day),)).fetchall()[0][0])
    noted = "select from realtime.trimmed where promotion_id = %s"
    return bool(connection.execute(noted, (promotion.promotion_id,)).fetchall())


def _lock(connection: psycopg.Connection[Any], partition: sql.Identifier) -> None:
    connection.execute("select set_config('lock_timeout', %s, true)", (PARTITION_LOCK_TIMEOUT,))
    connection.execute(sql.SQL("lock table {} in share row exclusive mode").format(partition))
    connection.execute("select set_config('lock_timeout', %s, true)", (TABLE_LOCK_TIMEOUT,))


def _check_rows(
    connection: psycopg.Connection[Any],
    partition: sql.Identifier,
    topic: str,
    day: date,
    promotion: Promotion | None,
) -> None:
    """The counts of each epoch and partition, and the ends of their offsets: writers only insert."""
    held = connection.execute(
        sql.SQL(
            "select log_epoch, kafka_partition, count(*), min(kafka_offset), max(kafka_offset) from {} "
            "group by log_epoch, kafka_partition"
        ).format(partition)
    ).fetchall()
    slices = promotion.slices if promotion else ()
    verified = [(s.log_epoch, s.kafka_partition, s.row_count, s.first_offset, s.last_offset) for s in slices]
    if sorted(held) != sorted(verified):
        found, expected = sum(row[2] for row in held), sum(row[2] for row in verified)
        raise DayChanged(
            f"{topic} {day}: expected the {expected} rows that were verified, found {found}: it starts again"
        )


def _drop(connection: psycopg.Connection[Any], table: sql.Identifier, partition: sql.Identifier) -> None:
    connection.execute(sql.SQL("alter table {} detach partition {}").format(table, partition))
    connection.execute(sql.SQL("drop table {}").format(partition))
