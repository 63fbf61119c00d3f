"""One database at one moment, as one role may see it: rows come as Arrow, by COPY in binary, no object a row."""

import threading
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from serve.databases import ABSENT, ANYTHING, BEGIN, LOCK, ROLE, WAIT_SECONDS, Turns, address_of, no_role, problem_of
from serve.problems import Problem
from tidemark.connections import Database
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_BYTES = 2_000_000


class Connection:
    """A connection of ADBC in autocommit, whose transactions begin and end by statements.

    Its DB-API would import pandas and polars, which take 70 MB.
    """

    def __init__(self, address: str) -> None:
        import adbc_driver_manager
        import adbc_driver_postgresql

        with _errors():
            self._database = adbc_driver_postgresql.connect(address)
            try:
                self._connection = adbc_driver_manager.AdbcConnection(self._database)
            except BaseException:
                self._database.close()
                raise

    def execute(self, statement: Composable) -> None:
        """A statement that gives no rows."""
        with _errors(), self._stated(statement) as stated:
            stated.execute_update()

    def batches(self, query: Composable) -> Generator["pa.RecordBatch", None, None]:
        """The rows of a query. psycopg.Error, by the SQLSTATE, where the database refuses it or has gone."""
        from adbc_driver_manager._reader import AdbcRecordBatchReader  # which keeps the SQLSTATE of what fails midway

        with _errors(), self._stated(query) as stated:
            stated.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            handle, _ = stated.execute_query()
            with closing(AdbcRecordBatchReader._import_from_c(handle.address)) as reader:
                yield from reader

    @contextmanager
    def _stated(self, query: Composable) -> Iterator[Any]:
        import adbc_driver_manager

        with adbc_driver_manager.AdbcStatement(self._connection) as stated:
            stated.set_sql_query(query.as_string(None))
            yield stated

    def close(self) -> None:
        """End it, whatever it does."""
        from adbc_driver_manager import Error

        for each in (self._connection, self._database):
            with suppress(Error):
                each.close()


class Snapshot:
    """What a transaction sees of one database."""

    def __init__(self, connection: Connection) -> None:
        self.batches = connection.batches

    def rows(self, query: Composable) -> list[tuple[Any, ...]]:
        """The rows as tuples, of few."""
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
        # The first line of what the server said: behind it stand places in functions, and whom was asked what.
        said = str(error).partition("Query was:")[0].rpartition("ERROR: ")[2].strip().partition("\n")[0]
        words = " ".join(said.partition(". SQLSTATE")[0].split())
        if error.sqlstate:
            raise psycopg.errors.lookup(error.sqlstate)(words) from None
        raise psycopg.OperationalError(words) from None


def begin(connection: Connection, role: str, relations: Sequence[str]) -> Snapshot:
    """Begin a snapshot as a role. `relations` (schema.name) are locked first, as every reader does, and only then read.

    Else a table that is swapped by a rebuild, or a day that is dropped, between the snapshot and the statement that
    reads it would be seen as it is then, through a snapshot of before: empty.
    """
    names = SQL(", ").join(Identifier(*relation.split(".")) for relation in relations)
    lock = SQL("; {}").format(LOCK.format(names)) if relations else SQL("")
    connection.execute(SQL("{}{}").format(BEGIN.format(Identifier(role)), lock))
    return Snapshot(connection)


def connect(settings: Settings, database: Database, login: str = ROLE) -> Connection:
    """A connection of a login role."""
    return Connection(address_of(settings, database, login))


class SideAway(TidemarkError):
    """A database does not answer, or does not have what is asked of it."""

    retriable = True

    def __init__(self, database: Database, received: str, *, is_absent: bool = False) -> None:
        super().__init__(f"expected the database {database} to answer, received {received}")
        self.database, self.received = database, received
        self.is_absent = is_absent  # it answers: what is asked of it is not there


class SideRefused(TidemarkError):
    """A database answers, and refuses what is asked of it: `error` has its SQLSTATE."""

    def __init__(self, database: Database, error: psycopg.Error) -> None:
        super().__init__(f"expected the database {database} to answer, received {error}")
        self.database, self.error = database, error

    @property
    def problem(self) -> Problem:
        """What the caller is told."""
        if isinstance(self.error, psycopg.errors.InvalidParameterValue):
            return no_role()
        return problem_of(self.error, self.database)


# Not built yet, or being built anew: nothing says what a table that is not there would have.
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, *ABSENT)
# It answers: not now, or not that much.
_ANSWERING = (
    psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, psycopg.errors.TooManyConnections,
    psycopg.errors.ConfigurationLimitExceeded, psycopg.errors.OutOfMemory,
)  # fmt: skip


@contextmanager
def _named(database: Database) -> Iterator[None]:
    """Whatever a database says, with its name."""
    try:
        yield
    except psycopg.Error as error:
        if isinstance(error, _AWAY) and not isinstance(error, _ANSWERING):
            raise SideAway(database, str(error), is_absent=isinstance(error, ABSENT)) from None
        raise SideRefused(database, error) from None


class Sides:
    """Few connections to each database, kept while they work."""

    def __init__(self, settings: Settings, most: int) -> None:
        self._settings, self.turns = settings, Turns(most)
        self._idle: dict[str, list[Connection]] = defaultdict(list)
        self._places = {database: threading.Semaphore(most) for database in ("realtime", "warehouse")}

    @contextmanager
    def snapshot(self, database: Database, role: str, relations: Sequence[str]) -> Iterator[Snapshot]:
        """One snapshot, which ends with the block. SideAway, SideRefused; so where no connection is free in time."""
        with _named(database), self._place(database):
            connection, snapshot = self._begin(database, role, relations)
            try:
                yield snapshot
                connection.execute(SQL("rollback"))
            except BaseException:
                connection.close()
                raise
            self._idle[database].append(connection)

    def has_nothing(self, error: SideAway, role: str) -> bool:
        """Whether what is not there is the warehouse's, which answers and has nothing: nothing was ever loaded."""
        if error.database != "warehouse" or not error.is_absent:
            return False
        with self.snapshot("warehouse", role, ()) as warehouse:
            [(has_anything,)] = warehouse.rows(ANYTHING)
        return not has_anything

    @contextmanager
    def _place(self, database: Database) -> Iterator[None]:
        if not self._places[database].acquire(timeout=WAIT_SECONDS):
            raise psycopg.errors.TooManyConnections(f"every connection to {database} is taken")
        try:
            yield
        finally:
            self._places[database].release()

    def _begin(self, database: Database, role: str, relations: Sequence[str]) -> tuple[Connection, Snapshot]:
        """A kept connection may have been ended by the server since: then another is tried."""
        while True:
            try:
                connection, is_new = self._idle[database].pop(), False
            except IndexError:
                connection, is_new = connect(self._settings, database), True
            try:
                return connection, begin(connection, role, relations)
            except psycopg.errors.LockNotAvailable:
                connection.close()
                raise
            except psycopg.OperationalError:
                connection.close()
                if is_new:
                    raise
            except BaseException:
                connection.close()
                raise

    def close(self) -> None:
        """End every connection that is not in use."""
        for connections in self._idle.values():
            while connections:
                connections.pop().close()
