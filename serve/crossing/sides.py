"""One database at one moment, as one role may see it: rows come as Arrow, by COPY in binary, without an object a row."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal

from tidemark.connections import LIMITS, Database, dsn
from tidemark.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

WAIT_SECONDS = 5.0
BATCH_BYTES = 2_000_000
# What a session has before any statement; a caller's role changes none of it.
_OPTIONS = (
    "-c timezone=UTC -c datestyle=ISO,YMD -c search_path= -c lock_timeout=2s -c work_mem=32MB -c jit=off "
    "-c idle_in_transaction_session_timeout=15s -c max_parallel_workers_per_gather=0"
)


class Snapshot:
    """What a transaction sees of one database."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def batches(self, query: Composable) -> Iterator["pa.RecordBatch"]:
        """The rows of a query. psycopg.Error, by the SQLSTATE, where the database refuses it or has gone."""
        with _errors(), self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            cursor.execute(query.as_string(None))
            with cursor.fetch_record_batch() as reader:
                yield from reader

    def rows(self, query: Composable) -> list[tuple[Any, ...]]:
        """The same as tuples, of few rows."""
        found: list[tuple[Any, ...]] = []
        for batch in self.batches(query):
            found.extend(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        return found


@contextmanager
def _errors() -> Iterator[None]:
    """ADBC's errors as psycopg's of the same SQLSTATE."""
    from adbc_driver_manager import Error

    try:
        yield
    except Error as error:
        words = " ".join(str(error).partition("Query was:")[0].split())  # the rest holds what was asked, and of whom
        if error.sqlstate:
            raise psycopg.errors.lookup(error.sqlstate)(words) from None
        raise psycopg.OperationalError(words) from None


def execute(connection: Any, statement: Composable) -> None:
    """A statement that gives no rows."""
    with _errors(), connection.cursor() as cursor:
        cursor.execute(statement.as_string(None))


def begin(connection: Any, role: str, relations: Sequence[str], seconds: float) -> Snapshot:
    """Begin a snapshot as a role. `relations` (schema.name) are locked first, as every reader does, and only then looked at.

    Else a table that is swapped by a rebuild, or a day that is dropped, between the snapshot and the statement that reads
    it would be seen as it is then, through a snapshot of before: empty.
    """
    execute(connection, SQL("begin isolation level repeatable read read only"))
    execute(connection, SQL("set local role {}").format(Identifier(role)))
    execute(connection, SQL("set local statement_timeout = {}").format(Literal(f"{seconds:g}s")))
    names = SQL(", ").join(Identifier(*relation.split(".")) for relation in relations)
    execute(connection, SQL("lock table {} in access share mode").format(names))
    return Snapshot(connection)


def connect(settings: Settings, database: Database, login: str) -> Any:
    """A connection of ADBC in autocommit, which begins and ends transactions by statements."""
    from adbc_driver_postgresql import dbapi

    with _errors():
        address = dsn(settings, database, login, **LIMITS, application_name="tidemark-api", options=_OPTIONS)
        return dbapi.connect(address, autocommit=True)


class Sides:
    """Few connections to each database, kept while they work."""

    def __init__(self, settings: Settings, login: str, most: int = 4, seconds: float = 30.0) -> None:
        self._settings, self._login, self._seconds = settings, login, seconds
        self._idle: dict[str, list[Any]] = defaultdict(list)
        self._places = {database: threading.Semaphore(most) for database in ("realtime", "warehouse")}

    @contextmanager
    def snapshot(self, database: Database, role: str, relations: Sequence[str]) -> Iterator[Snapshot]:
        """One snapshot, which ends with the block. psycopg.OperationalError where no connection is free in time."""
        if not self._places[database].acquire(timeout=WAIT_SECONDS):
            raise psycopg.errors.TooManyConnections(f"every connection to {database} is taken")
        try:
            connection, snapshot = self._begin(database, role, relations)
            try:
                yield snapshot
                execute(connection, SQL("rollback"))
            except BaseException:
                _close(connection)
                raise
            self._idle[database].append(connection)
        finally:
            self._places[database].release()

    def _begin(self, database: Database, role: str, relations: Sequence[str]) -> tuple[Any, Snapshot]:
        """A kept connection may have been ended by the server since: then another is tried."""
        while True:
            kept = self._idle[database]
            is_new = not kept
            connection = connect(self._settings, database, self._login) if is_new else kept.pop()
            try:
                return connection, begin(connection, role, relations, self._seconds)
            except psycopg.OperationalError:
                _close(connection)
                if is_new:
                    raise
            except BaseException:
                _close(connection)
                raise

    def close(self) -> None:
        """End every connection that is not in use."""
        for connections in self._idle.values():
            while connections:
                _close(connections.pop())


def _close(connection: Any) -> None:
    from adbc_driver_manager import Error

    with suppress(Error):
        connection.close()
