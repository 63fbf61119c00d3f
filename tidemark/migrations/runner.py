"""Apply to a database what it lacks of the migration files, each once, and keep what was applied in it.

A file runs in one transaction, so that it is there whole or not at all, and never waits for a lock without a limit.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.errors import DeadlockDetected, Diagnostic, LockNotAvailable

from tidemark.connections import Database
from tidemark.errors import StackError
from tidemark.migrations import files
from tidemark.migrations.files import Migration

LOCK_SECONDS = 3.0  # of one try: whoever came behind waits no longer
PATIENCE_SECONDS = 120.0  # of all tries of one file

Report = Callable[[str, str], None]  # told the database and what is being done in it

_MAKE = """
create schema if not exists migration;
create table migration.applied (
    database text not null default current_database(),
    room text not null,
    number integer not null,
    name text not null,
    sha256 text not null,                -- of the file as it was applied
    applied_at timestamptz not null default now(),
    seconds double precision,            -- none: it was there before this table
    primary key (room, number)
);
grant usage on schema migration to catalog_reader;
grant select on migration.applied to catalog_reader;
"""
_OLDEST = """
select format('pid %s of %s, %s since %s', pid, usename, state, xact_start)
from pg_stat_activity as session
where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
and not exists (
    select from pg_locks where pg_locks.pid = session.pid and relation = to_regclass('migration.turn')
)
order by xact_start limit 1
"""
OF_TRANSACTIONS = ("BEGIN", "START", "START TRANSACTION", "COMMIT", "END", "ROLLBACK", "ABORT")


@dataclass(frozen=True)
class Runner:
    """One database, entered as the administrator in autocommit; `writers` gives what of the streaming lane writes."""

    connection: psycopg.Connection
    database: Database
    writers: Callable[[], Sequence[str]] = list
    report: Report = lambda database, doing: None
    patience_seconds: float = PATIENCE_SECONDS

    def migrate(self, rooms: Mapping[str, Path] | None = None) -> list[Migration]:
        """Apply what is missing; what was applied to a database that was not empty.

        StackError where the database is newer than the files or was made by neither, where a file was changed after
        it was applied, where the lane must be stopped first, where a lock is not to be had, or where Postgres refuses.
        """
        rooms = files.folders() if rooms is None else rooms
        migrated = self._apply_new(files.read(self.database, rooms), files.baselines(self.database, rooms))
        for text in files.each_up(self.database, rooms).values():
            self._run_statements(text)
        return migrated

    def _apply_new(self, known: Sequence[Migration], baselines: Mapping[str, str]) -> list[Migration]:
        self.connection.execute("set statement_timeout = 0")
        self.connection.execute("select set_config('lock_timeout', %s, false)", (f"{LOCK_SECONDS * 1000:.0f}",))
        self._ensure_table(known, baselines)
        applied = self._applied()
        pending = _pending(self.database, known, applied)
        if not applied:  # an empty database: nothing waits, and nothing is news
            for migration in pending:
                self._apply(migration, lambda doing: None)
            return []
        for migration in pending:
            self._require_stopped_lane(migration)
        for migration in pending:
            self._apply(migration, lambda doing: self.report(self.database, doing))
        return pending

    def _ensure_table(self, known: Sequence[Migration], baselines: Mapping[str, str]) -> None:
        """Make the table of what was applied; a database that is older than it is found to be of some version."""
        found = self.connection.execute("select to_regclass('migration.applied')").fetchall()
        if found != [(None,)]:
            return
        with self.connection.transaction():
            self.connection.execute(_MAKE)
            for room, query in baselines.items():
                number = self._baseline(room, query)
                for migration in known:
                    if migration.room == room and migration.number <= number:
                        self._note(migration, None)

    def _baseline(self, room: str, query: str) -> int:
        row = self.connection.execute(query.encode()).fetchone()
        number, evidence = row if row is not None else (None, "nothing")
        if number is None:
            raise StackError(
                f"expected the database {self.database} as a version of Tidemark made it, found one between versions "
                f"({evidence}), in what {room} keeps: restore it from a backup, or make what is missing by hand"
            )
        return int(number)

    def _applied(self) -> dict[tuple[str, int], tuple[str, str]]:
        rows = self.connection.execute("select room, number, name, sha256 from migration.applied").fetchall()
        return {(room, number): (name, sha256) for room, number, name, sha256 in rows}

    def _note(self, migration: Migration, seconds: float | None) -> None:
        self.connection.execute(
            "insert into migration.applied (room, number, name, sha256, seconds) values (%s, %s, %s, %s, %s)",
            (migration.room, migration.number, migration.name, migration.sha256, seconds),
        )

    def _apply(self, migration: Migration, report: Callable[[str], None]) -> None:
        if migration.no_transaction is None:
            run, how = self._run_whole, ""
        else:
            run, how = self._run_by_statement, f", without a transaction: {migration.no_transaction}"
        report(f"{migration.title}{how}")
        deadline = time.monotonic() + self.patience_seconds
        with _notices(self.connection, lambda said: report(f"{migration.title}: {said}")):
            while not self._run(run, migration):
                oldest = self.connection.execute(_OLDEST).fetchone()
                waits = f"waits for a lock; the oldest transaction: {oldest[0] if oldest else 'none any more'}"
                if time.monotonic() >= deadline:
                    raise StackError(
                        f"{self.database}: {migration.title}: expected a lock within {self.patience_seconds:.0f} s, "
                        f"it {waits}: end that one, and run `tidemark up` again"
                    )
                report(f"{migration.title} {waits}")

    def _require_stopped_lane(self, migration: Migration) -> None:
        if migration.lane_stopped is not None and (writing := self.writers()):
            raise StackError(
                f"{self.database}: {migration.title}: expected a streaming lane that is stopped, for "
                f"{migration.lane_stopped}; found {', '.join(writing)}: stop `tidemark stream run` first"
            )

    def _run(self, run: Callable[[Migration], None], migration: Migration) -> bool:
        """Whether it is done; False where a lock was not to be had."""
        try:
            run(migration)
        except (LockNotAvailable, DeadlockDetected):
            return False
        except psycopg.Error as error:
            kept = "what ran before of it stays" if migration.no_transaction else "nothing of it was kept"
            raise StackError(
                f"{self.database}: {migration.title}: expected to apply it, "
                f"received {' '.join(str(error).split())}; {kept}"
            ) from None
        return True

    def _run_whole(self, migration: Migration) -> None:
        _refuse_to_end_it(self.database, migration)
        started = time.monotonic()
        with self.connection.transaction():
            self.connection.execute(migration.sql.encode())
            self.connection.execute("reset role")
            self._note(migration, time.monotonic() - started)

    def _run_by_statement(self, migration: Migration) -> None:
        started = time.monotonic()
        self._run_statements(migration.sql)
        self._note(migration, time.monotonic() - started)

    def _run_statements(self, text: str) -> None:
        """Each by itself, in autocommit."""
        import sqlparse

        try:
            for statement in sqlparse.split(text):
                self.connection.execute(statement.encode())
        finally:
            self.connection.execute("reset role")


def pending(connection: psycopg.Connection, database: Database) -> list[Migration]:
    """What `up` would apply to a database, as anybody who reads it sees. StackError where it would refuse to."""
    known = files.read(database, files.folders())
    return _pending(database, known, Runner(connection, database)._applied())


def _refuse_to_end_it(database: str, migration: Migration) -> None:
    """StackError where a statement would end the file's one transaction: what follows a failure would stay."""
    import sqlparse

    for statement in sqlparse.parse(migration.sql):
        first: Any = statement.token_first(skip_cm=True)  # type: ignore[no-untyped-call]
        if first is not None and first.normalized.upper() in OF_TRANSACTIONS:
            raise StackError(
                f"{database}: {migration.title}: expected no `{first.value}` in it, as it is run in one transaction: "
                "leave it out, or begin the file with `-- no transaction: <why>`"
            )


def _pending(
    database: Database, known: Sequence[Migration], applied: Mapping[tuple[str, int], tuple[str, str]]
) -> list[Migration]:
    """What is still to be applied; StackError where what was applied is not what the files say."""
    ours = {(migration.room, migration.number): migration for migration in known}
    newer = [f"{room}/{name}" for (room, number), (name, _) in applied.items() if (room, number) not in ours]
    if newer:
        raise StackError(
            f"expected a database {database} that this Tidemark knows, found {', '.join(sorted(newer))} applied to it, "
            "which a newer Tidemark made: run that version, or restore the database from a backup of before"
        )
    for key, (name, sha256) in applied.items():
        if (name, sha256) != (ours[key].name, ours[key].sha256):
            raise StackError(
                f"{database}: expected {ours[key].title} as it was applied, as {name} with sha256 {sha256}, found "
                f"sha256 {ours[key].sha256}: restore the file, and write what is to change into a migration of its own"
            )
    pending = [migration for key, migration in ours.items() if key not in applied]
    for migration in pending:
        later = [name for (room, n), (name, _) in applied.items() if room == migration.room and n > migration.number]
        if later:
            raise StackError(
                f"{database}: expected {migration.title} to come after {max(later)}, which is applied: renumber it"
            )
    return pending


@contextmanager
def _notices(connection: psycopg.Connection, tell: Callable[[str], None]) -> Iterator[None]:
    """What a migration itself says (`raise notice`) is told as it comes; Postgres's own notices are not."""

    def handle(diagnostic: Diagnostic) -> None:
        if diagnostic.sqlstate == "00000" and diagnostic.severity_nonlocalized == "NOTICE":
            tell(diagnostic.message_primary or "")

    connection.execute("set client_min_messages to notice")
    connection.add_notice_handler(handle)
    try:
        yield
    finally:
        connection.remove_notice_handler(handle)
