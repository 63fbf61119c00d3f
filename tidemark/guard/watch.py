"""One Postgres server under watch: sessions of people past their limits end, and those that hold up a part.

Who waits is asked often, by a connection that itself never waits: of a lock that a part tries for 400 ms, whoever holds
it up is gone before the try is over, once the part was held up for PATIENCE_SECONDS in all its tries.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psutil
import psycopg
from psycopg import Connection
from psycopg.rows import class_row

from tidemark.access.access_file import Access, Limits
from tidemark.connections import Database, connect
from tidemark.credentials import PARTS
from tidemark.errors import StackError
from tidemark.guard.journal import Action, Journal
from tidemark.guard.shortfalls import shortfalls
from tidemark.settings import Settings

log = logging.getLogger("tidemark.guard")

PATIENCE_SECONDS = 1.0
FORGET_SECONDS = 60.0  # a part that tries again after so long is held up anew
CALM_SECONDS = 0.2  # between two looks at who waits
HURRIED_SECONDS = 0.05  # the same while a part is held up
LOOK_SECONDS = 1.0  # between two looks at all sessions of people
ASK_SECONDS = 60.0  # between two questions whether anything falls short, where nothing does
RECONNECT_SECONDS = 1.0
MEGABYTE = 1_000_000
OPTIONS = "-c statement_timeout=5s -c lock_timeout=5s"

# A person is a role that is no part, no member of one, as an administrator is, and no superuser.
PEOPLE = """
select role.oid from pg_roles as role
where not role.rolsuper and not exists (
    select from pg_roles as part
    where part.rolname = any(%(parts)s) and pg_has_role(role.oid, part.oid, 'member')
)
"""
_SESSIONS = f"""
with people as ({PEOPLE}),
locked as (select pid, count(1) as locks from pg_locks group by pid)
select
    session.pid, session.backend_start, session.usename as role, session.datname as database, session.state,
    coalesce(host(session.client_addr), 'this machine') as client, session.application_name as application,
    extract(epoch from clock_timestamp() - session.query_start)::float8 as statement_seconds,
    extract(epoch from clock_timestamp() - session.state_change)::float8 as state_seconds,
    coalesce(extract(epoch from clock_timestamp() - session.xact_start), 0)::float8 as transaction_seconds,
    coalesce(locked.locks, 0)::int as locks,
    array(select pid from pg_stat_activity where leader_pid = session.pid and pid <> session.pid) as workers
from pg_stat_activity as session
inner join people on people.oid = session.usesysid
left join locked on locked.pid = session.pid
where session.backend_type = 'client backend' and (%(local)s or session.datname = any(%(databases)s))
"""  # noqa: S608 - a constant
_BLOCKING = f"""
with people as ({PEOPLE}),
waiting as (
    select pid, usename, datname, pg_blocking_pids(pid) as blockers from pg_stat_activity
    where case
        when %(sees)s then wait_event_type = 'Lock' and backend_type = 'client backend'
        else pid in (select pid from pg_locks where not granted)
    end
    and (%(local)s or datname = any(%(databases)s))
    and usesysid is not null and not exists (select from people where people.oid = usesysid)
)
select
    waiting.usename as waiter, waiting.datname as waiter_database, session.pid, session.backend_start,
    session.usename as role, session.datname as database, session.state,
    coalesce(host(session.client_addr), 'this machine') as client, session.application_name as application,
    coalesce(extract(epoch from clock_timestamp() - session.xact_start), 0)::float8 as transaction_seconds
from waiting
inner join pg_stat_activity as session on session.pid = any(waiting.blockers)
inner join people on people.oid = session.usesysid
"""  # noqa: S608 - a constant
_SEES = "select pg_has_role('pg_read_all_stats', 'usage')"
_END = "select pg_terminate_backend(pid) from pg_stat_activity where pid = %s and backend_start = %s"


@dataclass(frozen=True)
class Session:
    """A person's session. Ages in seconds."""

    pid: int
    backend_start: Any
    role: str
    database: str
    state: str | None
    client: str
    application: str
    transaction_seconds: float
    statement_seconds: float | None = None
    state_seconds: float | None = None
    locks: int = 0
    workers: Sequence[int] = ()  # pids of what runs parts of its statement, each with memory of its own
    waiter: str | None = None
    waiter_database: str | None = None

    def __str__(self) -> str:
        return f"pid {self.pid} from {self.client} ({self.application[:60] or 'no name'}), {self.state}"


class Excess(NamedTuple):
    """What a session went past."""

    reason: str  # one of few, to count by
    detail: str


def excess(session: Session, limits: Limits, private_mb: float = 0) -> Excess | None:
    """What the session went past, if anything."""
    state = session.state or ""
    measured = {
        "statement": (session.statement_seconds if state == "active" else 0, limits.statement_seconds, "s"),
        "idle in transaction": (
            session.state_seconds if state.startswith("idle in transaction") else 0,
            limits.idle_in_transaction_seconds,
            "s",
        ),
        "transaction": (session.transaction_seconds, limits.transaction_seconds, "s"),
        "locks": (session.locks, limits.locks, "locks"),
        "memory": (private_mb, limits.memory_mb, "MB"),
    }
    for reason, (found, limit, unit) in measured.items():
        if found is not None and found > limit:
            return Excess(reason, f"{session}: {reason}: {found:.0f} {unit}, expected at most {limit:g}")
    return None


@dataclass(frozen=True)
class Server:
    """A Postgres server, and which of our databases it has."""

    address: str
    databases: tuple[Database, ...]
    local: bool


class Watch(threading.Thread):
    """Watches one server until `stop` is set; a server that goes away is waited for."""

    def __init__(
        self, settings: Settings, server: Server, access: Access, journal: Journal, stop: threading.Event
    ) -> None:
        super().__init__(name=f"watch {server.address}", daemon=True)
        self.server = server
        self.shortfalls: list[str] = []
        self.seen_at = 0.0  # time.monotonic() of the last look
        self._settings, self._access, self._journal, self._stop_asked = settings, access, journal, stop
        self._held_up: dict[tuple[str | None, str | None], tuple[float, float]] = {}  # part: since when, seen last
        self._parameters: dict[str, Any] = {
            "parts": list(PARTS),
            "local": server.local,
            "databases": list(server.databases),
        }

    def run(self) -> None:
        said = ""
        while not self._stop_asked.is_set():
            try:
                with connect(
                    self._settings, self.server.databases[0], "guard",
                    autocommit=True, application_name="tidemark-guard", options=OPTIONS,
                ) as connection:  # fmt: skip
                    self.shortfalls = shortfalls(connection)
                    self._parameters["sees"] = connection.execute(_SEES).fetchone() == (True,)
                    log.info("watches %s; falls short: %s", self.server.address, "; ".join(self.shortfalls) or "no")
                    said = ""
                    self._watch(connection)
            except (StackError, psycopg.Error) as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("%s: %s; tried again every second", self.server.address, " ".join(said.split()))
                self._stop_asked.wait(RECONNECT_SECONDS)

    def _watch(self, connection: Connection[Any]) -> None:
        looked_at, asked_at = 0.0, time.monotonic()
        while not self._stop_asked.is_set():
            self._end_blockers(connection)
            if time.monotonic() - looked_at >= LOOK_SECONDS:
                looked_at = time.monotonic()
                self._end_excess(connection)
                # `up` mends some, after it started the guard; and people come who were not there before.
                if self.shortfalls or looked_at >= asked_at + ASK_SECONDS:
                    asked_at = looked_at
                    self.shortfalls = shortfalls(connection)
            self.seen_at = time.monotonic()
            self._stop_asked.wait(HURRIED_SECONDS if self._held_up else CALM_SECONDS)

    def _end_excess(self, connection: Connection[Any]) -> None:
        for session in self._ask(connection, _SESSIONS):
            self._journal.saw(session.role, session.database)
            private = sum(map(private_mb, (session.pid, *session.workers))) if self.server.local else 0
            found = excess(session, self._access.limits_of(session.role), private)
            if found is not None:
                self._end(connection, session, found)

    def _end_blockers(self, connection: Connection[Any]) -> None:
        now = time.monotonic()
        blockers = self._ask(connection, _BLOCKING)
        for waiter in {(session.waiter, session.waiter_database) for session in blockers}:
            self._held_up[waiter] = (self._held_up.get(waiter, (now, now))[0], now)
        self._held_up = {who: times for who, times in self._held_up.items() if now - times[1] < FORGET_SECONDS}
        for session in {session.pid: session for session in blockers}.values():
            since = self._held_up[session.waiter, session.waiter_database][0]
            if now - since >= PATIENCE_SECONDS:
                text = f"{session}, {session.transaction_seconds:.0f} s in its transaction: held up {session.waiter}"
                self._end(connection, session, Excess("held up a part", text))

    def _ask(self, connection: Connection[Any], query: str) -> list[Session]:
        with connection.cursor(row_factory=class_row(Session)) as cursor:
            return cursor.execute(query.encode(), self._parameters).fetchall()

    def _end(self, connection: Connection[Any], session: Session, why: Excess) -> None:
        if connection.execute(_END, (session.pid, session.backend_start)).fetchone() == (True,):
            self._journal.note(Action(session.role, session.database, why.reason, f"ended {why.detail}"))


def private_mb(pid: int) -> float:
    """What a process of this machine holds beside what all of Postgres's share; 0 where it is gone."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0
    return float(memory.rss - memory.shared) / MEGABYTE
