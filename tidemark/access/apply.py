"""Bring the servers of both databases to what Tidemark needs: databases, roles, entry, migrations."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.errors import DuplicateDatabase, InternalError_, LockNotAvailable, UniqueViolation
from psycopg.sql import SQL, Identifier, Literal

from tidemark.access import people
from tidemark.access.people import PeopleLimits
from tidemark.connections import (
    DATABASES,
    LIMITS,
    Administrator,
    Database,
    PostgresServer,
    administrator,
    is_local,
    is_wrong_password,
    postgres_server,
    refuse_older,
)
from tidemark.credentials import credential, ensure_credentials
from tidemark.errors import StackError
from tidemark.migrations import lane
from tidemark.migrations.files import Migration
from tidemark.migrations.runner import Report, Runner
from tidemark.migrations.turn import take_turn
from tidemark.refusals import what_to_do
from tidemark.settings import Settings

LOCK_TIMEOUT = "10s"  # nothing here waits longer for whoever else uses the server
TRIES = 6
_ENTRIES = """
select case entry.grantee when 0 then '-' else entry.grantee::regrole::text end, lower(entry.privilege_type)
from pg_database cross join lateral aclexplode(coalesce(datacl, acldefault('d', datdba))) as entry
where datname = %s
"""

# Who may enter a database, and what of it: dbt's incremental models and the promotion need temporary tables; dbt makes
# schemas for a dev target, and for the rows that a test by hand found.
ENTRY: dict[Database, dict[str, str]] = {
    "realtime": {
        "stream_writer": "connect",
        "promoter": "connect, temporary",
        "transformer": "connect, temporary, create",
        "catalog_reader": "connect",
        "guard": "connect",
        "bi_reader": "connect",
    },
    "warehouse": {
        "ingest_writer": "connect, temporary",
        "promoter": "connect, temporary",
        "transformer": "connect, temporary, create",
        "catalog_reader": "connect",
        "guard": "connect",
        "bi_reader": "connect",
    },
}


# Told each database, and its administrator's connection, when its roles are there and its migrations are not.
Fill = Callable[[Database, psycopg.Connection], None]


@dataclass(frozen=True)
class Server:
    """Where a database is, and who sets it up there."""

    address: PostgresServer
    administrator: Administrator

    @classmethod
    def of(cls, settings: Settings, database: Database) -> "Server":
        return cls(postgres_server(settings, database), administrator(settings, database))


def apply(
    settings: Settings, report: Report = lambda database, doing: None, fill: Fill = lambda database, connection: None
) -> dict[Database, list[Migration]]:
    """Make what is missing on the server of each database; repeating it changes nothing. StackError if not.

    Gives what was migrated of databases that were there. `fill` is given each before its migrations. One call at a time
    on a server, whichever state folder it is of: the turns of both databases are held to the end, as roles are the
    server's.
    """
    ensure_credentials(settings)
    limits = PeopleLimits(settings.people_file)
    servers = {database: Server.of(settings, database) for database in DATABASES}
    migrated: dict[Database, list[Migration]] = {}
    with ExitStack() as turns:
        for database, server in servers.items():
            with _refusals(server, database):
                _ensure_database(server, database)
                take_turn(turns.enter_context(_connect(server, database)))
        for database, server in servers.items():
            with _refusals(server, database):
                with _connect(server, database) as connection:
                    _patiently(lambda: _let_in(settings, connection, server, database, limits))  # noqa: B023
                with _connect(server, database) as connection:
                    fill(database, connection)
                with _connect(server, database) as connection:
                    migrated[database] = _migrate(settings, connection, database, report)
    return migrated


@contextmanager
def _refusals(server: Server, database: Database) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        todo = what_to_do(str(error), error.sqlstate)
        raise StackError(
            f"expected to set up {database} on {server.address} as "
            f"{server.administrator.user} (a superuser, or one with CREATEDB and CREATEROLE), the server said: "
            f"{_one_line(error)}{f': {todo}' if todo else ''}"
        ) from None


def _patiently(step: Callable[[], None]) -> None:
    """Try again what a session holds up, or has changed in the same moment: the guard ends a person's soon."""
    for _ in range(TRIES - 1):
        try:
            return step()
        except (LockNotAvailable, InternalError_):  # the latter: tuple concurrently updated
            continue
    return step()


def _let_in(
    settings: Settings, connection: psycopg.Connection, server: Server, database: Database, limits: PeopleLimits
) -> None:
    passwords = {role: credential(settings, role) for role in ENTRY[database]}
    made = _ensure_roles(connection, passwords)
    _grant_entry(connection, database)
    for role in passwords.keys() - made:
        _ensure_password(connection, server, database, role, passwords[role])
    people.limit_roles(connection, limits)
    people.close_database(connection)
    if is_local(settings, database):
        people.close_others(connection)


def _migrate(settings: Settings, connection: psycopg.Connection, database: Database, report: Report) -> list[Migration]:
    return Runner(connection, database, lambda: lane.writers(connection, settings.home), report).migrate()


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())


def _open(server: PostgresServer, database: str, **entering: str) -> psycopg.Connection:
    address = make_conninfo(**{**LIMITS, **server.parameters, **entering, "dbname": database})
    connection = psycopg.connect(address, autocommit=True)
    refuse_older(connection, f"{database} at {server}")
    return connection


@contextmanager
def _connect(server: Server, database: str) -> Iterator[psycopg.Connection]:
    owner = server.administrator
    with _open(server.address, database, user=owner.user, **owner.secret) as connection:
        # A role's own settings may say otherwise; notices of what exists already are no news.
        connection.execute("set client_min_messages to warning")
        connection.execute(SQL("set lock_timeout to {}").format(LOCK_TIMEOUT))
        yield connection


def _ensure_database(server: Server, database: Database) -> None:
    with _connect(server, "postgres") as maintenance:
        name = Identifier(database)
        if not maintenance.execute("select from pg_database where datname = %s", (database,)).rowcount:
            with suppress(DuplicateDatabase, UniqueViolation):  # another `up` makes it in this moment
                maintenance.execute(SQL("create database {} template template0 encoding 'UTF8'").format(name))
            maintenance.execute(SQL("alter database {} set timezone to 'UTC'").format(name))


def _ensure_roles(connection: psycopg.Connection, passwords: dict[str, str]) -> set[str]:
    """Make the roles that are missing, and make the administrator a member of each; those made now."""
    found = connection.execute("select rolname from pg_roles where rolname = any(%s)", (list(passwords),))
    made = passwords.keys() - {name for (name,) in found}
    for role in sorted(made):
        verifier = Literal(_verifier(connection, role, passwords[role]))
        connection.execute(SQL("create role {} login password {}").format(Identifier(role), verifier))
    if connection.info.parameter_status("is_superuser") != "on":
        for role in passwords:
            connection.execute(SQL("grant {} to current_user").format(Identifier(role)))
    return set(made)


def _verifier(connection: psycopg.Connection, role: str, password: str) -> str:
    """The scram verifier, so that no server log can ever hold the password."""
    return connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


def _grant_entry(connection: psycopg.Connection, database: Database) -> None:
    there = set(connection.execute(_ENTRIES, (database,)).fetchall())
    wanted = {(role, right) for role, rights in ENTRY[database].items() for right in rights.split(", ")}
    if wanted <= there and not any(role == "-" for role, _ in there):
        return  # whoever may enter can hold up, or spoil, what writes the database's rights
    name = Identifier(database)
    connection.execute(SQL("revoke all on database {} from public").format(name))
    for role, rights in ENTRY[database].items():
        connection.execute(SQL("grant {} on database {} to {}").format(SQL(rights), name, Identifier(role)))


def _ensure_password(
    connection: psycopg.Connection, server: Server, database: Database, role: str, password: str
) -> None:
    """Set the role's password only where the one that we have does not open the door: a verifier is salted anew."""
    try:
        _open(server.address, database, user=role, password=password).close()
    except psycopg.OperationalError as error:
        if not is_wrong_password(str(error)):
            return
        verifier = Literal(_verifier(connection, role, password))
        connection.execute(SQL("alter role {} login password {}").format(Identifier(role), verifier))
