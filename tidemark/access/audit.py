"""Who may what, read in the databases and not in the file: rights by team and by hand, last uses, keys, changes."""

import time
from datetime import UTC, datetime
from typing import Any, TypedDict

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from tidemark.access import key_file, keys
from tidemark.access.access_file import MARKER, SCHEMAS
from tidemark.access.bring import JOURNAL
from tidemark.access.rights import AS_OF, Right, by_schema, granted
from tidemark.connections import DATABASES, Database, connect
from tidemark.credentials import PARTS
from tidemark.output import utc
from tidemark.settings import Settings

READER = "catalog_reader"
SUPERUSER = "administrator"
BY_HAND = "directly, by hand"

# Each role that is no part, and every role whose rights it has without a word: itself, and what it inherits.
_HAS = """
select role.rolname, part_of.rolname
from pg_roles as role inner join pg_roles as part_of on pg_has_role(role.oid, part_of.oid, 'usage')
where role.rolcanlogin and not role.rolsuper and role.rolname <> all(%s) and part_of.rolname !~ '^pg_'
order by 1, 2
"""
_ROLES = """
select
    role.rolname,
    role.rolcanlogin,
    role.rolsuper,
    exists (
        select from pg_auth_members inner join pg_roles as marker on marker.oid = roleid
        where member = role.oid and marker.rolname = %s and not admin_option
    ),
    array(
        select part_of.rolname from pg_auth_members inner join pg_roles as part_of on part_of.oid = roleid
        where member = role.oid and inherit_option and part_of.rolname <> %s order by 1
    )
from pg_roles as role
where role.rolname !~ '^pg_' and role.rolname <> all(%s) and role.rolname <> %s
order by role.rolcanlogin, 1
"""


class Audit(TypedDict):
    """Four tables, a row each thing that is so."""

    roles: list[dict[str, Any]]
    rights: list[dict[str, Any]]
    keys: list[dict[str, Any]]
    changes: list[dict[str, Any]]


def audit(settings: Settings, changes: int) -> Audit:
    """Everything, with the last so many changes. StackError where a database does not answer."""
    rights: list[dict[str, Any]] = []
    made: list[dict[str, Any]] = []
    roles: dict[str, dict[str, Any]] = {}
    for database in DATABASES:
        with connect(settings, database, READER, autocommit=True) as connection:
            roles = _roles(connection) | roles  # of two servers, each has them
            rights += _rights(connection, database)
            made += _changes(connection, database, changes)
            if database == "realtime":
                seen = dict(connection.execute("select role_name, last_seen_at from guard.role_seen").fetchall())
    listed = key_rows(settings)
    for name, role in roles.items():
        role["last_session"] = utc(seen[name]) if name in seen else None
        role["last_key_use"] = max((row["last_use"] or "" for row in listed if row["name"] == name), default="") or None
    latest = sorted(made, key=lambda row: str(row["at"]), reverse=True)[:changes]
    return {"roles": list(roles.values()), "rights": rights, "keys": listed, "changes": latest}


def _roles(connection: Connection[Any]) -> dict[str, dict[str, Any]]:
    found = connection.execute(_ROLES, (MARKER, MARKER, list(PARTS), MARKER)).fetchall()
    return {
        name: {"role": name, "kind": _kind(login, superuser, ours), "member_of": ", ".join(teams)}
        for name, login, superuser, ours, teams in found
    }


def _kind(login: bool, superuser: bool, ours: bool) -> str:
    if superuser:
        return SUPERUSER
    kind = "login" if login else "team"
    return kind if ours else f"{kind}, not of the access file"


def _rights(connection: Connection[Any], database: Database) -> list[dict[str, Any]]:
    """A row a role, schema and privilege, with how it came to it."""
    own = by_schema(granted(connection))
    rows = []
    for name, of in connection.execute(_HAS, (list(PARTS),)).fetchall():
        for (role, schema, privilege), rights in own.items():
            if role == of and (schema in SCHEMAS or schema == AS_OF or name == of):
                row = {"role": name, "database": database, "schema": schema, "right": privilege}
                rows.append(row | {"on": _on(rights), "by": BY_HAND if name == of else of})
    return rows


def _on(rights: list[Right]) -> str:
    names = sorted({right.name or right.schema for right in rights})
    return names[0] if len(names) == 1 else f"{len(names)} objects"


def _changes(connection: Connection[Any], database: Database, most: int) -> list[dict[str, Any]]:
    query = SQL("select changed_at, role_name, change from {} order by change_id desc limit %s")
    found = connection.execute(query.format(Identifier(*JOURNAL[database])), (most,)).fetchall()
    return [{"at": utc(at), "database": database, "role": role, "change": change} for at, role, change in found]


def key_rows(settings: Settings) -> list[dict[str, Any]]:
    """The API's keys, never what opens: whose, until when, what they may, and when each was used last."""
    uses, now = keys.last_uses(settings), time.time()
    return [
        {
            "key": key_id,
            "name": one["name"],
            "state": key_file.state_of(one, now),
            "made": utc(one["made_at"]),
            "expires": utc(one["expires_at"]),
            "scope": ", ".join(one["scope"]) or "all of its team",
            "requests_per_second": one["requests_per_second"],
            "last_use": utc(datetime.fromtimestamp(uses[key_id], UTC)) if key_id in uses else None,
        }
        for key_id, one in sorted(key_file.read(settings).items(), key=lambda item: item[1]["made_at"])
    ]
