"""One `tidemark up` at a time on a server: a table of the administrator's that nobody else may lock."""

import time

import psycopg
from psycopg.errors import DuplicateSchema, DuplicateTable, LockNotAvailable, UniqueViolation

from tidemark.errors import StackError

WAIT_SECONDS = 120.0
TRY_SECONDS = 2.0

_MAKE = """
create schema if not exists migration;
create table if not exists migration.turn ();
"""
_HOLDER = """
select format('pid %s of %s, since %s', pid, coalesce(host(client_addr), 'this machine'), xact_start)
from pg_locks inner join pg_stat_activity using (pid)
where pg_locks.relation = 'migration.turn'::regclass and granted and pid <> pg_backend_pid()
"""


def take_turn(connection: psycopg.Connection, wait_seconds: float = WAIT_SECONDS) -> None:
    """Hold this database's turn until the connection (in autocommit) is closed; it must be used for nothing else.

    StackError, which may be retried, naming who has it, where it does not come within so many seconds.
    """
    _make(connection)
    connection.execute("set idle_in_transaction_session_timeout = 0")
    connection.execute(
        "select set_config('lock_timeout', %s, false)", (f"{min(TRY_SECONDS, wait_seconds) * 1000:.0f}",)
    )
    deadline = time.monotonic() + wait_seconds
    while not _taken(connection):
        if time.monotonic() < deadline:
            continue
        holder = connection.execute(_HOLDER).fetchone()
        error = StackError(
            f"expected to be the only `tidemark up` on the database {connection.info.dbname}, another has not ended "
            f"within {wait_seconds:.0f} s ({holder[0] if holder else 'now it has'}): run it again when that one is done"
        )
        error.retriable = True
        raise error


def _taken(connection: psycopg.Connection) -> bool:
    connection.execute("begin")
    try:
        connection.execute("lock table migration.turn in exclusive mode")
    except LockNotAvailable:
        connection.execute("rollback")
        return False
    return True


def _make(connection: psycopg.Connection) -> None:
    try:
        connection.execute(_MAKE)
    except (DuplicateSchema, DuplicateTable, UniqueViolation):
        connection.execute(_MAKE)  # another `up` has made it in this moment
