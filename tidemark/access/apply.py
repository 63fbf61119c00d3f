"""Bring the servers of both databases to what Tidemark needs: databases, roles, rights, schemas, tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from tidemark.access import tables
from tidemark.connections import DATABASES, Administrator, Database, PostgresServer, administrator, postgres_server
from tidemark.credentials import credential, ensure_credentials
from tidemark.errors import StackError
from tidemark.settings import Settings

OLDEST = 15  # the schema `public` is closed to everybody, and the tables are as tested

# Who may enter a database, and what of it: dbt's incremental models and the promotion need temporary tables.
ENTRY: dict[Database, dict[str, str]] = {
    "realtime": {
        "stream_writer": "connect",
        "promoter": "connect, temporary",
        "transformer": "connect, temporary",
        "catalog_reader": "connect",
        "bi_reader": "connect",
    },
    "warehouse": {
        "ingest_writer": "connect, temporary",
        "promoter": "connect, temporary",
        "transformer": "connect, temporary",
        "catalog_reader": "connect",
        "bi_reader": "connect",
    },
}


def apply(settings: Settings) -> None:
    """Make what is missing on the server of each database; repeating it changes nothing. StackError if not."""
    ensure_credentials(settings)
    for database in DATABASES:
        server, owner = postgres_server(settings, database), administrator(settings, database)
        try:
            _apply(server, owner, database, {role: credential(settings, role) for role in ENTRY[database]})
        except psycopg.Error as error:
            raise StackError(
                f"expected to set up {database} on {server.host}:{server.port} as {owner.user} (a superuser, "
                f"or one with CREATEDB and CREATEROLE), the server said: {_one_line(error)}"
            ) from None


def _apply(server: PostgresServer, owner: Administrator, database: Database, passwords: dict[str, str]) -> None:
    with _connect(server, owner, "postgres") as maintenance:
        if maintenance.info.server_version < OLDEST * 10_000:
            raise StackError(
                f"expected Postgres {OLDEST} or newer at {server.host}:{server.port}, found "
                f"{maintenance.info.parameter_status('server_version')}"
            )
        # One `up` at a time on this server, whichever state folder it is of.
        maintenance.execute("select pg_advisory_lock(hashtextextended('tidemark.access', 0))")
        _ensure_database(maintenance, database)
        made = _ensure_roles(maintenance, passwords)
        _grant_entry(maintenance, database)
        for role in passwords.keys() - made:
            _ensure_password(maintenance, server, database, role, passwords[role])
        with _connect(server, owner, database) as connection, connection.transaction():
            connection.execute(Path(__file__).with_name(f"{database}.sql").read_bytes())
            if database == "realtime":
                tables.create(connection)


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())


def _address(server: PostgresServer, user: str, password: str, database: str) -> str:
    options = {"connect_timeout": "10", **dict(server.options)}
    return make_conninfo(**options, host=server.host, port=server.port, user=user, password=password, dbname=database)


@contextmanager
def _connect(server: PostgresServer, owner: Administrator, database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(_address(server, owner.user, owner.password, database), autocommit=True) as connection:
        # A role's own settings may say otherwise; notices of what exists already are no news.
        connection.execute("set client_min_messages to warning")
        yield connection


def _ensure_database(maintenance: psycopg.Connection, database: Database) -> None:
    if maintenance.execute("select from pg_database where datname = %s", (database,)).rowcount:
        return
    name = Identifier(database)
    maintenance.execute(SQL("create database {} template template0 encoding 'UTF8'").format(name))
    maintenance.execute(SQL("alter database {} set timezone to 'UTC'").format(name))


def _ensure_roles(maintenance: psycopg.Connection, passwords: dict[str, str]) -> set[str]:
    """Make the roles that are missing, and make the administrator a member of each; those made now."""
    found = maintenance.execute("select rolname from pg_roles where rolname = any(%s)", (list(passwords),))
    made = passwords.keys() - {name for (name,) in found}
    for role in sorted(made):
        verifier = Literal(_verifier(maintenance, role, passwords[role]))
        maintenance.execute(SQL("create role {} login password {}").format(Identifier(role), verifier))
    if maintenance.info.parameter_status("is_superuser") != "on":
        for role in passwords:
            maintenance.execute(SQL("grant {} to current_user").format(Identifier(role)))
    return set(made)


def _verifier(maintenance: psycopg.Connection, role: str, password: str) -> str:
    """The scram verifier, so that no server log can ever hold the password."""
    return maintenance.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


def _grant_entry(maintenance: psycopg.Connection, database: Database) -> None:
    name = Identifier(database)
    maintenance.execute(SQL("revoke all on database {} from public").format(name))
    for role, rights in ENTRY[database].items():
        maintenance.execute(SQL("grant {} on database {} to {}").format(SQL(rights), name, Identifier(role)))


def _ensure_password(
    maintenance: psycopg.Connection, server: PostgresServer, database: Database, role: str, password: str
) -> None:
    """Set the role's password only where the one that we have does not open the door: a verifier is salted anew."""
    try:
        psycopg.connect(_address(server, role, password, database)).close()
    except psycopg.OperationalError:
        verifier = Literal(_verifier(maintenance, role, password))
        maintenance.execute(SQL("alter role {} login password {}").format(Identifier(role), verifier))
