"""Bring the servers of both databases to what Tidemark needs: databases, roles, entry, migrations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.errors import DuplicateDatabase, InternalError_, LockNotAvailable, UniqueViolation
from psycopg.sql import SQL, Identifier, Literal

from tidemark.access import bring, last_applied, people
from tidemark.access.access_file import MARKER, Access, read_access
from tidemark.access.bring import Row
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
from tidemark.credentials import PEOPLE, credential, ensure_credentials
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

# Which part may enter a database, and what of it; people may as the access file says. dbt's incremental models and the
# promotion need temporary tables; dbt makes schemas for a dev target, and for the rows that a test by hand found.
ENTRY: dict[Database, dict[str, str]] = {
    "realtime": {
        "stream_writer": "connect",
        "promoter": "connect, temporary",
        "transformer": "connect, temporary, create",
        "catalog_reader": "connect",
        "guard": "connect",
        "api_reader": "connect",
    },
    "warehouse": {
        "ingest_writer": "connect, temporary",
        "promoter": "connect, temporary",
        "transformer": "connect, temporary, create",
        "catalog_reader": "connect",
        "guard": "connect",
        "api_reader": "connect",
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


class Applied(NamedTuple):
    """What was changed of databases that were there: the migrations of each, and roles and rights of people."""

    migrated: dict[Database, list[Migration]]
    access: list[Row]


def apply(
    settings: Settings, report: Report = lambda database, doing: None, fill: Fill = lambda database, connection: None
) -> Applied:
    """Make what is missing on the server of each database; repeating it changes nothing. StackError if not.

    Gives what was changed of databases that were there. `fill` is given each before its migrations. One call at a time
    on a server, whichever state folder it is of: the turns of both databases are held to the end, as roles are the
    server's.
    """
    ensure_credentials(settings)
    access = read_access(settings.access_file)
    last_applied.refuse_another(settings, access)
    servers = {database: Server.of(settings, database) for database in DATABASES}
    migrated: dict[Database, list[Migration]] = {}
    with _turns(servers, make=True):
        for database, server in servers.items():
            with _refusals(server, database):
                with _connect(server, database) as connection:
                    _patiently(lambda: _let_in(settings, connection, server, database))  # noqa: B023
                with _connect(server, database) as connection:
                    fill(database, connection)
                with _connect(server, database) as connection:
                    migrated[database] = _migrate(settings, connection, database, report)
        return Applied(migrated, _bring(settings, access, servers))


def apply_access(settings: Settings, another_file: bool = False) -> list[Row]:
    """Bring the roles and rights of people to the access file, and nothing else; what was changed.

    ConfigurationError where the file is wrong, or is another than the last one and lacks somebody, unless it is to be
    another; StackError where a server does not answer, or `up` has set up none.
    """
    access = read_access(settings.access_file)
    if not another_file:
        last_applied.refuse_another(settings, access)
    revoked = bring.revoke_keys(settings, access)  # first: a key opens while a database is down, so it ends then too
    servers = {database: Server.of(settings, database) for database in DATABASES}
    with _turns(servers, make=False):
        return [*_bring(settings, access, servers), *revoked]


@contextmanager
def _turns(servers: Mapping[Database, Server], make: bool) -> Iterator[None]:
    """One at a time on both; with `make`, databases that are missing are made."""
    with ExitStack() as turns:
        for database, server in servers.items():
            with _refusals(server, database):
                if make:
                    _ensure_database(server, database)
                take_turn(turns.enter_context(_connect(server, database)))
        yield


def _bring(settings: Settings, access: Access, servers: Mapping[Database, Server]) -> list[Row]:
    """The roles and rights of each database, then the roles that are to go; an API key of nobody opens no more."""
    with ExitStack() as opened:
        connections: dict[Database, psycopg.Connection] = {}
        for database, server in servers.items():
            with _refusals(server, database):
                connections[database] = opened.enter_context(_connect(server, database))
        # Of every server before any is changed: what is refused changes nothing.
        news = {database for database, connection in connections.items() if not bring.is_new(connection, access)}
        changed: list[Row] = []
        for step in (bring.bring_rights, bring.drop_removed):
            for database, connection in connections.items():
                with _refusals(servers[database], database):
                    _patiently(lambda: changed.extend(step(connection, access, database)))  # noqa: B023
        changed = [row for row in changed if row["database"] in news]
    last_applied.note(settings, access)
    return changed + bring.revoke_keys(settings, access)


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


def _let_in(settings: Settings, connection: psycopg.Connection, server: Server, database: Database) -> None:
    passwords = {role: credential(settings, role) for role in (*ENTRY[database], *PEOPLE)}
    made = _ensure_roles(connection, passwords)
    _grant_entry(connection, database)
    for role in passwords.keys() - made:
        _ensure_password(connection, server, database, role, passwords[role])
    _ensure_marker(connection)
    people.limit_parts(connection)
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


def _ensure_marker(connection: psycopg.Connection) -> None:
    """The role whose members come from the access file: before anything is restored that may name them."""
    if not connection.execute("select from pg_roles where rolname = %s", (MARKER,)).rowcount:
        connection.execute(SQL("create role {} nologin").format(Identifier(MARKER)))


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
