"""Quarantine: what people ask of the records that could not be rows. They are looked at, tried again or given up."""

import getpass
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection, sql

from realtime.tables import QUARANTINE
from tidemark.categories import CATEGORIES
from tidemark.connections import connect
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings


class Quarantined(NamedTuple):
    """A record in quarantine, by its identity."""

    topic: str
    log_epoch: int
    partition: int
    offset: int
    received_at: datetime
    key: bytes | None
    payload: bytes | None

    @property
    def timestamp(self) -> int:
        """Its time in Kafka, ms since 1970."""
        return round(self.received_at.timestamp() * 1000)


_IDENTITY = sql.SQL("(topic, log_epoch, kafka_partition, kafka_offset)")
_SUMMARY = sql.SQL(
    "select topic, reason, count(*) as records, min(received_at) as first_at, max(received_at) as last_at "
    "from {} where {} group by topic, reason order by topic, reason"
)
_SHOW = sql.SQL(
    "select concat_ws(':', topic, log_epoch, kafka_partition, kafka_offset) as identity, reason, detail, "
    "received_at, record_key, payload from {} where {} order by received_at, kafka_offset limit {}"
)
_KEPT_SINCE = sql.SQL(
    "select topic, count(*), count(*) filter (where quarantined_at >= %s), max(quarantined_at), "
    "min(quarantined_at) from {} "
    "where dropped_at is null group by topic order by topic"
).format(QUARANTINE)
_DROP = sql.SQL("update {} set dropped_at = now(), dropped_by = {} where {}")
_KEPT = sql.SQL(
    "select topic, log_epoch, kafka_partition, kafka_offset, received_at, record_key, payload from {} where {}"
)
_IN_ORDER = sql.SQL(" order by topic, log_epoch, kafka_partition, kafka_offset for update")


@dataclass(frozen=True)
class Wanted:
    """Which records are meant: all that is given must hold. `identity` is TOPIC:EPOCH:PARTITION:OFFSET."""

    topic: str | None = None
    reason: str | None = None
    identity: str | None = None

    def condition(self) -> sql.Composed:
        """The condition on a record, beside that nobody dropped it; may be a ConfigurationError."""
        if self.topic is not None and self.topic not in CATEGORIES:
            raise ConfigurationError(f"expected a topic of {', '.join(CATEGORIES)}, received {self.topic!r}")
        parts: list[sql.Composable] = [sql.SQL("dropped_at is null")]
        for column, value in (("topic", self.topic), ("reason", self.reason)):
            if value is not None:
                parts.append(sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(value)))
        if self.identity is not None:
            topic, *numbers = self.identity.split(":")
            if len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
                raise ConfigurationError(f"expected TOPIC:EPOCH:PARTITION:OFFSET, received {self.identity!r}")
            literals = sql.SQL(", ").join([sql.Literal(topic), *(sql.Literal(int(number)) for number in numbers)])
            parts.append(sql.SQL("{} = ({})").format(_IDENTITY, literals))
        return sql.SQL(" and ").join(parts)


def enter(settings: Settings) -> Connection[Any]:
    """The database, as who may look into quarantine and write rows."""
    return connect(settings, "realtime", "stream_writer", application_name="tidemark-quarantine")


def summary(settings: Settings, wanted: Wanted) -> list[dict[str, Any]]:
    """How many records by topic and reason, with the first and the last time."""
    with enter(settings) as connection:
        return _named(connection.execute(_SUMMARY.format(QUARANTINE, wanted.condition())))


def growth(connection: Connection[Any], since: datetime) -> list[tuple[str, int, int, datetime, datetime]]:
    """By topic: the records in quarantine, those of them that came since a moment, and when the last and first came."""
    return connection.execute(_KEPT_SINCE, (since,)).fetchall()


def show(settings: Settings, wanted: Wanted, limit: int) -> list[dict[str, Any]]:
    """The records themselves, oldest first; a payload that is no UTF-8 is shown as Python writes bytes."""
    with enter(settings) as connection:
        return _named(connection.execute(_SHOW.format(QUARANTINE, wanted.condition(), sql.Literal(limit))))


def drop(settings: Settings, wanted: Wanted) -> int:
    """Give the records up: they stay where they are, marked by whom and when, and count as dropped."""
    statement = _DROP.format(QUARANTINE, sql.Literal(getpass.getuser()), wanted.condition())
    with enter(settings) as connection:
        return connection.execute(statement).rowcount


def held(connection: Connection[Any], wanted: Wanted) -> Iterator[Quarantined]:
    """The records, by identity, nobody else's until the transaction ends: payloads may be large, and many."""
    with connection.cursor("quarantined", withhold=False) as cursor:
        cursor.itersize = 4  # of 4 MB each, at most
        statement = _KEPT.format(QUARANTINE, wanted.condition()) + _IN_ORDER
        yield from map(Quarantined._make, cursor.execute(statement))


def at(connection: Connection[Any], topic: str, log_epoch: int, partition: int, offset: int) -> Quarantined | None:
    """The record in quarantine under an identity, dropped or not; None where there is none."""
    identity = sql.SQL("{} = (%s, %s, %s, %s)").format(_IDENTITY)
    found = connection.execute(_KEPT.format(QUARANTINE, identity), (topic, log_epoch, partition, offset)).fetchone()
    return None if found is None else Quarantined._make(found)


def release(cursor: Any, record: Quarantined) -> None:
    """It leaves quarantine, in the transaction that writes its row."""
    cursor.execute(
        sql.SQL("delete from {} where {} = (%s, %s, %s, %s)").format(QUARANTINE, _IDENTITY), tuple(record[:4])
    )


def _named(cursor: Any) -> list[dict[str, Any]]:
    return [
        {column.name: _text(value) for column, value in zip(cursor.description, row, strict=True)} for row in cursor
    ]


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return repr(value)
    return value.isoformat() if isinstance(value, datetime) else value
