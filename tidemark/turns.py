"""One at a time: a turn is a row that the parts alone may lock, waited for within a limit, and held by a transaction.

Never an advisory key, which whoever may connect can hold, and never without a limit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection, sql
from psycopg.errors import LockNotAvailable

from tidemark.connections import Database, connect
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

APPLICATION = "tidemark turn: "  # a session's name begins so that does nothing but hold a turn
TABLE = sql.Identifier("ops", "turn")  # of the warehouse; the streaming database has its own
_INSERT = sql.SQL("insert into {} (name) values (%s) on conflict (name) do nothing")
# Who has locked the row; else those who may have: of several sharers, and of a row so new that only its maker sees it,
# no more is known than that they have written the table.
_HOLDER = sql.SQL("""
select
    held.locktype = 'transactionid' as certain,
    concat_ws(' ', 'pid', held.pid, 'of', session.usename, 'since ' || date_trunc('second', session.xact_start))
from pg_locks as held inner join pg_stat_activity as session on session.pid = held.pid
where held.granted and held.pid <> pg_backend_pid() and (
    held.transactionid = (select xmax from {table} where name = %s)
    or (held.relation = {text}::regclass and held.mode = 'RowExclusiveLock')
)
order by held.locktype desc, held.pid limit 5
""")


class TurnTaken(TidemarkError):
    """Another session has the turn; the message says who, and how long it was waited for."""

    retriable = True


def take(
    connection: Connection[Any], name: str, seconds: float, shared: bool = False, table: sql.Identifier = TABLE
) -> None:
    """Hold a turn of the connection's database until its transaction ends; TurnTaken after so many seconds.

    Those who share a turn hold it together. The transaction must have begun, and goes on after TurnTaken.
    """
    strength = sql.SQL("for share" if shared else "for update")
    before = connection.execute("select current_setting('lock_timeout')").fetchall()[0][0]
    try:
        with connection.transaction():
            _limit(connection, f"{seconds * 1000:.0f}ms")
            connection.execute(_INSERT.format(table), (name,))
            connection.execute(sql.SQL("select from {} where name = %s {}").format(table, strength), (name,))
            _limit(connection, before)
    except LockNotAvailable:
        text = sql.Literal(table.as_string(None))
        found = connection.execute(_HOLDER.format(table=table, text=text), (name,)).fetchall()
        raise TurnTaken(
            f"{name}: expected no other at the same time, one has not ended within {seconds:g} s ({_who(found)}"
        ) from None


def _who(found: list[tuple[bool, str]]) -> str:
    certain = [holder for known, holder in found if known or len(found) == 1]
    if certain:
        return f"{certain[0]}): wait for it, or end it"
    if not found:
        return "who it is cannot be seen any more): wait for it"
    return f"one of {', '.join(holder for _, holder in found)}): wait for it"


def _limit(connection: Connection[Any], lock_timeout: str) -> None:
    connection.execute("select set_config('lock_timeout', %s, true)", (lock_timeout,))


@contextmanager
def held(settings: Settings, database: Database, role: str, name: str, seconds: float) -> Iterator[None]:
    """Hold a turn for as long as the block lasts, on a connection of its own; TurnTaken, StackError."""
    with connect(settings, database, role, application_name=f"{APPLICATION}{name}") as connection:
        connection.execute("set idle_in_transaction_session_timeout = 0")
        take(connection, name, seconds)
        yield
