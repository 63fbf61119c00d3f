"""Where the servers are, and who may enter: addresses from the state folder or the environment, one DSN per role."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from tidemark.errors import ConfigurationError, StackError
from tidemark.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

Database = Literal["realtime", "warehouse"]
DATABASES: tuple[Database, ...] = ("realtime", "warehouse")

OWNER = "owner"
# One role per part, each with its own schemas; the migrations say what each may do.
ROLES = ("stream_writer", "ingest_writer", "promoter", "transformer", "catalog_reader", "bi_reader")

LOCAL_ADMINISTRATOR = "tidemark"  # the local Postgres's superuser; on a server named by a variable, the URL's user


@dataclass(frozen=True)
class PostgresServer:
    """A Postgres server and its administrator."""

    host: str
    port: int
    administrator: str
    password: str
    options: tuple[tuple[str, str], ...] = ()  # what else the URL says (sslmode, ..)


def passwords_path(settings: Settings) -> Path:
    """The generated passwords: one JSON object, role to password, readable by the owner alone."""
    return settings.home / "passwords.json"


def passwords(settings: Settings) -> dict[str, str]:
    """Role to password; StackError where `tidemark up` has not run."""
    try:
        found: dict[str, str] = json.loads(passwords_path(settings).read_text())
    except FileNotFoundError:
        raise StackError(
            f"expected the passwords of a stack in {settings.home}, found none: run `tidemark up` first, "
            "or set TIDEMARK_HOME to the state folder of the stack that you mean"
        ) from None
    return found


def postgres_server(settings: Settings, database: Database) -> PostgresServer:
    """The server of one database: the one that the variable names, else the local one."""
    url = settings.realtime_url if database == "realtime" else settings.warehouse_url
    if url is None:
        local = passwords(settings)[LOCAL_ADMINISTRATOR]
        return PostgresServer("127.0.0.1", settings.postgres_port, LOCAL_ADMINISTRATOR, local)
    return _parse(url.get_secret_value(), f"TIDEMARK_{database.upper()}_URL")


def _parse(url: str, variable: str) -> PostgresServer:
    """The server of an administrator's URL. No message holds any of it: a typing error may be in the password."""
    expected = f"{variable}: expected postgresql://user:password@host:port (percent-encode special characters)"
    try:
        parts = conninfo_to_dict(url)
        port = int(parts.get("port") or 5432)
    except (ProgrammingError, ValueError):
        raise ConfigurationError(f"{expected}, received what cannot be read as that") from None
    for needed in ("host", "user"):
        if not parts.get(needed):
            raise ConfigurationError(f"{expected}, no {needed} in it")
    rest = tuple((k, str(v)) for k, v in parts.items() if k not in {"host", "port", "user", "password", "dbname"})
    return PostgresServer(str(parts["host"]), port, str(parts["user"]), str(parts.get("password") or ""), rest)


def dsn(settings: Settings, database: str, role: str = OWNER) -> str:
    """The Postgres URL of one database for one role (`owner`, or one of ROLES). It holds a password: never log it."""
    if database not in DATABASES:
        raise ConfigurationError(f"expected a database of {', '.join(DATABASES)}, received {database!r}")
    server = postgres_server(settings, database)  # type: ignore[arg-type]
    if role == OWNER:
        user, password = server.administrator, server.password
    elif role in ROLES:
        user, password = role, passwords(settings)[role]
    else:
        raise ConfigurationError(f"expected a role of {', '.join((OWNER, *ROLES))}, received {role!r}")
    options = "&".join(f"{key}={quote(value, safe='')}" for key, value in server.options)
    address = f"{quote(user, safe='')}:{quote(password, safe='')}@{server.host}:{server.port}/{database}"
    return f"postgresql://{address}" + (f"?{options}" if options else "")


def connect(settings: Settings, database: str, role: str, **options: Any) -> "Connection[Any]":
    """A connection, to be closed by `with`; StackError, which may be retried, where the server does not answer."""
    import psycopg

    try:
        return psycopg.connect(dsn(settings, database, role), **options)
    except psycopg.OperationalError as failure:
        received = str(failure).partition("\n")[0]
        error = StackError(f"expected the database {database} to answer, received {received}: see `tidemark status`")
        error.retriable = True
        raise error from None


def kafka_bootstrap(settings: Settings) -> str:
    """host:port of the broker to begin with."""
    return settings.kafka_bootstrap or f"127.0.0.1:{settings.kafka_port}"


def lake_url(settings: Settings) -> str:
    """The lake's root: an fsspec URL without a slash at its end."""
    return (settings.lake_url or (settings.home.resolve() / "lake").as_uri()).rstrip("/")


def prefect_url(settings: Settings) -> str:
    """Prefect's API URL, ending in /api."""
    return settings.prefect_url or f"http://127.0.0.1:{settings.prefect_port}/api"


HomeKind = Literal["live", "replay"]


def home_kind(settings: Settings) -> HomeKind:
    """Whether the state folder holds live topics (the broker's clock counts) or a replay (the event's own does)."""
    path = settings.home / "mark"
    return "replay" if path.exists() and path.read_text().strip() == "replay" else "live"


def refuse_a_replay(settings: Settings) -> None:
    """StackError where the state folder is a demo's: what a live source sent to it would be lost."""
    if home_kind(settings) == "replay":
        raise StackError(
            f"expected a state folder for live sources, {settings.home} is a demo's replay, which the next demo makes "
            "anew: set TIDEMARK_HOME to another folder, and run `tidemark up`"
        )
