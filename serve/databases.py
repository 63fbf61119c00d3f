"""Connections to the databases: few, each transaction read only and as the caller's own role."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.sql import SQL, Identifier
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from serve.problems import NotLoaded, Problem, busy, down, no_key, shown
from tidemark.access.keys import Caller
from tidemark.connections import DATABASES, LIMITS, Database, dsn
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

ROLE = "api_reader"
WAITING = 16  # requests that wait for a connection, for each connection
LEAST_SHARE = 2  # connections that one caller may read by, however few there are
WAIT_SECONDS = 5.0
SILENT_SECONDS, WAIT_SILENT_SECONDS = 10.0, 0.5  # for so long after no connection came, a request waits that much
# Of every session, before any statement; what a caller sends, or may by its role, never changes a setting.
SESSION = {
    "timezone": "UTC", "datestyle": "ISO,YMD", "intervalstyle": "iso_8601", "search_path": "", "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "15s", "work_mem": "32MB", "jit": "off",
    "max_parallel_workers_per_gather": "0",
}  # fmt: skip
BEGIN = SQL("begin isolation level repeatable read read only; set local role {}")
RelationName = tuple[str, str]  # of a relation: its schema and its own
LOCK = SQL("lock table {} in access share mode")
# Whether there is, or ever was, anything that a load or a build makes. Every role sees the names of all, and may ask
# how much room is taken by what says that one was there.
ANYTHING = SQL(
    "select exists (select from pg_catalog.pg_class as relations "
    "inner join pg_catalog.pg_namespace as schemas on schemas.oid = relations.relnamespace "
    "where schemas.nspname in ('ingestion', 'marts') and relations.relkind in ('r', 'p', 'v', 'm', 'f') "
    "or schemas.nspname = 'ops' and relations.relname in ('load', 'promotion', 'published_mart') "
    "and pg_catalog.pg_relation_size(relations.oid) > 0)"
)
ABSENT = (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedFunction)


class Turns:
    """One caller reads by half of the connections at most, so that others have theirs."""

    def __init__(self, connections: int) -> None:
        self._most = max(LEAST_SHARE, connections // 2)
        self._turns: dict[tuple[str, ...], asyncio.Semaphore] = {}

    @asynccontextmanager
    async def turn(self, caller: Caller, *of: str) -> AsyncIterator[None]:
        """One of the caller's, of each kind `of` by itself; Problem 503 where none is free in time."""
        turn = self._turns.setdefault((caller.name, *of), asyncio.Semaphore(self._most))
        try:
            await asyncio.wait_for(turn.acquire(), WAIT_SECONDS)
        except TimeoutError:
            detail = f"expected at most {self._most} queries of one caller at a time, others of {caller.name} run"
            raise busy(f"{detail}: {_LATER}") from None
        try:
            yield
        finally:
            turn.release()


class Databases:
    """A pool a database. A request beyond what may wait is answered 503, and none waits for long."""

    def __init__(self, settings: Settings, databases: Sequence[Database] = DATABASES) -> None:
        self._settings = settings
        self._pools = {database: self._pool(database) for database in databases}
        self._silent_at = dict.fromkeys(databases, -SILENT_SECONDS)  # when one did not answer; monotonic clock
        self._turns = Turns(settings.api_connections)
        self._used = dict.fromkeys(databases, 0)  # connections that a request reads by

    def _pool(self, database: Database) -> AsyncConnectionPool[AsyncConnection[Any]]:
        async def address() -> str:  # the password is read again for each connection, as it may be another since
            return address_of(self._settings, database)

        return AsyncConnectionPool(
            address,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=self._settings.api_connections,
            max_waiting=self._settings.api_connections * WAITING,
            timeout=WAIT_SECONDS,
            check=AsyncConnectionPool.check_connection,
            reconnect_timeout=WAIT_SECONDS,
            open=False,
            name=database,
        )

    async def open(self) -> None:
        """Begin to connect; a database that is down now is connected to when it is up."""
        for pool in self._pools.values():
            await pool.open(wait=False)

    async def close(self) -> None:
        """End every connection."""
        for pool in self._pools.values():
            await pool.close(timeout=1.0)

    async def silence(self, database: Database, seconds: float) -> str:
        """Why a database does not answer within so long; empty where it does."""
        try:
            async with asyncio.timeout(seconds), self._pools[database].connection(timeout=seconds) as connection:
                await connection.execute("select 1", prepare=False)
        except (PoolTimeout, TimeoutError):
            return f"no connection within {seconds:g} s"
        except TooManyRequests:
            return "too many requests wait for it"
        except psycopg.Error as error:
            return shown(error.diag.message_primary or "it ended the connection")
        return ""

    @asynccontextmanager
    async def reading(
        self, database: Database, caller: Caller, *relations: RelationName
    ) -> AsyncIterator[AsyncConnection[Any]]:
        """One snapshot of a database, as the caller's role; the transaction ends with the block.

        `relations` (schema, name) are locked first, as every reader does, and only then is the snapshot taken: a table
        that a rebuild swaps between the two was filled after it, and would be empty.

        Problem where the database does not answer (503), all connections are taken (503), or it refuses what was asked;
        NotLoaded where the warehouse lacks it, and has nothing else either.
        """
        try:
            async with (
                self._turns.turn(caller, database),
                self._pools[database].connection(self._patience(database)) as connection,
            ):
                self._used[database] += 1
                try:
                    await self._begin(connection, caller)
                    await self._lock(connection, caller, relations)
                    yield connection
                finally:
                    self._used[database] -= 1
                    if not connection.closed:
                        await connection.execute("rollback", prepare=False)
        except TooManyRequests:
            raise busy(
                f"expected at most {self._waiting} requests to wait for {database}, found as many: {_LATER}"
            ) from None
        except PoolTimeout:
            if self._used[database]:
                detail = f"expected a free connection to {database} within {WAIT_SECONDS:g} s, others read: {_LATER}"
                raise busy(detail) from None
            self._silent_at[database] = time.monotonic()
            raise down(database, "no connection in time") from None
        except psycopg.Error as error:
            if isinstance(error, ABSENT) and database == "warehouse" and not await self._has_anything(caller):
                raise NotLoaded from None
            raise problem_of(error, database) from None

    async def _has_anything(self, caller: Caller) -> bool:
        async with self.reading("warehouse", caller) as connection:
            [(found,)] = await (await connection.execute(ANYTHING)).fetchall()
        return bool(found)

    def _patience(self, database: Database) -> float:
        """Seconds to wait for a connection: few where there was none a moment ago."""
        silent = time.monotonic() - self._silent_at[database] < SILENT_SECONDS
        return WAIT_SILENT_SECONDS if silent else WAIT_SECONDS

    @property
    def _waiting(self) -> int:
        return self._settings.api_connections * WAITING

    async def _begin(self, connection: AsyncConnection[Any], caller: Caller) -> None:
        try:
            await connection.execute(BEGIN.format(Identifier(caller.name)), prepare=False)
        except (errors.InsufficientPrivilege, errors.InvalidParameterValue):
            raise no_role() from None

    async def _lock(self, connection: AsyncConnection[Any], caller: Caller, relations: Sequence[RelationName]) -> None:
        if not relations:
            return
        names = SQL(", ").join(Identifier(*each) for each in relations)
        try:
            await connection.execute(LOCK.format(names), prepare=False)
        except errors.WrongObjectType:  # a materialized view, which is filled in its place, or nothing that has rows
            await connection.execute("rollback", prepare=False)
            await self._begin(connection, caller)


def address_of(settings: Settings, database: Database, login: str = ROLE) -> str:
    """Where a database is, for a session of the API, with the settings that it has from its beginning."""
    session = SESSION | {"statement_timeout": f"{settings.api_statement_seconds * 1000:.0f}"}
    options = " ".join(f"-c {name}={value}" for name, value in session.items())
    return dsn(settings, database, login, **LIMITS, application_name="tidemark-api", options=options)


def no_role() -> Problem:
    """401: whose key it is has no role any more."""
    return no_key(
        "expected a key of somebody who may enter, received one of a role that is there no more: "
        "`tidemark access apply` makes the roles of access.yml"
    )


_LATER = "try again in a second, or ask for less at a time"
_NARROWER = "ask for a shorter range, fewer columns or a smaller limit"


def problem_of(error: psycopg.Error, database: Database) -> Problem:
    """What a caller is told of a database's refusal; nothing of what it holds."""
    said = shown(error.diag.message_primary or " ".join(str(error).split()))
    match error:
        case errors.TooManyConnections() | errors.LockNotAvailable() | errors.TransactionRollback():
            return busy(f"expected {database} to answer now, others read or it is being rebuilt: {_LATER}")
        case errors.QueryCanceled():
            return Problem(504, "the query took too long", f"expected an answer of {database} in time: {_NARROWER}")
        case _ if (error.sqlstate or "")[:2] == "54" or isinstance(
            error, errors.ConfigurationLimitExceeded | errors.OutOfMemory
        ):  # 54: more columns, or deeper conditions, than a statement may have
            return Problem(
                413, "the query takes too much", f"expected {database} to answer it, received {said}: {_NARROWER}"
            )
        case errors.OperationalError():
            return down(database, said)
        case errors.InsufficientPrivilege() | errors.UndefinedTable() | errors.InvalidSchemaName():
            return Problem(404, "not found", "expected something that is there and that you may read, found none")
        case errors.DataError() | errors.ProgrammingError() | errors.NotSupportedError():
            detail = f"expected values that {database} can read as what they are compared with, received: {said}"
            return Problem(400, "not a query", detail, received=said)
    raise TidemarkError(f"expected {database} to answer, received SQLSTATE {error.sqlstate}: {said}") from error
