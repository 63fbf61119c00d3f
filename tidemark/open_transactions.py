"""Transactions that others leave open in a database: who waits for a lock, who does nothing, what is prepared.

To be asked as a role with `pg_read_all_stats`: others do not see what a session does.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from tidemark.credentials import PARTS
from tidemark.turns import APPLICATION

if TYPE_CHECKING:
    from psycopg import Connection

ROLE = "catalog_reader"  # which has that right
HANGS_SECONDS = 60  # a transaction that does nothing for so long
HOLDS_SECONDS = 2  # somebody waits for a lock for so long

_HANGING = """
select pid, usename, state_change, extract(epoch from now() - state_change)::int
from pg_stat_activity
where datname = current_database() and state like 'idle in transaction%%' and state_change < now() - %(ago)s
and not (usename = any(%(parts)s) and starts_with(application_name, %(turn)s))
order by state_change
"""
_PREPARED = """
select gid, owner, prepared, extract(epoch from now() - prepared)::int from pg_prepared_xacts
where database = current_database() and prepared < now() - %s order by prepared
"""
_HELD = """
select
    waiting.pid, waiting.usename, coalesce(locks.since, waiting.query_start) as since,
    holding.pid, coalesce(holding.usename, ''), holding.state
from pg_stat_activity as waiting
left join lateral (select min(waitstart) as since from pg_locks where pid = waiting.pid and not granted) as locks
    on true
cross join lateral unnest(pg_blocking_pids(waiting.pid)) as blocking (pid)
left join pg_stat_activity as holding on holding.pid = blocking.pid
where waiting.datname = current_database() and waiting.wait_event_type = 'Lock'
    and coalesce(locks.since, waiting.query_start) < now() - %s
order by 3
"""


class Held(NamedTuple):
    """A session that waits for a lock, and one that has it; a prepared transaction has no process."""

    pid: int
    role: str
    since: datetime
    by_pid: int | None
    by_role: str
    by_state: str | None

    def __str__(self) -> str:
        by = f"pid {self.by_pid} of {self.by_role} ({self.by_state})" if self.by_pid else "a prepared transaction"
        return f"expected {self.role} (pid {self.pid}) to get its lock, {by} holds it"


class Hanging(NamedTuple):
    """A session that does nothing in an open transaction."""

    pid: int
    role: str
    since: datetime
    seconds: int

    def __str__(self) -> str:
        return f"expected transactions to end, pid {self.pid} of {self.role} does nothing in one for {self.seconds} s"


class Prepared(NamedTuple):
    """A transaction that is prepared, and was neither committed nor rolled back."""

    name: str
    owner: str
    since: datetime
    seconds: int

    def __str__(self) -> str:
        return (
            f"expected prepared transactions to end, {self.name!r} of {self.owner} waits for {self.seconds} s, and "
            "keeps its locks"
        )


def held(connection: "Connection[Any]", seconds: float = HOLDS_SECONDS) -> list[Held]:
    """Who waits for a lock for so long, the longest first."""
    return [Held(*row) for row in connection.execute(_HELD, (timedelta(seconds=seconds),))]


def hanging(connection: "Connection[Any]", seconds: float = HANGS_SECONDS) -> list[Hanging]:
    """Who does nothing in a transaction for so long, the longest first; a part that holds a turn does so on purpose."""
    asked = {"ago": timedelta(seconds=seconds), "parts": list(PARTS), "turn": APPLICATION}
    return [Hanging(*row) for row in connection.execute(_HANGING, asked)]


def prepared(connection: "Connection[Any]", seconds: float = HANGS_SECONDS) -> list[Prepared]:
    """What is prepared for so long, the oldest first."""
    return [Prepared(*row) for row in connection.execute(_PREPARED, (timedelta(seconds=seconds),))]
