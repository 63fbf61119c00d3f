"""The roles of the access file on a server: teams, and the login roles in them.

Which roles are ours the server says itself: the members of MARKER. A person cannot leave it, and the lines of
pg_hba.conf can name it, which they cannot a comment. No role outside of it is touched, but Tidemark's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier, Literal

from tidemark.access.access_file import MARKER, Access, Limits
from tidemark.access.change import Change
from tidemark.access.durations import written
from tidemark.credentials import API_READER, PEOPLE
from tidemark.errors import ConfigurationError

_ROLES = """
select rolname, rolcanlogin, rolconnlimit, coalesce(rolconfig, '{}') from pg_roles
where rolname = any(%s) or oid in (
    select member from pg_auth_members
    where roleid = (select oid from pg_roles where rolname = %s) and not admin_option
)
"""
_MEMBERSHIPS = """
select role.rolname, part_of.rolname, inherit_option, set_option, grantor.rolname
from pg_auth_members as membership
inner join pg_roles as role on role.oid = member
inner join pg_roles as part_of on part_of.oid = roleid
inner join pg_roles as grantor on grantor.oid = membership.grantor
where role.rolname = any(%s)
order by 2
"""
# One that may do more than read was made a member by whoever made MARKER, or by mistake.
_PRIVILEGED = "select rolname from pg_roles where rolsuper or rolcreaterole or rolname = current_user"
_IN_USE = """
select
    coalesce(bool_or(dbid = (select oid from pg_database where datname = current_database())), false),
    coalesce(bool_or(datname is not null and datname <> all(%s)), false)
from pg_shdepend
left join pg_database on pg_database.oid = dbid
where refclassid = 'pg_authid'::regclass and refobjid = (select oid from pg_roles where rolname = %s)
"""

Memberships = dict[str, tuple[bool, bool]]  # of what, and whether its rights are inherited, and it may be set


@dataclass(frozen=True)
class Role:
    """A role as the server has it."""

    name: str
    may_log_in: bool
    connections: int
    settings: list[str]
    memberships: Memberships
    grantors: dict[str, str]


def read_roles(connection: Connection, access: Access) -> dict[str, Role]:
    """Those of ours that the server has, and those of Tidemark's own that are as people.

    ConfigurationError where a name of the file is that of a role which is not ours.
    """
    names = [*PEOPLE, API_READER, *access.roles]
    found = connection.execute(_ROLES, (names, MARKER)).fetchall()
    memberships: dict[str, Memberships] = {name: {} for name, *_ in found}
    grantors: dict[str, dict[str, str]] = {name: {} for name, *_ in found}
    for name, of, *options, grantor in connection.execute(_MEMBERSHIPS, (list(memberships),)).fetchall():
        memberships[name][of], grantors[name][of] = (options[0], options[1]), grantor
    privileged = {name for (name,) in connection.execute(_PRIVILEGED).fetchall()}
    roles = {
        name: Role(name, login, most, settings, memberships[name], grantors[name])
        for name, login, most, settings in found
    }
    for name in sorted(access.roles & roles.keys()):
        if name in privileged or (MARKER not in roles[name].memberships and name not in PEOPLE):
            raise ConfigurationError(
                f"{access.path}, {name}: expected a name that no other role has, the server of "
                f"{connection.info.dbname} has a role of it that does not come from this file: choose another, or, if "
                f'it is meant, `grant {MARKER} to "{name}" with inherit false, set false`'
            )
    return {name: role for name, role in roles.items() if name not in privileged}


def role_changes(access: Access, roles: Mapping[str, Role], by_superuser: bool = True) -> list[Change]:
    """What brings the roles of a server to the file, in the order in which it is done."""
    changes = [*_made(access, roles, by_superuser)]
    for name in sorted(access.roles | {*PEOPLE, API_READER}):
        role = roles.get(name, Role(name, name not in access.teams, 0, [], {}, {}))
        changes += _logins(access, role) if name != API_READER else []
        changes += _memberships(role, _wanted(access, name))
        if name in roles and name not in access.teams:
            changes += _limits(access.limits_of(name), role)
    return changes + [change for name in removed(access, roles) for change in _barred(roles[name])]


def removed(access: Access, roles: Mapping[str, Role]) -> list[str]:
    """The roles that came from the file and are not in it any more."""
    return sorted(name for name in roles if name not in {*access.roles, *PEOPLE, API_READER})


def _wanted(access: Access, name: str) -> Memberships:
    if name == API_READER:
        return dict.fromkeys(access.members, (False, True))
    ours: Memberships = {MARKER: (False, False)} if name in access.roles else {}
    return ours | ({access.members[name]: (True, False)} if name in access.members else {})


def _made(access: Access, roles: Mapping[str, Role], by_superuser: bool) -> Iterator[Change]:
    for name in sorted(access.roles - roles.keys()):
        is_team = name in access.teams
        kind = "team" if is_team else f"member of {access.members[name]}"
        login = SQL("nologin" if is_team else "login")
        made = SQL("create role {} {}").format(Identifier(name), login)
        # An administrator who is no superuser must be a member to end sessions, and to take away what is left.
        joined = () if by_superuser else (SQL("grant {} to current_user").format(Identifier(name)),)
        yield Change(name, f"make the role, a {kind}", (made, *joined))


def _logins(access: Access, role: Role) -> Iterator[Change]:
    wanted = role.name in access.members
    if role.may_log_in != wanted:
        said = "let it log in" if wanted else "let it log in no more, end its sessions"
        statement = SQL("alter role {} {}").format(Identifier(role.name), SQL("login" if wanted else "nologin"))
        yield Change(role.name, said, (statement,), ends_sessions=not wanted)


def _barred(role: Role) -> Iterator[Change]:
    """Of a role that is to go: nobody enters as it, and it is a member of nothing."""
    if role.may_log_in:
        statement = SQL("alter role {} nologin").format(Identifier(role.name))
        yield Change(role.name, "let it log in no more, end its sessions", (statement,), ends_sessions=True)
    yield from _memberships(role, {MARKER: (False, False)})


def _memberships(role: Role, wanted: Memberships) -> Iterator[Change]:
    name = Identifier(role.name)
    for of in sorted(role.memberships.keys() - wanted.keys()):
        statement = SQL("revoke {} from {} granted by {}").format(Identifier(of), name, Identifier(role.grantors[of]))
        yield Change(role.name, f"take it out of {of}", (statement,))
    for of, options in wanted.items():
        if role.memberships.get(of) != options:
            yield Change(role.name, _joins(role.name, of), (_grant(of, name, options),))


def _joins(name: str, of: str) -> str:
    if of == MARKER:
        return "mark it as a role of the access file"
    return f"let the API read as {of}" if name == API_READER else f"make it a member of {of}"


def _grant(of: str, to: Identifier, options: tuple[bool, bool]) -> Composed:
    inherit, may_set = (SQL("true" if option else "false") for option in options)
    return SQL("grant {} to {} with inherit {}, set {}").format(Identifier(of), to, inherit, may_set)


def _limits(limits: Limits, role: Role) -> Iterator[Change]:
    """What `people.limit_people` is about to set; of what only a superuser sets, what one has set before."""
    name, known = Identifier(role.name), dict(entry.split("=", 1) for entry in role.settings)
    if role.connections != limits.connections:
        statement = SQL("alter role {} connection limit {}").format(name, Literal(limits.connections))
        yield Change(role.name, f"connections: {_number(role.connections)} to {limits.connections}", (statement,))
    held = {setting: value for setting, value in limits.held().items() if setting in known}
    for setting, value in {**limits.settings(), **held}.items():
        if known.get(setting) != value:
            said = f"{setting}: {_said(known.get(setting))} to {_said(value)}"
            statement = SQL("alter role {} set {} to {}").format(name, Identifier(setting), Literal(value))
            yield Change(role.name, said, (statement,))


def _number(connections: int) -> str:
    return "any number" if connections < 0 else str(connections)


def _said(value: str | None) -> str:
    if value is None:
        return "none"
    return written(float(value[:-1])) if value[-1] == "s" and value[:-1].replace(".", "").isdigit() else value


def drop_changes(connection: Connection, names: list[str], databases: list[str]) -> list[Change]:
    """The roles to drop that nothing outside of our databases on the server names; the others stay, without a login."""
    found = []
    for name in names:
        [(_, elsewhere)] = connection.execute(_IN_USE, (databases, name)).fetchall()
        if not elsewhere:
            found.append(Change(name, "drop the role", ()))
    return found


def drop(connection: Connection, name: str) -> bool:
    """Take all that is left of its rights in this database, and drop the role where that was the last; whether it was.

    No role of the file owns anything: people make nothing.
    """
    [(here, _)] = connection.execute(_IN_USE, ([], name)).fetchall()
    if here:
        connection.execute(SQL("drop owned by {}").format(Identifier(name)))
    count: Any = connection.execute(
        "select count(*) from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = %s::regrole", (name,)
    ).fetchone()
    if count != (0,):
        return False
    connection.execute(SQL("drop role {}").format(Identifier(name)))
    return True
