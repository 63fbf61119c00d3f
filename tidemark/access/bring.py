"""Bring roles and rights of people to the access file, and keep what was changed, in the same transaction."""

from collections.abc import Callable, Iterable
from typing import TypedDict

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from tidemark.access import key_file, people
from tidemark.access.access_file import MARKER, Access
from tidemark.access.change import Change
from tidemark.access.rights import right_changes
from tidemark.access.roles import Role, drop, drop_changes, read_roles, removed, role_changes
from tidemark.connections import DATABASES, Database, connect, postgres_server
from tidemark.settings import Settings

# Where what was changed is kept: in the database that was changed.
JOURNAL: dict[Database, tuple[str, str]] = {
    "realtime": ("guard", "access_change"), "warehouse": ("ops", "access_change"),
}  # fmt: skip
KEYS = "API keys"
_END = "select pg_terminate_backend(pid) from pg_stat_activity where usename = any(%s)"


class Row(TypedDict):
    """A change, as people and programs see it. `database` is where it is made; a role is its whole server's."""

    database: str
    role: str
    change: str


def plan(settings: Settings, access: Access) -> list[Row]:
    """What `apply` would change, read as `catalog_reader`; nothing is changed."""
    planned: list[Row] = []
    servers: dict[str, list[Database]] = {}
    for database in DATABASES:
        servers.setdefault(str(postgres_server(settings, database)), []).append(database)
    for databases in servers.values():
        for database in databases:
            with connect(settings, database, "catalog_reader", autocommit=True) as connection:
                roles = read_roles(connection, access)
                changes = role_changes(access, roles) if database == databases[0] else []
                changes += right_changes(connection, access, database, _ours(roles))
                if database == databases[-1]:
                    changes += drop_changes(connection, removed(access, roles), list(databases))
                planned += _rows(database, changes)
    return planned + _key_rows(key_file.opening(settings, _is_gone(access)))


def bring_rights(connection: Connection, access: Access, database: Database) -> list[Row]:
    """The roles of the server, and what they may in this database; whose login was taken, his sessions end."""
    with connection.transaction():
        superuser = connection.info.parameter_status("is_superuser") == "on"
        roles = read_roles(connection, access)
        changes = role_changes(access, roles, superuser)
        _execute(connection, changes)
        people.limit_people(connection, access)
        rights = right_changes(connection, access, database, _ours(roles))
        _execute(connection, rights)
        rows = _rows(database, [*changes, *rights])
        _keep(connection, database, rows)
    if ended := [change.role for change in changes if change.ends_sessions]:
        connection.execute(_END, (ended,))
    return rows


def is_new(connection: Connection, access: Access) -> bool:
    """Whether the file was never applied to the server: then nothing that is made is news."""
    return not any(MARKER in role.memberships for role in read_roles(connection, access).values())


def drop_removed(connection: Connection, access: Access, database: Database) -> list[Row]:
    """The roles that are in the file no more; each goes with the last of its rights on the server."""
    with connection.transaction():
        names = [name for name in removed(access, read_roles(connection, access)) if drop(connection, name)]
        rows = _rows(database, [Change(name, "drop the role", ()) for name in names])
        _keep(connection, database, rows)
    return rows


def revoke_keys(settings: Settings, access: Access) -> list[Row]:
    """The API's keys of who is no person and no service any more."""
    return _key_rows(key_file.revoke_where(settings, _is_gone(access)))


def _is_gone(access: Access) -> Callable[[str], bool]:
    return lambda name: name not in access.members


def _key_rows(key_ids: Iterable[str]) -> list[Row]:
    return [{"database": "", "role": KEYS, "change": f"revoke the key {key_id}"} for key_id in key_ids]


def _ours(roles: dict[str, Role]) -> set[str]:
    return set(roles)


def _rows(database: Database, changes: Iterable[Change]) -> list[Row]:
    return [{"database": database, "role": each.role, "change": each.change} for each in changes]


def _execute(connection: Connection, changes: Iterable[Change]) -> None:
    for change in changes:
        for statement in change.statements:
            connection.execute(statement)


def _keep(connection: Connection, database: Database, rows: Iterable[Row]) -> None:
    insert = SQL("insert into {} (role_name, change) values (%s, %s)").format(Identifier(*JOURNAL[database]))
    for row in rows:
        connection.execute(insert, (row["role"], row["change"]))
