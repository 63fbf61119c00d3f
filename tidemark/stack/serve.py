"""The read API as a process of the local stack, on loopback. It knows its own role's password alone."""

import hashlib
import json
import signal
import sys
from functools import cache
from http import HTTPStatus
from pathlib import Path

import psutil

from tidemark.connections import DATABASES, postgres_server, without_credentials
from tidemark.settings import Settings
from tidemark.stack.process import Launch, server_environment

NAME = "serve"
TITLE = "the read API"
STOP_SIGNAL = signal.SIGTERM
LOGIN = "the status page is at /, live data at /live, its docs at /docs; `tidemark access key NAME` makes a key"

GIVEN = ("api_", "postgres_")  # the settings whose names begin so
_CONFIGURATION = "TIDEMARK_API_CONFIGURATION"


def ports(settings: Settings) -> dict[str, int]:
    """The settings that hold the ports, and the ports."""
    return {"api_port": settings.api_port}


def wanted(settings: Settings) -> bool:
    """Always: no variable names another."""
    return True


def address(settings: Settings) -> str:
    """Its URL."""
    return f"http://127.0.0.1:{settings.api_port}"


def _environment(settings: Settings) -> dict[str, str]:
    """What it is started with of the settings."""
    values = {name: getattr(settings, name) for name in Settings.model_fields if name.startswith(GIVEN)}
    environ = {f"TIDEMARK_{name.upper()}": _text(value) for name, value in values.items() if value is not None}
    for variable, url in (
        ("TIDEMARK_REALTIME_URL", settings.realtime_url),
        ("TIDEMARK_WAREHOUSE_URL", settings.warehouse_url),
    ):
        if url is not None:
            environ[variable] = without_credentials(url.get_secret_value())
    return environ


def _text(value: object) -> str:
    match value:
        case tuple():
            return json.dumps(value)
        case Path():  # it runs in another folder
            return str(value.resolve())
    return str(value)


def _configuration(settings: Settings) -> str:
    """A digest of what it was started with: it is started anew where that has changed."""
    parts = [_environment(settings), [str(postgres_server(settings, database)) for database in DATABASES], _version()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("tidemark")


def prepare(settings: Settings) -> Launch:
    """How to start it: with the addresses alone, as its own role's password is a file."""
    environ = {
        **server_environment(),
        **_environment(settings),
        "MALLOC_ARENA_MAX": "2",  # an answer has a thread, and glibc gives each thread memory of its own
        "TIDEMARK_HOME": str(settings.home.resolve()),
        _CONFIGURATION: _configuration(settings),
    }
    return Launch([sys.executable, "-m", "serve"], environ, settings.home.resolve())


def outdated(settings: Settings, running: psutil.Process) -> str:
    """Why the server that runs is to be started anew, or nothing."""
    given = running.environ().get(_CONFIGURATION)
    return "" if given == _configuration(settings) else "was started with other settings"


def ready(settings: Settings) -> bool:
    """Whether it answers."""
    from tidemark.http import NoAnswer, ask_now

    try:
        return ask_now(settings, f"{address(settings)}/healthz", seconds=2).status == HTTPStatus.OK
    except NoAnswer:
        return False
