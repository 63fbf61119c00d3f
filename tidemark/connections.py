"""Where the servers are, and who may enter: addresses from the state folder or the environment, one DSN per role."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tidemark.credentials import ADMINISTRATOR, LOCAL_ADMINISTRATOR, OWNER, PREFECT, ROLES, credential
from tidemark.errors import ConfigurationError, StackError
from tidemark.refusals import what_to_do
from tidemark.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

Database = Literal["realtime", "warehouse"]
DATABASES: tuple[Database, ...] = ("realtime", "warehouse")


# What proves who the administrator is, instead of a password too; no other role has any of it.
_PROOFS = ("password", "passfile", "scram_client_key", "scram_server_key", "oauth_client_secret")
_OF_WHO_ENTERS = {"user", "dbname", "sslpassword", *_PROOFS}
DEFAULT_PORT = "5432"
LONGEST_SOCKET_PATH = 107  # bytes, of the system
# Models and checks ask with pg_input_is_valid, and ADMIN on a role is a right of its own.
OLDEST_MAJOR = 16
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
FULL_RETRY_SECONDS = 0.2


@dataclass(frozen=True)
class PostgresServer:
    """The address of a Postgres server in libpq's keywords (host, port, sslmode, ..), without anybody's credentials."""

    parameters: Mapping[str, str]

    @property
    def hosts(self) -> list[tuple[str, str]]:
        """Host (a name, an address, a folder with a socket) and port of each of its hosts, in the order of the URL."""
        hosts = (self.parameters.get("host") or self.parameters["hostaddr"]).split(",")
        ports = self.parameters["port"].split(",")
        return [
            (host, port or DEFAULT_PORT) for host, port in zip(hosts, ports * (len(hosts) // len(ports)), strict=True)
        ]

    def __str__(self) -> str:
        return ",".join(
            f"[{host}]:{port}" if ":" in host and host[0] != "/" else f"{host}:{port}" for host, port in self.hosts
        )


@dataclass(frozen=True)
class Administrator:
    """Who sets up a server: a superuser, or one with CREATEDB and CREATEROLE. Only `up` and `env` ask for it."""

    user: str
    secret: Mapping[str, str] = field(
        repr=False
    )  # those of _PROOFS that the URL has; nothing, where a certificate is it


def postgres_server(settings: Settings, database: Database) -> PostgresServer:
    """The server of one database: the one that the variable names, else the local one."""
    url = _url(settings, database)
    # TIDEMARK_*_URL may say otherwise, where a server of others knows no SCRAM.
    required = {"require_auth": REQUIRED_AUTHENTICATION}
    if url is None:
        local = {"host": "127.0.0.1", "port": str(settings.postgres_port)}
        if (
            settings.postgres_tls is not None
        ):  # TLS is for who comes from elsewhere: on loopback it costs, and hides nothing
            local["sslmode"] = "disable"
        return PostgresServer(required | local)
    parts = _parse(url, _variable(database))
    return PostgresServer(required | {key: value for key, value in parts.items() if key not in _OF_WHO_ENTERS})


def administrator(settings: Settings, database: Database) -> Administrator:
    """Who sets up the server of one database; ConfigurationError where its variable names nobody."""
    url = _url(settings, database)
    if url is None:
        return Administrator(LOCAL_ADMINISTRATOR, {"password": credential(settings, ADMINISTRATOR)})
    parts = _parse(url, _variable(database))
    if not parts.get("user"):
        raise ConfigurationError(f"{_expected(_variable(database))} of an administrator, no user in it")
    return Administrator(parts["user"], {key: parts[key] for key in _PROOFS if key in parts})


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


def _parse(url: str, variable: str) -> dict[str, str]:
    """The parts of a URL, the port among them. No message holds any of it: a typing error may be in the password."""
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
        parts["port"] = parts.get("port") or DEFAULT_PORT
        ports = [int(port or DEFAULT_PORT) for port in parts["port"].split(",")]
    except (ProgrammingError, ValueError):
        raise ConfigurationError(f"{_expected(variable)}, received what cannot be read as that") from None
    hosts = (parts.get("host") or parts.get("hostaddr") or "").split(",")
    if not all(hosts):
        raise ConfigurationError(f"{_expected(variable)}, no host in it")
    _refuse_parts_of_a_password(parts, variable)
    if "sslpassword" in parts:
        raise ConfigurationError(
            f"{variable}: expected no sslpassword, as every part enters by that key: name one that is not encrypted, "
            "of mode 0600"
        )
    if len(ports) not in {1, len(hosts)}:
        raise ConfigurationError(f"{variable}: expected a port for each of {len(hosts)} hosts, received {len(ports)}")
    for host in hosts:
        length = len(f"{host}/.s.PGSQL.{max(ports)}".encode())
        if host.startswith("/") and length > LONGEST_SOCKET_PATH:
            raise ConfigurationError(
                f"{variable}: expected the path of a socket of at most {LONGEST_SOCKET_PATH} bytes, which is the "
                f"system's limit, received one of {length}: let a shorter path lead there (`ln -s`)"
            )
    return parts


def _refuse_parts_of_a_password(parts: Mapping[str, str], variable: str) -> None:
    """A password's own `@` or `/` ends it, and libpq would name what follows, as a host, in its errors."""
    hosts = ",".join(parts.get(key, "") for key in ("host", "hostaddr")).split(",")
    names = [host for host in hosts if host and not host.startswith("/")]
    if "@" in parts.get("dbname", "") or not all(re.fullmatch(r"[\w.:%-]+", name) for name in names):
        raise ConfigurationError(f"{_expected(variable)}, received a host with a character that none has")


def without_credentials(url: str) -> str:
    """The same address of a Postgres server without user and password, for the processes that need neither."""
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError:
        return url  # whoever reads it says what is wrong with it
    # Where nothing else was in it, whoever reads it says what is missing: empty, it would be no server's address.
    kept = {key: str(value) for key, value in parts.items() if key not in _OF_WHO_ENTERS}
    return make_conninfo(**kept) or "postgresql://"


def dsn(settings: Settings, database: str, role: str = OWNER, **more: Any) -> str:
    """libpq's words for one database and one role (`owner`, or one of ROLES). They hold a password: never log them.

    `more`: other keywords of libpq, `dbname` of a server's own database too. Its `options` are added to those of the
    URL, by which a server may be found.
    """
    known = _known(database)
    if role == OWNER:
        owner = administrator(settings, known)
        entering = {"user": owner.user, **owner.secret}
    elif role in ROLES:
        entering = {"user": role, "password": credential(settings, role)}
    else:
        raise ConfigurationError(f"expected a role of {', '.join((OWNER, *ROLES))}, received {role!r}")
    address = postgres_server(settings, known).parameters
    options = " ".join(filter(None, (address.get("options"), more.pop("options", None))))
    together = {**address, **entering, "dbname": known, **more, **({"options": options} if options else {})}
    return make_conninfo(**together)


def _known(database: str) -> Database:
    for known in DATABASES:
        if known == database:
            return known
    raise ConfigurationError(f"expected a database of {', '.join(DATABASES)}, received {database!r}")


def libpq_variables(parameters: Mapping[str, Any]) -> dict[str, str]:
    """libpq's keywords as the variables of its environment; the few that have none are left out."""
    from psycopg import pq

    names = {option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    return {names[key]: str(value) for key, value in parameters.items() if key in names}


def for_one_port(settings: Settings, database: Database, role: str) -> tuple[str, int]:
    """Host and port for a program that takes one port: of hosts that have several, the one that answers now.

    StackError where none answers. Hosts of one port stay a list, which libpq tries each time.
    """
    server = postgres_server(settings, database)
    ports = {port for _, port in server.hosts}
    if len(ports) == 1:
        return ",".join(host for host, _ in server.hosts), int(ports.pop())
    with connect(settings, database, role) as connection:
        return connection.info.host, connection.info.port


def refuse_older(connection: "Connection[Any]", where: str) -> "Connection[Any]":
    """The connection; StackError, and the connection closed, where the server is older than what is written for."""
    if connection.info.server_version >= OLDEST_MAJOR * 10_000:
        return connection
    found = connection.info.parameter_status("server_version")
    connection.close()
    raise StackError(f"expected Postgres {OLDEST_MAJOR} or newer for {where}, found {found}: upgrade that server")


def connect_once(settings: Settings, database: str, role: str, **options: Any) -> "Connection[Any]":
    """A connection of psycopg, whose errors come as they are; `options` are its keywords, and libpq's."""
    import psycopg

    ours = {key: options.pop(key) for key in ("autocommit", "row_factory") if key in options}
    return refuse_older(psycopg.connect(dsn(settings, database, role, **options), **ours), f"the database {database}")


def connect(settings: Settings, database: str, role: str, **options: Any) -> "Connection[Any]":
    """A connection, to be closed by `with`; StackError, which may be retried, where the server does not answer.

    A server whose connections are all taken is asked again, for FULL_SECONDS at most.
    """
    import psycopg
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

    said = postgres_server(settings, _known(database)).parameters
    asked = {key: value for key, value in LIMITS.items() if key not in said} | options
    while_full = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, psycopg.OperationalError) and is_full(str(error))),
        wait=wait_fixed(FULL_RETRY_SECONDS),
        stop=stop_after_delay(FULL_SECONDS),
        reraise=True,
    )
    try:
        return while_full(connect_once, settings, database, role, **asked)
    except psycopg.OperationalError as failure:
        first, *rest = str(failure).splitlines()
        received = "; ".join(line[2:] for line in rest if line.startswith("- host:")) or first  # of several hosts: each
        todo = what_to_do(received) or "`tidemark up` starts the local one"
        error = StackError(f"expected the database {database} to answer, received {received}: {todo}")
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
