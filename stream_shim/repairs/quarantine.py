"""What people do with records that could not be rows: look at them, try them again, give them up. Each is counted."""

import getpass
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg import Connection, sql

from stream_shim.config import read_topics
from stream_shim.destinations.postgres import Table, feeds_of, note_feeds
from stream_shim.processor.mapping import Reject
from stream_shim.processor.records import Record
from stream_shim.repairs.rebuild import WAIT_SECONDS, turn_name
from tidemark import connections, turns
from tidemark.categories import CATEGORIES
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings


@dataclass(frozen=True)
class Wanted:
    """Which records are meant: all that is given must hold. `identity` is TOPIC:EPOCH:PARTITION:OFFSET."""

    topic: str | None = None
    reason: str | None = None
    identity: str | None = None

    def condition(self) -> sql.Composed:
        """The condition on realtime.quarantine, beside that nobody dropped the record; may be a ConfigurationError."""
        if self.topic is not None and self.topic not in CATEGORIES:
            raise ConfigurationError(f"expected a topic of {', '.join(CATEGORIES)}, received {self.topic!r}")
        parts = [sql.SQL("dropped_at is null")]
        for column, value in (("topic", self.topic), ("reason", self.reason)):
            if value is not None:
                parts.append(sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(value)))  # type: ignore[arg-type]
        if self.identity is not None:
            topic, *numbers = self.identity.split(":")
            if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
                raise ConfigurationError(f"expected TOPIC:EPOCH:PARTITION:OFFSET, received {self.identity!r}")
            parts.append(
                sql.SQL("(topic, log_epoch, kafka_partition, kafka_offset) = ({}, {}, {}, {})").format(  # type: ignore[arg-type]
                    sql.Literal(topic), *[sql.Literal(int(number)) for number in numbers]
                )
            )
        return sql.SQL(" and ").join(parts)


def _connect(settings: Settings) -> Connection[Any]:
    return connections.connect(settings, "realtime", "stream_writer", application_name="tidemark-quarantine")


def summary(settings: Settings, wanted: Wanted) -> list[dict[str, Any]]:
    """How many records by topic and reason, with the first and the last time."""
    statement = sql.SQL(
        "select topic, reason, count(*) as records, min(received_at) as first_at, max(received_at) as last_at "
        "from realtime.quarantine where {} group by topic, reason order by topic, reason"
    ).format(wanted.condition())
    with _connect(settings) as connection:
        cursor = connection.execute(statement)
        return [_named(cursor, row) for row in cursor]


def show(settings: Settings, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    """The records themselves, oldest first; a payload that is no UTF-8 is shown as Python writes bytes."""
    statement = sql.SQL(
        "select concat_ws(':', topic, log_epoch, kafka_partition, kafka_offset) as identity, reason, detail, "
        "received_at, record_key, payload from realtime.quarantine where {} order by received_at, kafka_offset limit {}"
    ).format(wanted.condition(), sql.Literal(limit))
    with _connect(settings) as connection:
        cursor = connection.execute(statement)
        return [_named(cursor, row) for row in cursor]


def _named(cursor: Any, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column.name: _text(value) for column, value in zip(cursor.description, row, strict=True)}


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return repr(value)
    return value.isoformat() if isinstance(value, datetime) else value


def drop(settings: Settings, wanted: Wanted) -> int:
    """Give the records up: they stay where they are, marked by whom and when, and count as dropped."""
    statement = sql.SQL("update realtime.quarantine set dropped_at = now(), dropped_by = {} where {}").format(
        sql.Literal(getpass.getuser()), wanted.condition()
    )
    with _connect(settings) as connection:
        return connection.execute(statement).rowcount


def retry(settings: Settings, wanted: Wanted) -> tuple[int, int]:
    """Map the records again, by the topic mapping as it is now: (those that are rows now, those that stay).

    A record leaves quarantine in the transaction that writes its row, under the same identity and time.
    """
    statement = sql.SQL(
        "select topic, log_epoch, kafka_partition, kafka_offset, received_at, record_key, payload "
        "from realtime.quarantine where {} order by topic, log_epoch, kafka_partition, kafka_offset for update"
    ).format(wanted.condition())
    tables = {topic: Table(topic, entry) for topic, entry in read_topics(settings.topics_file).items()}
    rows, stay = 0, 0
    with _connect(settings) as connection:
        for topic in tables:
            turns.take(connection, turn_name(topic), WAIT_SECONDS, shared=True)
        for topic, log_epoch, partition, offset, at, key, payload in _in_portions(connection, statement):
            record = Record(offset, round(at.timestamp() * 1000), key, payload)
            if _write(connection, tables[topic], record, log_epoch, partition) is None:
                rows += 1
            else:
                stay += 1
    return rows, stay


def _in_portions(connection: Connection[Any], statement: sql.Composed) -> Iterator[tuple[Any, ...]]:
    """Rows of a cursor on the server: payloads may be large, and many."""
    with connection.cursor("quarantined", withhold=False) as cursor:
        cursor.itersize = 4  # of 4 MB each, at most
        yield from cursor.execute(statement)


def _write(connection: Connection[Any], table: Table, record: Record, log_epoch: int, partition: int) -> Reject | None:
    mapped = table.map_records([record], log_epoch, partition)
    if mapped.rejects:
        return mapped.rejects[0]
    day = date.fromisoformat(mapped.rows[0][-1][:10])
    try:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute("select realtime.ensure_partition(%s, %s)", (table.topic, day))
            with cursor.copy(table.copy) as copy:
                copy.write(table.lines(mapped.rows, mapped.plain))
            note_feeds(cursor, feeds_of(table.topic, mapped.rows))
            cursor.execute(
                "delete from realtime.quarantine "
                "where (topic, log_epoch, kafka_partition, kafka_offset) = (%s, %s, %s, %s)",
                (table.topic, log_epoch, partition, record.offset),
            )
    except psycopg.DataError as error:
        return Reject(record, "refused_by_database", str(error))
    return None
