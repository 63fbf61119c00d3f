"""pg_dump and pg_restore of one database: as its administrator, and no password in an argument or a variable."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from flows.backup.manifest import Dump
from flows.backup.snapshots import Held
from tidemark.connections import LIMITS, Database, administrator, postgres_server
from tidemark.credentials import PARTS
from tidemark.errors import StackError, TidemarkError
from tidemark.settings import Settings
from tidemark.stack import postgres
from tidemark.stack.process import server_environment

# Made anew by `tidemark up`, whoever the administrator is: its turn, and what closes a database to people.
_LEFT_OUT = ("--exclude-table=migration.turn", "--exclude-schema=access")
_SCHEMA = re.compile(r"^\d+; \d+ \d+ SCHEMA - (\S+) (\S+)$", re.MULTILINE)
_MADE_BEFORE = re.compile(r"^\d+; \d+ \d+ (SCHEMA|EVENT TRIGGER) - .*\n", re.MULTILINE)
_TABLE_BEGINS = re.compile(r'(?:dumping contents of|processing data for) table "(.+)"')

Begins = Callable[[str], None]  # told each table (schema.name) when its rows begin


def dump(settings: Settings, held: Held, path: Path, begins: Begins) -> int:
    """Write one database as of its snapshot; pg_dump's major version. StackError, a sentence, where it fails."""
    database, major = held.database, held.connection.info.server_version // 10_000
    program, ours = _program("pg_dump", major, f"the server of {database} is of Postgres {major}")
    arguments = ["--format=custom", "--compress=zstd:3", f"--snapshot={held.snapshot}", "--lock-wait-timeout=30s"]
    _run(settings, database, [program, *arguments, *_LEFT_OUT, "--verbose", f"--file={path}"], begins)
    return ours


def restore(settings: Settings, connection: Connection, of: Dump, path: Path, begins: Begins) -> None:
    """Fill a database that has no tables, all or nothing. `connection`: an administrator's, in autocommit."""
    program, _ = _program("pg_restore", of.major, f"pg_dump {of.major} wrote {path}")
    database: Database = "realtime" if of.database == "realtime" else "warehouse"
    listed = _call([program, "--list", str(path)], server_environment())
    _ensure_roles(connection, of)
    for schema, owner in _SCHEMA.findall(listed):
        # Here, as the schema's owner may make none itself, and pg_restore would make it as its own first.
        role = connection.info.user if owner == of.administrator else owner
        statement = SQL("create schema if not exists {} authorization {}")
        connection.execute(statement.format(Identifier(schema), Identifier(role)))
    with _standing_in(connection, of), tempfile.NamedTemporaryFile("w", prefix="tidemark-", suffix=".list") as rest:
        rest.write(_MADE_BEFORE.sub("", listed))
        rest.flush()
        arguments = ["--single-transaction", "--exit-on-error", f"--use-list={rest.name}", "--verbose", str(path)]
        _run(settings, database, [program, *arguments], begins)


@contextmanager
def _standing_in(connection: Connection, of: Dump) -> Iterator[None]:
    """Another administrator's name owns what it owned for as long as the block takes; then it is ours."""
    former, made = Identifier(of.administrator), of.administrator not in _names(connection)
    if of.administrator == connection.info.user:
        yield
        return
    if made:
        connection.execute(SQL("create role {} nologin").format(former))
        parts = SQL(", ").join(map(Identifier, sorted(_names(connection).intersection(PARTS))))
        connection.execute(SQL("grant {} to {}").format(parts, former))
        if not _is_superuser(connection):
            connection.execute(SQL("grant {} to current_user").format(former))
    try:
        owned = "select nspname from pg_namespace where nspowner = current_user::regrole"
        for (schema,) in connection.execute(owned).fetchall():
            connection.execute(SQL("grant create on schema {} to {}").format(Identifier(schema), former))
        yield
    finally:
        connection.execute(SQL("reassign owned by {} to current_user").format(former))
        if made:
            connection.execute(SQL("drop owned by {}").format(former))
            connection.execute(SQL("drop role {}").format(former))


def _names(connection: Connection) -> set[str]:
    return {name for (name,) in connection.execute("select rolname from pg_roles")}


def _is_superuser(connection: Connection) -> bool:
    return connection.info.parameter_status("is_superuser") == "on"


def roles(connection: Connection) -> dict[str, list[str]]:
    """The roles that this database names, and those who are members of one, each with what it is a member of."""
    found = connection.execute("""
        with named as (
            select refobjid as role from pg_shdepend
            where refclassid = 'pg_authid'::regclass
                and dbid = (select oid from pg_database where datname = current_database())
            union select oid from pg_roles where rolname = current_user
        ), known as (
            select role from named
            union select member from pg_auth_members where roleid in (select role from named)
        )
        select rolname, array(select roleid::regrole::text from pg_auth_members where member = pg_roles.oid order by 1)
        from pg_roles inner join known on known.role = pg_roles.oid
        where rolname !~ '^pg_' order by rolname
    """)
    return dict(found.fetchall())


def _ensure_roles(connection: Connection, of: Dump) -> None:
    """The people's roles that are missing: without a password, so that nobody enters before a person gives one."""
    _require_owner(connection, of)
    for name in (missing := missing_roles(connection, of)):
        connection.execute(SQL("create role {} login").format(Identifier(name)))
        if not _is_superuser(connection):
            connection.execute(SQL("grant {} to current_user").format(Identifier(name)))
    there = _names(connection)
    for name in missing:
        for role in sorted(there.intersection(of.roles[name])):
            connection.execute(SQL("grant {} to {}").format(Identifier(role), Identifier(name)))


def _require_owner(connection: Connection, of: Dump) -> None:
    """StackError where what the former administrator owned cannot be given to one of that name, and then to us."""
    if of.administrator not in _names(connection):
        return
    allowed = connection.execute("select pg_has_role(current_user, %s, 'member')", (of.administrator,)).fetchall()
    if allowed != [(True,)]:
        raise StackError(
            f"{of.database}: expected {connection.info.user} to be a member of the role {of.administrator}, which "
            "administrated the server that the backup is of, it is not: grant it, or rename that role while you restore"
        )


def missing_roles(connection: Connection, of: Dump) -> list[str]:
    """The roles that the backup names and the server lacks, less the administrator's."""
    return sorted(of.roles.keys() - _names(connection) - {of.administrator})


def _program(name: str, least: int, why: str) -> tuple[str, int]:
    """A program of Postgres that is new enough, and its major version: the stack's own, else one on PATH."""
    found = []
    for each in (str(postgres.programs() / name), shutil.which(name)):
        if each is not None:
            found.append(_major(each))
            if found[-1] >= least:
                return each, found[-1]
    raise StackError(
        f"expected {name} of Postgres {least} or newer, as {why}, found {', '.join(map(str, found))}: install "
        f"the client programs of Postgres {least} and put them on PATH"
    )


def _major(program: str) -> int:
    said = _call([program, "--version"], server_environment())
    return int(said.split()[2].partition(".")[0])


def _call(argv: Sequence[str], env: dict[str, str]) -> str:
    done = subprocess.run(argv, env={**env, "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"expected {' '.join(argv[:2])} to succeed, it said: {' '.join(done.stderr.split())}")
    return done.stdout


def _run(settings: Settings, database: Database, argv: Sequence[str], begins: Begins) -> None:
    """Run a program on a database; it ends with this call, also on an interrupt."""
    program, said = Path(argv[0]).name, []
    with _service(settings, database) as env, subprocess.Popen(
        [argv[0], "--dbname=service=tidemark", *argv[1:]], env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
    ) as process:  # fmt: skip
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if table := _TABLE_BEGINS.search(line):
                    begins(table[1])
                elif "error:" in line or "detail:" in line:
                    said.append(line.strip())
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise TidemarkError(
            f"{database}: expected {program} to succeed, it said: {' '.join(said) or f'exit code {process.returncode}'}"
        )


@contextmanager
def _service(settings: Settings, database: Database) -> Iterator[dict[str, str]]:
    """The environment in which `service=tidemark` is a database's administrator, the password in a file of ours."""
    server, who = postgres_server(settings, database), administrator(settings, database)
    with tempfile.TemporaryDirectory(prefix="tidemark-") as folder:
        values = {**LIMITS, **server.parameters, "user": who.user, "dbname": database, **who.secret}
        if "password" in values:  # a service file takes blanks from the end of a value
            escaped = re.sub(r"([\\:])", r"\\\1", values.pop("password"))
            values["passfile"] = str(_written(Path(folder) / "password", f"*:*:*:*:{escaped}\n"))
        service = "".join(f"{key}={value}\n" for key, value in values.items())
        path = _written(Path(folder) / "service", f"[tidemark]\n{service}")
        yield {**server_environment(), "LC_ALL": "C", "PGSERVICEFILE": str(path)}


def _written(path: Path, text: str) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path
