"""What the roles of the access file may do in a database: read there, compared with what the file says.

A team reads whole schemas: what is in them, and by default privileges whatever their owners make in them later, so that
a table that dbt makes anew, or swaps, is read as before. Whoever is in a team has no right of its own.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from psycopg import Connection
from psycopg.sql import SQL, Composable, Composed, Identifier

from tidemark.access.access_file import SCHEMAS, Access
from tidemark.access.change import Change
from tidemark.connections import Database
from tidemark.credentials import API_READER

# What of other schemas goes with one: what was known of the marts, and of which run each is.
AS_OF, RUNS = "asof", ("ops", "publication")

_GRANTED = """
select role.rolname, kind, schema_name, object_name, lower(privilege)
from (
    select 'database' as kind, '' as schema_name, datname as object_name, entry.grantee,
        entry.privilege_type as privilege
    from pg_database cross join lateral aclexplode(datacl) as entry where datname = current_database()
    union all
    select 'schema', nspname, '', entry.grantee, entry.privilege_type
    from pg_namespace cross join lateral aclexplode(nspacl) as entry
    union all
    select 'table', nspname, relname, entry.grantee, entry.privilege_type
    from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace
    cross join lateral aclexplode(relacl) as entry where relkind <> 'S'
    union all
    select 'sequence', nspname, relname, entry.grantee, entry.privilege_type
    from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace
    cross join lateral aclexplode(relacl) as entry where relkind = 'S'
    union all
    select 'column ' || attname, nspname, relname, entry.grantee, entry.privilege_type
    from pg_attribute inner join pg_class on pg_class.oid = attrelid
    inner join pg_namespace on pg_namespace.oid = relnamespace
    cross join lateral aclexplode(attacl) as entry
    union all
    select 'function', nspname, pg_proc.oid::regprocedure::text, entry.grantee, entry.privilege_type
    from pg_proc inner join pg_namespace on pg_namespace.oid = pronamespace
    cross join lateral aclexplode(proacl) as entry
    union all
    select 'default ' || defaclobjtype::text, coalesce(nspname, ''), defaclrole::regrole::text, entry.grantee,
        entry.privilege_type
    from pg_default_acl left join pg_namespace on pg_namespace.oid = defaclnamespace
    cross join lateral aclexplode(defaclacl) as entry
) as granted
inner join pg_roles as role on role.oid = grantee
where %(all)s or role.rolname = any(%(roles)s)
order by 1, 2, 3, 5, 4
"""
# By kind, as a right is granted on it; what a schema's owner makes there later is of the kinds `default`.
_OBJECTS = """
select 'schema' as kind, nspname, '' as object_name, 'usage' as privilege from pg_namespace
where nspname = any(%(schemas)s)
union all
select 'table', nspname, relname, 'select'
from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace
where nspname = any(%(schemas)s) and relkind in ('r', 'v', 'm', 'p', 'f')
union all
select 'default r', nspname, nspowner::regrole::text, 'select' from pg_namespace where nspname = any(%(schemas)s)
union all
select 'default f', nspname, nspowner::regrole::text, 'execute' from pg_namespace where nspname = any(%(functions)s)
union all
select 'function', nspname, pg_proc.oid::regprocedure::text, 'execute'
from pg_proc inner join pg_namespace on pg_namespace.oid = pronamespace where nspname = any(%(functions)s)
"""
_LATER = {
    "default r": "tables",
    "default f": "functions",
    "default S": "sequences",
    "default T": "types",
    "default n": "schemas",
}
MOST_NAMED = 5


class Right(NamedTuple):
    """One privilege of one role on one object."""

    role: str
    kind: str
    schema: str
    name: str
    privilege: str


def granted(connection: Connection, roles: set[str] | None = None) -> list[Right]:
    """What is granted to each of the roles itself (to every role, where none are named), in this database."""
    found = connection.execute(_GRANTED, {"all": roles is None, "roles": sorted(roles or ())}).fetchall()
    return [Right(*row) for row in found]


def wanted(connection: Connection, access: Access, database: Database) -> set[Right]:
    """What the file gives to each team in this database, of what is there now."""
    rights = {Right(API_READER, "database", "", database, "connect")}
    for team, read in access.teams.items():
        schemas = [schema for schema in read if SCHEMAS[schema] == database]
        if not schemas:
            continue
        functions = [AS_OF] if "marts" in schemas else []
        parameters = {"schemas": schemas + functions, "functions": functions}
        rights |= {Right(team, *row) for row in connection.execute(_OBJECTS, parameters).fetchall()}
        rights.add(Right(team, "database", "", database, "connect"))
        if "marts" in schemas:
            rights |= {Right(team, "schema", RUNS[0], "", "usage"), Right(team, "table", *RUNS, "select")}
    return rights


def right_changes(connection: Connection, access: Access, database: Database, roles: set[str]) -> list[Change]:
    """What brings the rights of these roles, and of the file's, to the file; what is granted by hand goes."""
    want, have = wanted(connection, access, database), set(granted(connection, roles | access.roles))
    return [*_grouped("grant", want - have), *_grouped("revoke", have - want)]


def _grouped(verb: str, rights: set[Right]) -> Iterator[Change]:
    """One change for all objects of a kind in a schema."""

    def group(right: Right) -> tuple[str, str, str, str]:
        return right.role, right.kind.split(" ")[0], right.schema, right.privilege

    for (role, _, _, privilege), found in groupby(sorted(rights, key=lambda right: (*group(right), right)), key=group):
        together = list(found)
        on = ", ".join(map(_said, together[:MOST_NAMED]))
        more = f" and {len(together) - MOST_NAMED} more" if len(together) > MOST_NAMED else ""
        yield Change(role, f"{verb} {privilege} on {on}{more}", tuple(_statement(verb, right) for right in together))


def _said(right: Right) -> str:
    if right.kind in _LATER:
        return f"{_LATER[right.kind]} that {right.name} makes in {right.schema or 'any schema'}"
    if right.kind == "function":
        return f"function {right.name}"
    name = ".".join(filter(None, (right.schema, right.name)))
    kind = {"table": ""}.get(right.kind, right.kind) + " of" * right.kind.startswith("column")
    return f"{kind} {name}".strip()


def _statement(verb: str, right: Right) -> Composed:
    """SQL's words for it; signatures and owners' names are quoted by Postgres itself."""
    to_role = SQL("to" if verb == "grant" else "from")
    privilege: Composable = SQL(right.privilege)
    kind: Composable
    if right.kind in _LATER:
        place = SQL("in schema {} ").format(Identifier(right.schema)) if right.schema else SQL("")
        begins = SQL("alter default privileges for role {} {}").format(SQL(right.name), place)
        kind = SQL(_LATER[right.kind])
    else:
        begins = SQL("").format()
        word, _, column = right.kind.partition(" ")
        kind = SQL("table {}" if column else f"{word} {{}}").format(_object(right))
        privilege = SQL("{} ({})").format(privilege, Identifier(column)) if column else privilege
    parts = (begins, SQL(verb), privilege, kind, to_role, Identifier(right.role))
    return SQL("{}{} {} on {} {} {}").format(*parts)


def _object(right: Right) -> Composable:
    if right.kind == "function":
        return SQL(right.name)
    return Identifier(*filter(None, (right.schema, right.name)))


def by_schema(rights: list[Right]) -> Mapping[tuple[str, str, str], list[Right]]:
    """The rights on schemas and what is in them: by role, schema and privilege."""
    found: dict[tuple[str, str, str], list[Right]] = {}
    for right in rights:
        if right.kind != "database" and right.kind not in _LATER:
            found.setdefault((right.role, right.schema, right.privilege), []).append(right)
    return found
