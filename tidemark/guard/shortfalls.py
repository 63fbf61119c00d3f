"""What a server does not let the guard do, in sentences: one that somebody else runs."""

from typing import Any

from psycopg import Connection

from tidemark.access.people import GUARD_RIGHTS, WITHHELD
from tidemark.credentials import PEOPLE

_CHECKS = """
select
    array(select right_name from unnest(%(rights)s::text[]) as right_name where not pg_has_role(right_name, 'usage')),
    (select rolcreaterole from pg_roles where rolname = current_user) and not exists (
        select from unnest(%(people)s::text[]) as person
        where not exists (
            select from pg_auth_members
            where roleid = person::regrole and member = current_user::regrole and admin_option
        )
    ),
    exists (
        select from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname = any(%(withheld)s)
        and has_function_privilege(%(person)s, oid, 'execute')
    ),
    current_setting('reserved_connections')::int,
    exists (
        select from pg_db_role_setting cross join lateral unnest(setconfig) as entry
        where setrole = %(person)s::regrole and entry like 'temp\\_file\\_limit=%%'
    ),
    exists (
        select from pg_db_role_setting cross join lateral unnest(setconfig) as entry
        where setrole = %(person)s::regrole and entry = 'log_min_messages=panic'
    ),
    current_setting('max_prepared_transactions')::int,
    has_table_privilege(%(person)s, 'pg_catalog.pg_settings', 'update'),
    exists (select from pg_event_trigger where evtname = 'refuse_people' and evtenabled <> 'D')
"""


def shortfalls(connection: Connection[Any]) -> list[str]:
    """What falls short on the connection's server, each with what its administrator may do about it."""
    parameters = {
        "rights": list(GUARD_RIGHTS), "people": list(PEOPLE), "person": PEOPLE[0], "withheld": list(WITHHELD),
    }  # fmt: skip
    [row] = connection.execute(_CHECKS, parameters).fetchall()
    missing, mends, usable, reserved, files, silent, prepared, settings, refuses = row
    found = []
    if missing:
        found.append(f"it sees and ends sessions of {', '.join(PEOPLE)} alone: `grant {', '.join(missing)} to guard`")
    if not mends:
        found.append(
            "it cannot put back what people change of their roles: `alter role guard createrole`, "
            + ", ".join(f"`grant {person} to guard with admin true, inherit false, set false`" for person in PEOPLE)
        )
    if not reserved:
        found.append("no connections are kept for the parts: set reserved_connections, and grant them its use")
    if usable:
        found.append("people may take advisory locks and write large objects: only a superuser can revoke that")
    if not files:
        found.append(f"temporary files are not limited: `alter role {PEOPLE[0]} set temp_file_limit` by a superuser")
    if settings:
        found.append("people may lock pg_settings: a superuser can `revoke update on pg_settings from public`")
    if not refuses:
        found.append("people may hold up what changes a database: only a superuser can make the event trigger")
    if not silent:
        found.append(
            f"people fill the server's log: `alter role {PEOPLE[0]} set log_min_messages to panic` by a superuser"
        )
    if prepared:
        found.append("people may prepare transactions, which hold locks without a session: max_prepared_transactions")
    return found
