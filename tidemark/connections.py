"""Where the servers are, and who may enter: addresses from the state folder or the environment, one DSN per role."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from tidemark.credentials import ADMINISTRATOR, LOCAL_ADMINISTRATOR, OWNER, PREFECT, ROLES, credential
from tidemark.errors import ConfigurationError, StackError
from tidemark.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

Database = Literal["realtime", "warehouse"]
DATABASES: tuple[Database, ...] = ("realtime", "warehouse")


_NOT_OPTIONS = {"host", "port", "user", "password", "dbname"}
# What every client of Postgres demands: a squatter on the server's port then gets no password, only a SCRAM proof.
REQUIRED_AUTHENTICATION = "scram-sha-256"
# What a server that is gone, or a network that swallows all, may take of a client's time; a URL may say otherwise.
LIMITS = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
# The same for a stream, which goes on as soon as it can; no URL says otherwise.
PROMPT_LIMITS: dict[str, Any] = {
    "connect_timeout": "5",
    "tcp_user_timeout": "15000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}
FULL_SECONDS = 20.0
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_UNFIT_PREFIX = re.compile(r"[?#\x00-\x1f]|/\.{0,2}/(?!$)|/\.{1,2}/$")
FULL_RETRY_SECONDS = 0.2


@dataclass(frozen=True)
class PostgresServer:
    """The address of a Postgres server, without anybody's credentials."""

    host: str
    port: int
    options: tuple[tuple[str, str], ...] = (("require_auth", REQUIRED_AUTHENTICATION),)  # and what the URL says


@dataclass(frozen=True)
class Administrator:
    """Who sets up a server: a superuser, or one with CREATEDB and CREATEROLE. Only `up` and `env` ask for it."""

    user: str
    password: str = field(repr=False)


def postgres_server(settings: Settings, database: Database) -> PostgresServer:
    """The server of one database: the one that the variable names, else the local one."""
    url = _url(settings, database)
    if url is None:
        return PostgresServer("127.0.0.1", settings.postgres_port)
    parts = _parse(url, _variable(database))
    # TIDEMARK_*_URL may say otherwise, where a server of others knows no SCRAM.
    options = {"require_auth": REQUIRED_AUTHENTICATION} | {
        key: str(value) for key, value in parts.items() if key not in _NOT_OPTIONS
    }
    return PostgresServer(str(parts["host"]), int(parts.get("port") or 5432), tuple(options.items()))


def administrator(settings: Settings, database: Database) -> Administrator:
    """Who sets up the server of one database; ConfigurationError where its variable names nobody."""
    url = _url(settings, database)
    if url is None:
        return Administrator(LOCAL_ADMINISTRATOR, credential(settings, ADMINISTRATOR))
    parts = _parse(url, _variable(database))
    if not parts.get("user"):
        raise ConfigurationError(f"{_expected(_variable(database))} of an administrator, no user in it")
    return Administrator(str(parts["user"]), str(parts.get("password") or ""))


def is_local(settings: Settings, database: Database) -> bool:
    """Whether the server of a database is the local one, which is ours alone."""
    return _url(settings, database) is None


def _url(settings: Settings, database: Database) -> str | None:
    url = settings.realtime_url if database == "realtime" else settings.warehouse_url
    return None if url is None else url.get_secret_value()


def _variable(database: Database) -> str:
    return f"TIDEMARK_{database.upper()}_URL"


def _expected(variable: str) -> str:
    return f"{variable}: expected postgresql://user:password@host:port (percent-encode special characters)"


def _parse(url: str, variable: str) -> dict[str, Any]:
    """The parts of a URL. No message holds any of it: a typing error may be in the password."""
    try:
        parts = conninfo_to_dict(url)
        int(parts.get("port") or 5432)
    except (ProgrammingError, ValueError):
        raise ConfigurationError(f"{_expected(variable)}, received what cannot be read as that") from None
    if not parts.get("host"):
        raise ConfigurationError(f"{_expected(variable)}, no host in it")
    return parts


def without_credentials(url: str) -> str:
    """The same address of a Postgres server without user and password, for the processes that need neither."""
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError:
        return url  # whoever reads it says what is wrong with it
    rest = {key: str(value) for key, value in parts.items() if key not in {"user", "password", "dbname"}}
    database, host, port = quote(str(parts.get("dbname") or ""), safe=""), rest.get("host", ""), rest.get("port", "")
    if "," in host + port:  # whoever reads it says that one is expected
        return f"postgresql:///{database}{_query(rest)}"
    options = {key: value for key, value in rest.items() if key not in _NOT_OPTIONS}
    return f"postgresql://{_host(host)}{f':{port}' if port else ''}/{database}{_query(options)}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host, safe=",")


def _query(options: Mapping[str, str]) -> str:
    return "?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in options.items()) if options else ""


def dsn(settings: Settings, database: str, role: str = OWNER) -> str:
    """The Postgres URL of one database for one role (`owner`, or one of ROLES). It holds a password: never log it."""
    known = _known(database)
    if role == OWNER:
        owner = administrator(settings, known)
        user, password = owner.user, owner.password
    elif role in ROLES:
        user, password = role, credential(settings, role)
    else:
        raise ConfigurationError(f"expected a role of {', '.join((OWNER, *ROLES))}, received {role!r}")
    server = postgres_server(settings, known)
    address = f"{quote(user, safe='')}:{quote(password, safe='')}@{_host(server.host)}:{server.port}/{database}"
    return f"postgresql://{address}{_query(dict(server.options))}"


def _known(database: str) -> Database:
    for known in DATABASES:
        if known == database:
            return known
    raise ConfigurationError(f"expected a database of {', '.join(DATABASES)}, received {database!r}")


def connect(settings: Settings, database: str, role: str, **options: Any) -> "Connection[Any]":
    """A connection, to be closed by `with`; StackError, which may be retried, where the server does not answer.

    A server whose connections are all taken is asked again, for FULL_SECONDS at most.
    """
    import psycopg
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

    asked = LIMITS | dict(postgres_server(settings, _known(database)).options) | options
    while_full = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, psycopg.OperationalError) and is_full(str(error))),
        wait=wait_fixed(FULL_RETRY_SECONDS),
        stop=stop_after_delay(FULL_SECONDS),
        reraise=True,
    )
    try:
        return while_full(psycopg.connect, dsn(settings, database, role), **asked)
    except psycopg.OperationalError as failure:
        received = str(failure).partition("\n")[0]
        error = StackError(f"expected the database {database} to answer, received {received}: see `tidemark status`")
        error.retriable = True
        raise error from None


def is_full(refusal: str) -> bool:
    """Whether a server refused a connection because others have them all; libpq gives no code of it."""
    return "too many clients" in refusal or "connection slots are reserved" in refusal


def is_wrong_password(refusal: str) -> bool:
    """Whether a server refused a connection for its password; libpq gives no code of it.

    A server that lets md5 in asks for it where a role's password was set so: libpq then keeps the password to itself.
    """
    return "password authentication failed" in refusal or "server requested a hashed password" in refusal


def kafka_bootstrap(settings: Settings) -> str:
    """host:port of the broker to begin with."""
    return settings.kafka_bootstrap or f"127.0.0.1:{settings.kafka_port}"


def lake_url(settings: Settings) -> str:
    """The lake's root: an fsspec URL without a slash at its end; a local path stands in it as it is (fsspec's way)."""
    path = _lake_path(settings)
    return (settings.lake_url or "").rstrip("/") if path is None else f"file://{path}"


def encoded_lake_url(settings: Settings) -> str:
    """The same for who decodes a URL, as dlt does."""
    path = _lake_path(settings)
    return lake_url(settings) if path is None else f"file://{quote(str(path))}"


def _lake_path(settings: Settings) -> Path | None:
    """The absolute path of a lake on this machine; None for another. Only in a URL is a percent sign an escape."""
    url = settings.lake_url or ""
    scheme, separator, rest = url.partition(":")
    if not url:
        path = settings.home / "lake"
    elif not separator or "/" in scheme:
        path = Path(url)
    elif scheme in {"file", "local"}:
        path = Path(unquote(rest.removeprefix("//localhost").removeprefix("//")))
    elif scheme == "s3":
        _refuse_no_place_on_s3(rest)
        return None
    else:
        raise ConfigurationError(
            f"TIDEMARK_LAKE_URL: expected a folder's path, file:///folder or s3://bucket/prefix, received {scheme}:, "
            "where this version cannot store"
        )
    try:
        return path.expanduser().resolve()
    except RuntimeError as error:  # ~nobody/..
        raise ConfigurationError(f"TIDEMARK_LAKE_URL: expected a path or a URL, received {url} ({error})") from None


def _refuse_no_place_on_s3(rest: str) -> None:
    """ConfigurationError where it is no //bucket/prefix; no message holds any of it: a key may be in it."""
    bucket, _, prefix = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(
            "TIDEMARK_LAKE_URL: expected s3://bucket/prefix, received no bucket's name there (credentials go into "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, another server into AWS_ENDPOINT_URL)"
        )
    if _UNFIT_PREFIX.search(f"/{prefix.rstrip('/')}/"):
        raise ConfigurationError(
            "TIDEMARK_LAKE_URL: expected s3://bucket/prefix whose prefix names folders, none of them empty, . or .., "
            "without ? and #, received another"
        )


def prefect_url(settings: Settings) -> str:
    """Prefect's API URL, ending in /api."""
    return settings.prefect_url or f"http://127.0.0.1:{settings.prefect_port}/api"


def local_prefect_auth_string(settings: Settings) -> str:
    """What the local Prefect server asks for: user:password. Whoever holds it runs code as the server's owner."""
    return f"{LOCAL_ADMINISTRATOR}:{credential(settings, PREFECT)}"


def prefect_auth_string(settings: Settings) -> str | None:
    """What Prefect's API asks for; None where a variable names the server and none its string.

    A server that a variable names is never given the local one's. Before it is sent to the local server,
    tidemark.stack.prefect.prefect_login makes sure that it is that server which listens.
    """
    if settings.prefect_url is None:
        return local_prefect_auth_string(settings)
    named = settings.prefect_auth_string
    return None if named is None else named.get_secret_value()


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
