"""People are limited: what their roles may take, and what of a database they may not use at all.

Postgres lets a role lift its own time-outs and change its own password. What it cannot lift is set here: connections,
temporary files, rights. The rest is the guard's (tidemark/guard/), who gets its own rights here too.
"""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from psycopg import Connection
from psycopg.errors import InsufficientPrivilege
from psycopg.sql import SQL, Composed, Identifier, Literal

from tidemark.access.access_file import Access
from tidemark.credentials import API_READER, PARTS, PEOPLE

PARTS_LOCK_TIMEOUT = "60s"  # whichever library opened the session; a part that knows better says so
GUARD_RIGHTS = ("pg_signal_backend", "pg_read_all_stats")
LOOKING_RIGHTS = ("pg_read_all_stats",)  # of catalog_reader: whose transactions hang is seen, and nothing is ended
# Functions of everybody's with which a reader can hold a key, fill the disk or the log, or lock what others read.
WITHHELD = (
    "pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared",
    "pg_try_advisory_lock", "pg_try_advisory_lock_shared", "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared", "lo_creat", "lo_create", "lo_from_bytea", "lo_open", "lo_put", "lowrite",
    "lo_truncate", "lo_truncate64", "lo_unlink", "lo_import", "lo_export", "pg_logical_emit_message",
)  # fmt: skip
_PUBLIC_FUNCTIONS = """
select function.oid::regprocedure::text from pg_proc as function
cross join lateral aclexplode(coalesce(proacl, acldefault('f', proowner))) as entry
where pronamespace = 'pg_catalog'::regnamespace and proname = any(%s) and entry.grantee = 0
order by 1
"""
_PUBLIC_SETTINGS = """
select from pg_class cross join lateral aclexplode(relacl) as entry
where oid = 'pg_catalog.pg_settings'::regclass and entry.grantee = 0 and entry.privilege_type = 'UPDATE'
"""

_REFUSING = """
select from pg_event_trigger inner join pg_proc on pg_proc.oid = evtfoid
where evtname = 'refuse_people' and evtenabled <> 'D' and prosrc = %s
"""


HELD = ("log_min_messages", "temp_file_limit")  # by a superuser: no session of a person lifts them


def _try(connection: Connection, statement: SQL | Composed) -> None:
    """What an administrator of a server of others may not do falls short, and the guard says so."""
    with suppress(InsufficientPrivilege), connection.transaction():
        connection.execute(statement)


def _set(connection: Connection, role: str, settings: dict[str, str], known: list[str]) -> None:
    for setting, value in settings.items():
        if f"{setting}={value}" not in known:
            statement = SQL("alter role {} set {} to {}")
            _try(connection, statement.format(Identifier(role), Identifier(setting), Literal(value)))


def limit_parts(connection: Connection) -> None:
    """Give the parts and the guard what they have before people; for the whole server."""
    found = connection.execute(
        "select rolname, coalesce(rolconfig, '{}') from pg_roles where rolname = any(%s)", (list(PARTS),)
    )
    for part, known in found.fetchall():
        _set(connection, part, {"lock_timeout": PARTS_LOCK_TIMEOUT}, known)
        _try(connection, SQL("grant pg_use_reserved_connections to {}").format(Identifier(part)))
    for right in GUARD_RIGHTS:
        _try(connection, SQL("grant {} to guard").format(Identifier(right)))
    for right in LOOKING_RIGHTS:
        _try(connection, SQL("grant {} to catalog_reader").format(Identifier(right)))


def limit_people(connection: Connection, access: Access) -> None:
    """Limit people's roles that are there, and let the guard put back what they change; for the whole server."""
    found = connection.execute(
        "select rolname, rolconnlimit, coalesce(rolconfig, '{}') from pg_roles where rolname = any(%s) order by 1",
        ([*PEOPLE, API_READER, *access.members],),
    ).fetchall()
    for role, connections, known in found:
        own = access.limits_of(role)
        if connections != own.connections:
            statement = SQL("alter role {} connection limit {}")
            connection.execute(statement.format(Identifier(role), Literal(own.connections)))
        _set(connection, role, {**own.settings(), **own.held()}, known)
    _let_mend(connection, [role for role, *_ in found])


def _let_mend(connection: Connection, people: Collection[str]) -> None:
    """ADMIN on people's roles; and their rights, where only who has those may end their sessions."""
    signals = connection.execute("select pg_has_role('guard', 'pg_signal_backend', 'usage')").fetchone() == (True,)
    inherit = SQL("false" if signals else "true")
    _try(connection, SQL("alter role guard createrole"))
    for role in people:
        grant = SQL("grant {} to guard with admin true, inherit {}, set false")
        _try(connection, grant.format(Identifier(role), inherit))


def close_database(connection: Connection) -> None:
    """Take from everybody, in this database, what nobody here needs and a reader could hold up others by."""
    for (function,) in connection.execute(_PUBLIC_FUNCTIONS, (list(WITHHELD),)).fetchall():
        _try(connection, SQL("revoke execute on function {} from public").format(SQL(function)))
    if connection.execute(_PUBLIC_SETTINGS).rowcount:  # the right to update is the right to lock it from all readers
        _try(connection, SQL("revoke update on pg_catalog.pg_settings from public"))
    refusal = SQL(Path(__file__).with_name("people.sql").read_text()).format(parts=Literal(list(PARTS)))
    _, body, _ = refusal.as_string(connection).split("$$")
    if not connection.execute(_REFUSING, (body,)).rowcount:
        _try(connection, refusal)


def close_others(connection: Connection) -> None:
    """On a server that is ours alone: nobody but the administrator has business in the databases that it came with."""
    for name in ("postgres", "template1"):
        connection.execute(SQL("revoke all on database {} from public").format(Identifier(name)))
