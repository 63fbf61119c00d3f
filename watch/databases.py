"""The two databases: whether they answer and take writes, who hangs in them, and whether all is accounted for."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from flows.account import account
from realtime import partitions, quarantined
from stream_shim.running.causes import HEADROOM_DAYS, causes_of_oldest_day
from tidemark import open_transactions
from tidemark.categories import CATEGORIES
from tidemark.connections import (
    DATABASES,
    Database,
    connect_once,
    is_full,
    is_local,
    is_wrong_password,
    postgres_server,
)
from tidemark.credentials import PARTS, BadCredential
from tidemark.disk import bytes_a_day
from tidemark.errors import StackError
from tidemark.home_kind import home_kind
from tidemark.migrations.runner import pending
from tidemark.open_transactions import HANGS_SECONDS, Held
from tidemark.output import utc
from tidemark.settings import Settings
from tidemark.stack import postgres
from tidemark.stack.process import find, frozen
from watch.observation import RUNBOOK, Number, Observation, State, one_line

ROLE = "catalog_reader"  # reads every schema, and writes in `quality` alone, which nothing here does
LIMITS: dict[str, Any] = {"connect_timeout": "5", "options": "-c statement_timeout=8s -c lock_timeout=4s"}
NEARLY_ALL = 0.9  # of the connections
GROWS_MINUTES = 30
UNDECIDED = timedelta(days=1)  # in which a person decides about what is in quarantine
NO_ANSWER, READ_ONLY, TAKEN = "database does not answer", "database takes no writes", "connections are taken"
HANGS, PREPARED, HOLDS = "transaction hangs", "prepared transaction", "lock is held"

# Where libpq says again which server was asked, and asks us whether it runs.
_LIBPQ = re.compile(
    r'^connection failed: |connection to server at "[^"]*", port \d+ failed: | Is the server running .*$'
)

_SERVER = """
select
    pg_is_in_recovery() or current_setting('default_transaction_read_only') = 'on' as takes_no_writes,
    current_setting('max_connections')::int as most,
    (select count(*) from pg_stat_activity where backend_type = 'client backend') as taken,
    pg_postmaster_start_time() as began
"""


def _connect(settings: Settings, database: Database) -> psycopg.Connection[Any]:
    """One connection, at once or not at all, for one look: its transaction may write nothing."""
    connection = connect_once(settings, database, ROLE, application_name="tidemark-doctor", **LIMITS)
    connection.read_only = True  # of its transactions, which autocommit has none of
    return connection


def enter(settings: Settings, database: Database) -> psycopg.Connection[Any]:
    """The same for who asks something of it; StackError where it does not answer: `look` says why."""
    try:
        return _connect(settings, database)
    except (psycopg.OperationalError, StackError):
        raise StackError(f"nothing: the database {database} does not answer") from None


def look(settings: Settings, database: Database) -> Iterator[Observation]:
    """One database: whether it answers, takes writes, has room for more sessions, and whose transactions hang."""
    where = postgres_server(settings, database)
    try:
        connection = _connect(settings, database)
    except (psycopg.OperationalError, StackError) as failure:
        yield _refused(settings, database, failure)
        return
    with connection:
        yield Observation(NO_ANSWER, "database", database, "ok", f"{database} answers at {where}")
        yield from _server(settings, database, connection)
        yield from _transactions(database, connection)
        found = [migration.title for migration in pending(connection, database)]
        yield Observation(
            "migration is pending", "database", database, "failing" if found else "ok",
            f"expected {', '.join(found)} to be applied, it is not" if found else "its migrations are applied",
            mend="tidemark up" if found else "",
        )  # fmt: skip


def _refused(settings: Settings, database: Database, failure: Exception) -> Observation:
    said = _LIBPQ.sub("", one_line(failure))
    name = TAKEN if is_full(said) else NO_ANSWER
    mend = f"{RUNBOOK}/database-does-not-answer.md"
    if isinstance(failure, BadCredential):
        mend = failure.mend
    elif is_wrong_password(said):
        mend = "tidemark up"
    elif name != TAKEN and is_local(settings, database):
        running = find(settings.home, postgres.NAME)
        pid = frozen(running) if running else None
        mend = f"kill -CONT {pid}" if pid else "tidemark up"
    if not isinstance(failure, StackError):
        said = f"expected {database} to answer at {postgres_server(settings, database)}, received {said}"
    return Observation(name, "database", database, "failing", said, mend=mend)


def _server(settings: Settings, database: Database, connection: psycopg.Connection[Any]) -> Iterator[Observation]:
    ((takes_no_writes, most, taken, began),) = connection.execute(_SERVER).fetchall()
    page = f"{RUNBOOK}/database-does-not-answer.md"
    yield Observation(
        READ_ONLY, "database", database, "failing" if takes_no_writes else "ok",
        "expected it to take writes, it is in recovery or read-only" if takes_no_writes else "it takes writes",
        began if takes_no_writes and not is_local(settings, database) else None, page if takes_no_writes else "",
    )  # fmt: skip
    full = taken >= NEARLY_ALL * most
    yield Observation(
        TAKEN, "database", database, "failing" if full else "ok", f"{taken} of {most} connections are taken",
        mend=page if full else "", numbers={"taken": taken, "most": most},
    )  # fmt: skip


def _transactions(database: Database, connection: psycopg.Connection[Any]) -> Iterator[Observation]:
    if connection.execute("select pg_has_role('pg_read_all_stats', 'usage')").fetchone() != (True,):
        said = f"expected {ROLE} to see whose transactions are open: grant pg_read_all_stats to {ROLE}"
        yield Observation(HANGS, "database", database, "unknown", said, mend="tidemark up")
        return
    yield _held(database, open_transactions.held(connection))
    hanging = open_transactions.hanging(connection)
    yield Observation(
        HANGS, "database", database, "failing" if hanging else "ok",
        str(hanging[0]) if hanging else f"no transaction does nothing for {HANGS_SECONDS} s",
        hanging[0].since if hanging else None, _end(hanging[0].pid) if hanging else "", {"transactions": len(hanging)},
    )  # fmt: skip
    prepared = open_transactions.prepared(connection)
    yield Observation(
        PREPARED, "database", database, "failing" if prepared else "ok",
        str(prepared[0]) if prepared else "no transaction is prepared and not ended",
        prepared[0].since if prepared else None,
        f"rollback prepared '{prepared[0].name}', as its owner" if prepared else "", {"transactions": len(prepared)},
    )  # fmt: skip


def _held(database: Database, found: list[Held]) -> Observation:
    numbers: dict[str, Number] = {"waiting": len({held.pid for held in found})}
    if not found:
        return Observation(HOLDS, "database", database, "ok", "nobody waits for a lock", numbers=numbers)
    parts = [held for held in found if held.role in PARTS]
    first = (parts or found)[0]
    state: State = "failing" if parts else "warning"
    mend = _end(first.by_pid) if first.by_pid else f"{RUNBOOK}/transaction-hangs.md"
    return Observation(HOLDS, "database", database, state, str(first), first.since, mend, numbers)


def _end(pid: int) -> str:
    return f"select pg_terminate_backend({pid}), as the administrator"


# --- what `realtime` holds


def head_room(settings: Settings) -> Iterator[Observation]:
    """The day partitions ahead, and the oldest day."""
    with enter(settings, "realtime") as connection:
        days, oldest = partitions.days(connection), partitions.oldest_day(connection)
    today, is_live = datetime.now(UTC).date(), home_kind(settings) == "live"
    last = dict(days)  # in order, so the last one stays
    ahead = min(partitions.days_after_today(last[topic]) if topic in last else 0 for topic in CATEGORIES)
    low = is_live and ahead < HEADROOM_DAYS
    yield Observation(
        "low head-room", "database", "realtime", "failing" if low else "ok",
        f"expected day partitions for {HEADROOM_DAYS} days ahead, there are {ahead}" if low
        else f"day partitions reach {ahead} days ahead",
        mend=f"{RUNBOOK}/low-head-room.md" if low else "", numbers={"days_ahead": ahead},
    )  # fmt: skip
    age = None if oldest is None else (today - oldest).days
    cause = causes_of_oldest_day(settings, age)
    due = None if oldest is None else datetime(*oldest.timetuple()[:3], tzinfo=UTC)
    yield Observation(
        "oldest day past its time", "database", "realtime", "failing" if cause else "ok",
        next(iter(cause.values()), f"the oldest day is {oldest}" if oldest else "no day is there"),
        due + timedelta(days=settings.keep_days + 1) if cause and due else None,
        "tidemark promote" if cause else "",
        {"age_days": age, "keep_days": settings.keep_days},
    )  # fmt: skip


def day_bytes(settings: Settings) -> float | None:
    """What a day of `realtime` takes on its server's disk; None where it does not say."""
    try:
        with enter(settings, "realtime") as connection:
            return bytes_a_day(partitions.bytes_by_day(connection))
    except (psycopg.Error, StackError):
        return None


def balance(settings: Settings) -> Iterator[Observation]:
    """Whether every record that was consumed is accounted for."""
    for database in DATABASES:
        enter(settings, database).close()  # who does not answer is not waited for
    found = account(settings, ROLE, **LIMITS)
    wrong = [each for each in found if each.balance]
    yield Observation(
        "balance is not 0", "account", "realtime", "failing" if wrong else "ok",
        f"expected every balance to be 0, received {'; '.join(map(str, wrong))}" if wrong
        else f"all {sum(each.consumed for each in found):,} offsets that were consumed are accounted for",
        mend="tidemark account" if wrong else "", numbers={"consumed": sum(each.consumed for each in found)},
    )  # fmt: skip


def quarantine(settings: Settings) -> Iterator[Observation]:
    """Whether records go to quarantine now, and whether those of earlier days are decided about."""
    with enter(settings, "realtime") as connection:
        found = quarantined.growth(connection, datetime.now(UTC) - timedelta(minutes=GROWS_MINUTES))
    new, all_of_them = sum(row[2] for row in found), sum(row[1] for row in found)
    topics = ", ".join(f"{recent} of {topic}" for topic, _, recent, *_ in found if recent)
    yield Observation(
        "growing quarantine", "account", "realtime", "failing" if new else "ok",
        f"{new} records went to quarantine within {GROWS_MINUTES} minutes ({topics}): expected none" if new
        else f"{all_of_them} records are in quarantine, none came within {GROWS_MINUTES} minutes",
        max(last for _, _, recent, last, _ in found if recent) if new else None,
        "tidemark quarantine list" if new else "", {"records": all_of_them, "new_records": new},
    )  # fmt: skip
    yield _undecided(found)


def _undecided(found: list[tuple[str, int, int, datetime, datetime]]) -> Observation:
    """Records that lie in quarantine until a person retries or drops them."""
    old = [(topic, count, first) for topic, count, _, _, first in found if datetime.now(UTC) - first > UNDECIDED]
    if not old:
        said = f"nothing waits in quarantine for more than {UNDECIDED.days} day"
        return Observation("undecided quarantine", "account", "realtime", "ok", said)
    named = ", ".join(f"{count} of {topic}" for topic, count, _ in old)
    said = f"expected records in quarantine to be retried or dropped within {UNDECIDED.days} day, {named} wait"
    since = min(first for *_, first in old)
    return Observation(
        "undecided quarantine", "account", "realtime", "warning", said, since, "tidemark quarantine list"
    )


def checks(settings: Settings) -> Iterator[Observation]:
    """The last result of each check that there is still."""
    from catalog.results import last_of_soda

    with enter(settings, "warehouse") as connection:
        found = list(last_of_soda(connection))
    failed = [one for one in found if one.status == "Failed" or one.said.startswith("error")]
    named = "; ".join(dict.fromkeys(f"{one.table.name.partition('.')[2]}: {one.test}" for one in failed))
    last = max((one.at for one in found), default=None)
    yield Observation(
        "check failed", "contracts", "quality", "failing" if failed else "ok" if found else "waiting",
        f"expected no check to fail, {named} did" if failed
        else f"{len(found)} checks, the last at {utc(last)}" if last else "nothing was checked yet",
        min((one.at for one in failed), default=None), "tidemark check" if failed else "",
        {"checks": len(found), "failed": len(failed)},
    )  # fmt: skip
