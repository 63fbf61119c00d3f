"""What a repair asks of a topic's rows: that they stay, that they go, that they are what they should be."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from psycopg import Connection, sql

from realtime.rows import Row
from realtime.tables import TURNS, of_topic
from tidemark import turns
from tidemark.categories import table_columns

WAIT_SECONDS = 60.0  # for another rebuild, or a retry of quarantine


class Span(NamedTuple):
    """One partition's offsets from `low` up to `high`."""

    log_epoch: int
    partition: int
    low: int
    high: int


def take_turn(connection: Connection[Any], topic: str, shared: bool = False) -> None:
    """Until the transaction ends: two rebuilds of a topic, or one and a retry of quarantine, take turns; TurnTaken.

    A processor takes none: it only adds later rows.
    """
    turns.take(connection, f"rebuild {topic}", WAIT_SECONDS, shared, TURNS)


def hold_trims_off(connection: Connection[Any], topic: str) -> None:
    """No day of the topic leaves until the transaction ends; reading and writing go on."""
    connection.execute(sql.SQL("lock table {} in row exclusive mode").format(of_topic(topic)))


def delete_of_day(connection: Connection[Any], topic: str, day: date, span: Span) -> int:
    """Delete a day's rows within a span of offsets, for whoever writes them again; how many there were."""
    begins = datetime.combine(day, time(), UTC)
    statement = sql.SQL(
        "delete from {} where log_epoch = %s and kafka_partition = %s and kafka_offset >= %s "
        "and kafka_offset < %s and received_at >= %s and received_at < %s"
    ).format(of_topic(topic))
    return connection.execute(statement, (*span, begins, begins + timedelta(days=1))).rowcount


def is_there(connection: Connection[Any], topic: str, log_epoch: int, partition: int, offset: int) -> bool:
    """Whether a row stands under the identity."""
    statement = sql.SQL("select from {} where log_epoch = %s and kafka_partition = %s and kafka_offset = %s").format(
        of_topic(topic)
    )
    return bool(connection.execute(statement, (log_epoch, partition, offset)).rowcount)


def is_same(connection: Connection[Any], topic: str, row: Row) -> bool:
    """Whether this very row is there, value by value."""
    same = sql.SQL(" and ").join(
        sql.SQL("{} = %s::{}").format(sql.Identifier(column), sql.SQL(kind))
        for column, kind in table_columns(topic).items()
    )
    return bool(connection.execute(sql.SQL("select from {} where {}").format(of_topic(topic), same), row).rowcount)
