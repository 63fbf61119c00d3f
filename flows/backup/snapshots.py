"""One moment of each database, held for pg_dump to read: rows, offsets and epochs of it belong together."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection, IsolationLevel, errors, sql

from flows.account import Balance, balances
from flows.backup.manifest import Place
from realtime import positions
from realtime.account import holdings
from tidemark.categories import CATEGORIES
from tidemark.connections import Database, connect
from tidemark.credentials import OWNER
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

TRIES = 5
LOCK_SECONDS = 30
_TABLES = """
select nspname, relname, pg_table_size(pg_class.oid)
from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace
where relkind in ('r', 'p', 'm') and nspname !~ '^pg_' and nspname not in ('information_schema', 'access')
    and (nspname, relname) <> ('migration', 'turn')
order by 1, 2
"""


@dataclass(frozen=True)
class Held:
    """A database at one moment: its snapshot's name, for as long as the connection is open; each table's bytes."""

    database: Database
    connection: Connection[Any]
    snapshot: str
    taken_at: datetime  # by the server's clock
    sizes: dict[str, int]


@dataclass(frozen=True)
class Snapshots:
    """Both databases, with where every record is and up to where each log was read."""

    of: dict[Database, Held]
    balances: list[Balance]
    places: list[Place]


def take(settings: Settings, stack: ExitStack) -> Snapshots:
    """A snapshot of each database: of `realtime` first, so that the ledger knows every day that has left it by then.

    No table of either can be dropped until the stack is left: a snapshot does not keep one that is.
    """
    realtime = stack.enter_context(connect(settings, "realtime", OWNER))
    figures, left = holdings(realtime)
    warehouse = _hold_tables(settings, stack)
    of: dict[Database, Held] = {"realtime": _hold("realtime", realtime), "warehouse": _hold("warehouse", warehouse)}
    return Snapshots(of, balances(warehouse, figures, left), _places(realtime))


def _hold(database: Database, connection: Connection[Any]) -> Held:
    connection.execute("select set_config('idle_in_transaction_session_timeout', '0', true)")
    ((snapshot, taken_at),) = connection.execute("select pg_export_snapshot(), transaction_timestamp()").fetchall()
    sizes = {f"{schema}.{name}": size for schema, name, size in connection.execute(_TABLES)}
    return Held(database, connection, snapshot, taken_at.astimezone(UTC), sizes)


def _hold_tables(settings: Settings, stack: ExitStack) -> Connection[Any]:
    """A read-only transaction of the warehouse that has every table locked against being dropped."""
    for _ in range(TRIES):
        connection = connect(settings, "warehouse", OWNER)
        try:
            if _lock_all(settings, connection):
                return stack.enter_context(connection)
        except (errors.UndefinedTable, errors.LockNotAvailable):
            pass  # a model was built in this moment, or is being built
        except BaseException:
            connection.close()
            raise
        connection.close()
    raise TidemarkError(
        f"warehouse: expected to hold its tables still within {TRIES} tries of {LOCK_SECONDS} s, a build changes them: "
        "run the backup when no flow builds"
    )


def _lock_all(settings: Settings, connection: Connection[Any]) -> bool:
    """Lock the tables that are there; False where by then others are, as the snapshot comes after the locks."""
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connect(settings, "warehouse", OWNER) as looking:
        there = {(schema, name) for schema, name, _ in looking.execute(_TABLES)}
    connection.execute(sql.SQL("set local lock_timeout = {}").format(f"{LOCK_SECONDS}s"))
    if there:
        names = sql.SQL(", ").join(sql.Identifier(*name) for name in sorted(there))
        connection.execute(sql.SQL("lock table {} in access share mode").format(names))
    return there == {(schema, name) for schema, name, _ in connection.execute(_TABLES)}


def _places(connection: Connection[Any]) -> list[Place]:
    return [
        Place(topic, epoch.log_epoch, epoch.topic_id, reach.partition, reach.position.next_offset, None, _at(reach))
        for topic in CATEGORIES
        if (epoch := positions.newest_epoch(connection, topic)) is not None
        for reach in positions.reaches(connection, topic, epoch.log_epoch)
    ]


def _at(reach: positions.Reach) -> datetime | None:
    mark = reach.position.mark
    return None if mark is None else datetime.fromtimestamp(mark.timestamp / 1000, UTC)
