"""The guard as a process of the local stack: it runs wherever `tidemark up` is run, for servers of others too."""

import hashlib
import json
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import psutil

from tidemark.access.people import HELD
from tidemark.connections import DATABASES, Database, is_local, postgres_server, without_credentials
from tidemark.guard.watch import Server
from tidemark.output import utc
from tidemark.settings import Settings
from tidemark.stack import process
from tidemark.stack.process import Launch, server_environment
from tidemark.state_file import NotWhole, Pid, read_whole

NAME = "guard"
TITLE = "the guard"
STOP_SIGNAL = signal.SIGTERM
LOGIN = ""
SILENT_SECONDS = 60.0  # its database may keep it waiting for half of that


class Beat(TypedDict, total=False):
    """What it says."""

    pid: Pid
    configuration: str
    watched: list[str]
    shortfalls: dict[str, list[str]]


def servers(settings: Settings) -> list[Server]:
    """The Postgres servers, each once, with the databases that are on it."""
    found: dict[str, list[Database]] = {}
    for database in DATABASES:
        found.setdefault(str(postgres_server(settings, database)), []).append(database)
    return [Server(address, tuple(on), is_local(settings, on[0])) for address, on in found.items()]


def ports(settings: Settings) -> dict[str, int]:
    """None: nobody connects to it."""
    return {}


def wanted(settings: Settings) -> bool:
    """Always: who reads must not stop what writes, whoever runs the server."""
    return True


def address(settings: Settings) -> str:
    """The servers that it watches."""
    return ", ".join(server.address for server in servers(settings))


def beat_path(home: Path) -> Path:
    """Where it says every second that it lives."""
    return home / "run" / "guard.beat"


def read_beat(settings: Settings) -> dict[str, Any]:
    """What the guard that runs said last; empty where none runs, or it said nothing yet or for too long."""
    record, path = process.read_record(settings.home, NAME), beat_path(settings.home)
    try:
        if time.time() - path.stat().st_mtime > SILENT_SECONDS:
            return {}
        beat = read_whole(path, Beat) or {}
    except (FileNotFoundError, NotWhole):  # cut off: the next one comes within a second
        return {}
    return beat if record is not None and beat.get("pid") == record.pid else {}


def silence(settings: Settings) -> str:
    """That nobody watches people, in a sentence; empty where the guard runs and says so, or has just begun."""
    running, path = process.find(settings.home, NAME), beat_path(settings.home)
    said_at = path.stat().st_mtime if path.exists() else 0.0
    if running is None:
        last = f", it last reported at {utc(said_at)}" if said_at else ""
        return f"the guard does not run{last}: `tidemark up` starts it"
    said_at = max(said_at, running.create_time())
    if time.time() - said_at <= SILENT_SECONDS:
        return ""
    return f"the guard has not reported since {utc(said_at)}: `tidemark up` starts it anew"


def configuration(settings: Settings) -> str:
    """A digest of what it was started with: it is started anew where that has changed."""
    limits = settings.access_file.read_text() if settings.access_file.exists() else ""
    parts = [version("tidemark"), address(settings), limits, HELD, str(settings.log_bytes)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def outdated(settings: Settings, running: psutil.Process) -> str:
    """Where it was started with other limits, servers or an older Tidemark, or reports no more."""
    if silence(settings):
        return "has not reported for too long"
    beat = read_beat(settings)
    return "" if beat.get("configuration") in {None, configuration(settings)} else "watched with other settings"


def shortfalls(settings: Settings) -> list[str]:
    """What the servers do not let the guard do, and that it does not run, in sentences."""
    if said := silence(settings):
        return [said]
    beat = read_beat(settings).get("shortfalls", {})
    return [f"the guard on {server}: {sentence}" for server, sentences in beat.items() for sentence in sentences]


def prepare(settings: Settings) -> Launch:
    """How to start it: with the addresses alone, as its own role's password is a file."""
    environ = {
        **{key: value for key, value in server_environment().items() if not key.startswith("PREFECT_")},
        "TIDEMARK_HOME": str(settings.home.resolve()),
        "TIDEMARK_POSTGRES_PORT": str(settings.postgres_port),
        "TIDEMARK_ACCESS_FILE": str(settings.access_file.resolve()),
        "TIDEMARK_LOG_BYTES": str(settings.log_bytes),
    }
    for variable, url in (
        ("TIDEMARK_REALTIME_URL", settings.realtime_url),
        ("TIDEMARK_WAREHOUSE_URL", settings.warehouse_url),
    ):
        if url is not None:
            environ[variable] = without_credentials(url.get_secret_value())
    return Launch([sys.executable, "-m", "tidemark.guard"], environ, settings.home.resolve())


def ready(settings: Settings) -> bool:
    """Whether it watches every server."""
    return set(read_beat(settings).get("watched", ())) == {server.address for server in servers(settings)}
