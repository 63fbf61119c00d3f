"""The local Prefect server and its UI, on loopback, with its SQLite database in the state folder.

Whoever may call its API runs code as its owner (a deployment's pull steps are code), so it asks everybody for one
generated string, `user:password`. Open are the UI's files, the description of the API, and whether it is healthy.
"""

import os
import signal
import sys
from base64 import b64encode
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import psutil

from tidemark.connections import local_prefect_auth_string, prefect_auth_string, prefect_url
from tidemark.errors import StackError
from tidemark.proxies import of_proxies
from tidemark.settings import Settings
from tidemark.stack.process import Launch, listens, server_environment

if TYPE_CHECKING:
    from tidemark.http import Answer

NAME = "prefect"
TITLE = "Prefect"
STOP_SIGNAL = signal.SIGTERM
LOGIN = "its UI asks for one string, the PREFECT_API_AUTH_STRING that `tidemark env` prints"

AUTH_STRING = "PREFECT_SERVER_API_AUTH_STRING"

DAY_SECONDS = 86_400
EVENT_DAYS = 7  # a heartbeat every 30 s of a run, and each change of a state: what automations and the UI's feed read


def ports(settings: Settings) -> dict[str, int]:
    """The settings that hold the ports, and the ports."""
    return {"prefect_port": settings.prefect_port}


def wanted(settings: Settings) -> bool:
    """Whether no variable names a Prefect server."""
    return settings.prefect_url is None


def address(settings: Settings) -> str:
    """The API's URL."""
    return prefect_url(settings)


def prepare(settings: Settings) -> Launch:
    """How to start the server; it makes and migrates its database itself."""
    folder = settings.home.resolve() / NAME
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)  # its database holds what opens its blocks
    env = {
        **server_environment(),
        **of_proxies(os.environ),  # what an alert calls may be outside
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(folder),
        # In the server's own folder: in a URL, and in alembic's configuration, a path is not read as it is.
        "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///prefect.db",
        AUTH_STRING: local_prefect_auth_string(settings),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{settings.prefect_port}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": "/api",  # else the UI calls port 4200 whatever the port
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "NO_COLOR": "1",
        **_keeping(settings),
    }
    port = str(settings.prefect_port)
    program = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    return Launch(program, env, folder)


def _keeping(settings: Settings) -> dict[str, str]:
    """How long the server keeps what; its own vacuum deletes, hourly."""
    return {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(settings.flow_days * DAY_SECONDS),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{EVENT_DAYS}D",
        # In memory alone, a restart of the server would forget who holds a deployment's one slot.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # What it waits for of a run is kept while the server is down; else a run that died with it would run for ever.
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": f"P{settings.flow_days}D",
    }


def outdated(settings: Settings, running: psutil.Process) -> str:
    """Why the server that runs is to be started anew, or nothing."""
    given = running.environ()
    asked_for = given.get(AUTH_STRING)
    if asked_for is None:
        return "let in whoever called"
    if asked_for != local_prefect_auth_string(settings):
        return "asked for another string than the generated one"
    return "" if _keeping(settings).items() <= given.items() else "kept its runs for another time than is set"


def ready(settings: Settings) -> bool:
    """Whether the API answers that it is healthy; StackError where it lets in who brings no string."""
    from tidemark.http import NoAnswer, ask_now

    url = prefect_url(settings)
    try:
        if ask_now(settings, f"{url}/health", seconds=2).status != HTTPStatus.OK:
            return False
        refused = ask_now(settings, f"{url}/admin/version", seconds=2).status
    except NoAnswer:
        return False
    if refused != HTTPStatus.UNAUTHORIZED:
        raise StackError(f"expected Prefect to refuse who brings no string (401), received {refused}: it is ended")
    return True


def prefect_login(settings: Settings) -> str | None:
    """The string to send to Prefect's API, if any; StackError where another than the local server would receive it."""
    if wanted(settings) and not listens(settings.home, NAME, settings.prefect_port):
        raise StackError(
            f"expected the Prefect server of {settings.home} on port {settings.prefect_port}, it does not listen "
            "there: run `tidemark up`, or set TIDEMARK_PREFECT_URL to a server that runs elsewhere"
        )
    return prefect_auth_string(settings)


def ask(settings: Settings, path: str, *, seconds: float = 10, **options: Any) -> "Answer":
    """What Prefect's API answers, 200, to a path below it, as who may; `options` are tidemark.http.ask's.

    StackError where it does not listen, does not let us in, or answers another status; NoAnswer where none comes.
    """
    from tidemark.http import ask_now

    login = prefect_login(settings)
    headers = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    answer = ask_now(settings, f"{prefect_url(settings)}/{path}", headers=headers, seconds=seconds, **options)
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise refusal(settings, answer.status)
    if answer.status != HTTPStatus.OK:
        raise StackError(
            f"expected the Prefect server at {prefect_url(settings)} to answer {path}, received HTTP {answer.status} "
            f"({answer.start(100)}): is the URL that of its API (it ends in /api), and its version 3?"
        )
    return answer


def refusal(settings: Settings, status: int) -> StackError:
    """What to say where the API answers 401 or 403."""
    todo = "set TIDEMARK_PREFECT_AUTH_STRING to the user:password that it asks for"
    return StackError(
        f"expected the Prefect server at {prefect_url(settings)} to let us in, it answered {status}: "
        + ("run `tidemark up`" if wanted(settings) else todo)
    )
