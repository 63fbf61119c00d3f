"""What a server does not let the guard do, in sentences: one that somebody else runs."""

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from tidemark.access.access_file import MARKER
from tidemark.access.people import GUARD_RIGHTS, WITHHELD
from tidemark.credentials import API_READER, PEOPLE

NAMED = 5  # of the roles that fall short alike

# Every role that is limited: each person and service of the access file, what is always there, and the read API.
# Who created the marker is a member of it too, without what members have.
_CHECKS = """
with people as (
    select role.oid, role.rolname::text as name from pg_roles as role
    where role.rolcanlogin and (
        role.rolname = any(%(own)s) or exists (
            select from pg_auth_members
            where member = role.oid and roleid = to_regrole(%(marker)s) and inherit_option
        )
    )
),
kept as (
    select people.name, entry from people
    inner join pg_db_role_setting on setrole = people.oid
    cross join lateral unnest(setconfig) as entry
)
select
    array(select name from people order by name),
    array(select right_name from unnest(%(rights)s::text[]) as right_name where not pg_has_role(right_name, 'usage')),
    (select rolcreaterole from pg_roles where rolname = current_user),
    array(
        select name from people
        where not exists (
            select from pg_auth_members
            where roleid = people.oid and member = current_user::regrole and admin_option
        )
        order by name
    ),
    array(
        select name from people
        where exists (
            select from pg_proc where pronamespace = 'pg_catalog'::regnamespace and proname = any(%(withheld)s)
            and has_function_privilege(people.oid, pg_proc.oid, 'execute')
        )
        order by name
    ),
    current_setting('reserved_connections')::int,
    array(
        select name from people
        where not exists (select from kept where kept.name = people.name and entry like 'temp\\_file\\_limit=%%')
        order by name
    ),
    array(
        select name from people
        where not exists (select from kept where kept.name = people.name and entry = 'log_min_messages=panic')
        order by name
    ),
    current_setting('max_prepared_transactions')::int,
    array(
        select name from people where has_table_privilege(oid, 'pg_catalog.pg_settings', 'update') order by name
    ),
    exists (select from pg_event_trigger where evtname = 'refuse_people' and evtenabled <> 'D')
"""


def shortfalls(connection: Connection[Any]) -> list[str]:
    """What falls short on the connection's server, each with what its administrator may do about it."""
    parameters = {
        "rights": list(GUARD_RIGHTS), "own": [*PEOPLE, API_READER], "marker": MARKER, "withheld": list(WITHHELD),
    }  # fmt: skip
    [row] = connection.execute(_CHECKS, parameters).fetchall()
    people, missing, creates, unmended, usable, reserved, files, silent, prepared, settings, refuses = row
    found = []
    if missing:
        found.append(f"it sees and ends sessions of {_named(people)} alone: `grant {', '.join(missing)} to guard`")
    if unmended or not creates:
        found.append(
            f"it cannot put back what {_named(unmended or people)} may change of their roles: `alter role guard "
            "createrole`, and of each `grant ROLE to guard with admin true, inherit false, set false`"
        )
    if not reserved:
        found.append("no connections are kept for the parts: set reserved_connections, and grant them its use")
    if usable:
        found.append(
            f"{_named(usable)} may take advisory locks and write large objects: only a superuser can revoke that"
        )
    if files:
        found.append(
            f"temporary files of {_named(files)} are not limited: `alter role ROLE set temp_file_limit` by a superuser"
        )
    if settings:
        found.append(
            f"{_named(settings)} may lock pg_settings: a superuser can `revoke update on pg_settings from public`"
        )
    if not refuses:
        found.append("people may hold up what changes a database: only a superuser can make the event trigger")
    if silent:
        found.append(
            f"{_named(silent)} may fill the server's log: `alter role ROLE set log_min_messages to panic` by a "
            "superuser"
        )
    if prepared:
        found.append("people may prepare transactions, which hold locks without a session: max_prepared_transactions")
    return found


def _named(roles: Sequence[str]) -> str:
    more = f" and {len(roles) - NAMED} more" if len(roles) > NAMED else ""
    return ", ".join(roles[:NAMED]) + more
