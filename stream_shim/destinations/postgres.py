"""Exactly once into the day-partitioned tables of `realtime`: rows, quarantine and next offsets commit together.

A conditional update of the offset row comes first in each transaction: of two consumers of one partition, only the one
that knows the stored offset can write (the fence). Rows go by COPY. A row that Postgres refuses by its content alone
(error class 22) is found by halving, and quarantined; every other error is the database not taking rows: nothing is
committed, and the batch waits. A commit does not wait for the disk: what a crash of Postgres takes back, rows and
position together, is read from Kafka again.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any

import msgspec
import psycopg
from psycopg import Connection, sql

from stream_shim.config import TopicEntry
from stream_shim.processor.destination import Fenced, NotTaken, Segment, TopicAndPartition, Written
from stream_shim.processor.epochs import LogState, Position, read_position
from stream_shim.processor.mapping import Mapped, Reject, Row, build_mapper, received_at
from tidemark import connections
from tidemark.access.days import DAYS_AHEAD
from tidemark.categories import table_columns
from tidemark.settings import Settings

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})

_ADVANCE = """
update realtime.consumer_offset
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
"""
_MARK = ("last_offset", "last_leader_epoch", "last_batch_crc", "last_timestamp_ms")  # as a Mark has them
_QUARANTINE = """
insert into realtime.quarantine
    (topic, log_epoch, kafka_partition, kafka_offset, received_at, reason, detail, record_key, payload)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
# A processor that hangs while it sends rows holds its position's lock: Postgres waits for the rest without a limit, as
# no time-out of a session counts within a COPY. Ours are this role's own, so that it may end them.
_END_HUNG = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = current_user and application_name = 'tidemark-processor' and pid <> pg_backend_pid()
    and state = 'active' and wait_event = 'ClientRead' and query_start < now() - interval '60 seconds'
"""
_NEW_FEED = "insert into realtime.feed (topic, source_system, name) values (%s, %s, %s) on conflict do nothing"


class Table:
    """How one topic's rows become COPY text: pure."""

    def __init__(self, topic: str, entry: TopicEntry) -> None:
        columns = table_columns(topic)
        self.topic = topic
        self.map_records = build_mapper(topic, entry.mapping)
        self.copy = sql.SQL("copy realtime.{} ({}) from stdin").format(
            sql.Identifier(topic), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        self._kinds = list(columns.values())[:-1]  # received_at is text already

    def lines(self, rows: list[Row], plain: bool) -> bytes:
        """The rows as COPY's text format, made column by column; `plain` says that no value needs an escape.

        Those of one symbol or publisher stand together, in order: writing and reading them touches fewer pages.
        """
        *columns, received = zip(*rows, strict=True)
        texts = [_texts(kind, column, plain) for kind, column in zip(self._kinds, columns, strict=True)]
        lines: defaultdict[str, list[str]] = defaultdict(list)
        for name, line in zip(columns[1], map("\t".join, zip(*texts, received, strict=True)), strict=True):
            lines[name].append(line)
        return "\n".join(chain.from_iterable(lines.values())).encode() + b"\n"


def _texts(kind: str, column: tuple[Any, ...], plain: bool) -> Sequence[str]:
    """A column's values as Postgres reads them. JSON's numbers and times are its own, and one call encodes them all."""
    if kind in ("text", "jsonb"):
        return column if plain else [value.translate(_ESCAPES) for value in column]
    encoded = msgspec.json.encode(column).decode()
    return encoded[2:-2].split('","') if kind == "timestamptz" else encoded[1:-1].split(",")


@dataclass(slots=True)
class Piece:
    """One segment, ready to be written: its rows only as COPY's text, as objects they are several times that."""

    segment: Segment
    log_epoch: int
    rejects: list[Reject]
    lines: bytes


@dataclass(slots=True)
class Batch:
    """What one transaction writes."""

    pieces: list[Piece]
    days: set[tuple[str, date]] = field(default_factory=set)
    feeds: set[tuple[str, str, str]] = field(default_factory=set)


def copy_by_halves(cursor: Any, table: Table, mapped: Mapped) -> list[Reject]:
    """COPY all that Postgres takes: a half that it refuses is halved again, down to the row that it refuses."""
    rejects: list[Reject] = []
    stack = [(0, len(mapped.rows))] if mapped.rows else []
    while stack:
        low, high = stack.pop()
        try:
            with cursor.connection.transaction(), cursor.copy(table.copy) as copy:
                copy.write(table.lines(mapped.rows[low:high], plain=False))
        except psycopg.DataError as error:
            if high - low == 1:
                rejects.append(Reject(mapped.records[low], "refused_by_database", " ".join(str(error).split())))
            else:
                middle = (low + high) // 2
                stack += [(middle, high), (low, middle)]
    return rejects


def feeds_of(topic: str, rows: list[Row]) -> set[tuple[str, str, str]]:
    """The feeds that the rows are of: (topic, source_system, symbol or publisher)."""
    return {(topic, row[0], row[1]) for row in rows}


def note_feeds(cursor: Any, feeds: set[tuple[str, str, str]]) -> None:
    """Make each a row of realtime.feed, from which the views of `live` begin."""
    if feeds:
        cursor.executemany(_NEW_FEED, sorted(feeds))


def quarantine(cursor: Any, topic: str, log_epoch: int, partition: int, rejects: list[Reject]) -> None:
    """Keep the rejects with all that identifies and explains them."""
    if rejects:
        cursor.executemany(
            _QUARANTINE,
            [
                (topic, log_epoch, partition, record.offset, received_at(record.timestamp),
                 reason, detail.replace("\0", "\\0"), record.key, record.value)
                for record, reason, detail in ((r.record, r.reason, r.detail) for r in rejects)
            ],
        )  # fmt: skip


class PostgresDestination:
    """The database `realtime`, as its role stream_writer."""

    def __init__(self, settings: Settings, topics: dict[str, TopicEntry]) -> None:
        self._dsn = connections.dsn(settings, "realtime", "stream_writer")
        self._tables = {topic: Table(topic, entry) for topic, entry in topics.items()}
        self._epochs: dict[TopicAndPartition, int] = {}
        self._days: set[tuple[str, date]] = set()
        self._feeds: set[tuple[str, str, str]] = set()
        self._connection: Connection | None = None
        self._made_until: date | None = None

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._dsn, autocommit=True, application_name="tidemark-processor", **connections.PROMPT_LIMITS,
                options="-c lock_timeout=10s -c idle_in_transaction_session_timeout=60s -c synchronous_commit=off",
            )  # fmt: skip
        return self._connection

    def positions(self, logs: dict[TopicAndPartition, LogState]) -> dict[TopicAndPartition, Position]:
        """Where to read each partition on, by the offsets stored with the rows. EpochEnded, or NotTaken."""
        found = {}
        try:
            connection = self._connect()
            with connection.transaction():
                for (topic, partition), log in logs.items():
                    position = read_position(connection, topic, partition, log)
                    self._epochs[topic, partition] = position.log_epoch
                    found[topic, partition] = position
        except psycopg.Error as error:
            raise self._not_taken(error) from error
        return found

    def prepare(self, segments: list[Segment]) -> Batch:
        """Map and serialize: no I/O."""
        batch = Batch([])
        for segment in segments:
            table, log_epoch = self._tables[segment.topic], self._epochs[segment.topic, segment.partition]
            mapped = table.map_records(segment.records, log_epoch, segment.partition)
            lines = table.lines(mapped.rows, mapped.plain) if mapped.rows else b""
            batch.pieces.append(Piece(segment, log_epoch, mapped.rejects, lines))
            days = {row[-1][:10] for row in mapped.rows}
            batch.days |= {(segment.topic, date.fromisoformat(day)) for day in days}
            batch.feeds |= feeds_of(segment.topic, mapped.rows)
        return batch

    def commit(self, batch: Batch) -> Written:
        """All of the batch in one transaction. Fenced: another consumer is ahead. NotTaken: no rows are taken now."""
        try:
            connection = self._connect()
            self._make_days(connection, batch.days)
            try:
                return self._write(connection, batch, salvage=False)
            except psycopg.errors.LockNotAvailable:
                connection.execute(_END_HUNG)
                raise
            except psycopg.DataError:
                return self._write(connection, batch, salvage=True)
        except psycopg.Error as error:
            raise self._not_taken(error) from error

    def _not_taken(self, error: psycopg.Error) -> NotTaken:
        # A trimmed day's partition must be made again, and a crash may have taken back what was the newest.
        self._days.clear()
        self._feeds.clear()
        if self._connection is not None and self._connection.broken:
            self._connection.close()
        cause = " ".join(str(error).split())
        return NotTaken(f"expected the database realtime to take rows, received {type(error).__name__}: {cause}")

    def _make_days(self, connection: Connection, days: set[tuple[str, date]]) -> None:
        for topic, day in sorted(days - self._days):
            connection.execute("select realtime.ensure_partition(%s, %s)", (topic, day))
            self._days.add((topic, day))

    def _write(self, connection: Connection, batch: Batch, salvage: bool) -> Written:
        written = Written({}, {})
        new_feeds = batch.feeds - self._feeds
        with connection.transaction(), connection.cursor() as cursor:
            for piece in batch.pieces:
                self._advance(cursor, piece)
            for piece in batch.pieces:
                table, rejects = self._tables[piece.segment.topic], list(piece.rejects)
                if salvage:
                    again = table.map_records(piece.segment.records, piece.log_epoch, piece.segment.partition)
                    rejects += copy_by_halves(cursor, table, again)
                elif piece.lines:
                    with cursor.copy(table.copy) as copy:
                        copy.write(piece.lines)
                topic = piece.segment.topic
                quarantine(cursor, topic, piece.log_epoch, piece.segment.partition, rejects)
                written.rows[topic] = written.rows.get(topic, 0) + len(piece.segment.records) - len(rejects)
                written.rejects[topic] = written.rejects.get(topic, 0) + len(rejects)
            note_feeds(cursor, new_feeds)
        self._feeds |= new_feeds
        return written

    def _advance(self, cursor: Any, piece: Piece) -> None:
        segment = piece.segment
        cursor.execute(
            _ADVANCE,
            {
                "topic": segment.topic, "log_epoch": piece.log_epoch, "partition": segment.partition,
                "from_offset": segment.from_offset, "next_offset": segment.next_offset, "empty": segment.empty,
                "log_end": segment.log_end,
                **dict(zip(_MARK, segment.mark or (None,) * len(_MARK), strict=True)),
            },
        )  # fmt: skip
        if cursor.rowcount != 1:
            raise Fenced(
                f"{segment.topic}, partition {segment.partition}: expected the stored offset {segment.from_offset}, "
                "another consumer has moved it, or a crash has taken it back; nothing is written, and the position is "
                "read again"
            )

    def keep_up(self) -> None:
        """Make the partitions of today and the days ahead; on a connection of its own, beside the writer's."""
        today = datetime.now(UTC).date()
        days = [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)]
        try:
            with psycopg.connect(
                self._dsn, autocommit=True, application_name="tidemark-upkeep", **connections.PROMPT_LIMITS,
                options="-c lock_timeout=10s -c statement_timeout=30s",
            ) as connection:  # fmt: skip
                for topic in self._tables:
                    for day in days:
                        connection.execute("select realtime.ensure_partition(%s, %s)", (topic, day))
        except psycopg.Error as error:
            raise NotTaken(f"expected realtime to make partitions, received {' '.join(str(error).split())}") from error
        self._made_until = days[-1]

    def headroom_days(self) -> int | None:
        """How many days after today have a partition, as far as is known here; None before they were first made."""
        return None if self._made_until is None else (self._made_until - datetime.now(UTC).date()).days

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
