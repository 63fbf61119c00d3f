"""Exactly once: rows, quarantine and next offsets of a batch commit together, or none of them.

A conditional update of the position comes first in each transaction: of two consumers of one partition, only the one
that knows the stored offset can write (the fence). Rows go by COPY. A row that Postgres refuses by its content alone
(error class 22) is found by halving, and quarantined; every other error is the database not taking rows: nothing is
committed, and the batch waits. A commit does not wait for the disk: what a crash of Postgres takes back, rows and
position together, is read from Kafka again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

import psycopg
from psycopg import Connection

from realtime import partitions, positions, rows
from realtime.partitions import TopicDay
from realtime.positions import LogState, Move, Position
from realtime.quarantine import REFUSED, KeptRecord, Reject, keep_rejects
from realtime.rows import Feed, Row
from tidemark import connections
from tidemark.refusals import with_what_to_do
from tidemark.settings import Settings

# A writer that hangs while it sends rows holds its position's lock: Postgres waits for the rest without a limit, as no
# time-out of a session counts within a COPY. Ours are this role's own, so that it may end them.
WRITER = "tidemark-processor"
_END_HUNG = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = current_user and application_name = %s and pid <> pg_backend_pid()
    and state = 'active' and wait_event = 'ClientRead' and query_start < now() - interval '60 seconds'
"""

Answer = TypeVar("Answer")


@dataclass(slots=True)
class Piece:
    """What one partition brings to a batch: its move, its rows as COPY's text, and what could be no row.

    Rows as objects are several times that: `again` makes them, and the record of each, where Postgres refuses one.
    """

    move: Move
    lines: bytes
    row_count: int
    rejects: list[Reject]
    again: Callable[[], tuple[list[Row], Sequence[KeptRecord]]]


@dataclass(slots=True)
class Batch:
    """What one transaction writes."""

    pieces: list[Piece] = field(default_factory=list)
    days: set[TopicDay] = field(default_factory=set)
    feeds: set[Feed] = field(default_factory=set)

    def add(self, piece: Piece, rows_: list[Row]) -> None:
        """Take a piece with the days and feeds of its rows, which are not kept. No I/O."""
        self.pieces.append(piece)
        self.days |= rows.days_of(piece.move.topic, rows_)
        self.feeds |= rows.feeds_of(piece.move.topic, rows_)


class Refused(Exception):
    """The database takes nothing now; the message says why. Nothing was committed."""


class Writer:
    """One writer's connection to `realtime`, as its role stream_writer, and what it knows to be there already."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._days: set[TopicDay] = set()
        self._feeds: set[Feed] = set()
        self._connection: Connection | None = None

    def positions(self, logs: Mapping[tuple[str, int], LogState]) -> dict[tuple[str, int], Position]:
        """Where to read each (topic, partition) on, by the offsets stored with the rows. EpochEnded, or Refused."""

        def ask(connection: Connection) -> dict[tuple[str, int], Position]:
            with connection.transaction():
                return {where: positions.read_position(connection, *where, log) for where, log in logs.items()}

        return self._do(ask)

    def write(self, batch: Batch) -> dict[str, int]:
        """All of the batch in one transaction; rejects by topic. Fenced: another consumer is ahead. Refused."""
        return self._do(lambda connection: self._write(connection, batch))

    def _do(self, what: Callable[[Connection], Answer]) -> Answer:
        try:
            return what(self._connect())
        except psycopg.Error as error:
            # A trimmed day's partition must be made again, and a crash may have taken back what was the newest.
            self._days.clear()
            self._feeds.clear()
            # Of several hosts, one that may only be read is no place to stay; and what a role may is known at log-in.
            is_read_only = isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
            if self._connection is not None and (self._connection.broken or is_read_only):
                self._connection.close()
            raise Refused(with_what_to_do(error)) from error

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._open(
                application_name=WRITER,
                options="-c lock_timeout=10s -c idle_in_transaction_session_timeout=60s -c synchronous_commit=off",
            )  # fmt: skip
        return self._connection

    def _open(self, **options: str) -> Connection:
        return connections.connect_once(
            self._settings, "realtime", "stream_writer", autocommit=True, **connections.PROMPT_LIMITS, **options
        )

    def _write(self, connection: Connection, batch: Batch) -> dict[str, int]:
        partitions.ensure(connection, batch.days - self._days)
        self._days |= batch.days
        try:
            return self._write_whole(connection, batch, salvage=False)
        except psycopg.errors.LockNotAvailable:
            connection.execute(_END_HUNG, (WRITER,))
            raise
        except psycopg.DataError:
            return self._write_whole(connection, batch, salvage=True)

    def _write_whole(self, connection: Connection, batch: Batch, salvage: bool) -> dict[str, int]:
        rejected: dict[str, int] = {}
        new_feeds = batch.feeds - self._feeds
        with connection.transaction(), connection.cursor() as cursor:
            for piece in batch.pieces:
                positions.advance(cursor, piece.move)
            for piece in batch.pieces:
                rejects = list(piece.rejects)
                if salvage:
                    rejects += _salvage(cursor, piece)
                elif piece.lines:
                    rows.copy_lines(cursor, piece.move.topic, piece.lines)
                topic = piece.move.topic
                keep_rejects(cursor, topic, piece.move.log_epoch, piece.move.partition, rejects)
                rejected[topic] = rejected.get(topic, 0) + len(rejects)
            rows.note_feeds(cursor, new_feeds)
        self._feeds |= new_feeds
        return rejected

    def ensure_ahead(self) -> date:
        """Make the partitions of today and the days ahead, beside the writer; the last of these days. Refused."""
        try:
            options = "-c lock_timeout=10s -c statement_timeout=30s"
            with self._open(application_name="tidemark-upkeep", options=options) as connection:
                return partitions.ensure_ahead(connection)
        except psycopg.Error as error:
            raise Refused(with_what_to_do(error)) from error

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()


def _salvage(cursor: Any, piece: Piece) -> list[Reject]:
    """Write the rows that Postgres takes; the others are rejects."""
    made, records = piece.again()
    refused = rows.copy_by_halves(cursor, piece.move.topic, made)
    return [Reject(records[at], REFUSED, detail) for at, detail in refused.items()]
