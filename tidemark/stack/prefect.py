"""The local Prefect server and its UI, on loopback, with its SQLite database in the state folder."""

import signal
import sys

from tidemark.connections import prefect_url
from tidemark.settings import Settings
from tidemark.stack.process import Launch, server_environment

NAME = "prefect"
TITLE = "Prefect"
STOP_SIGNAL = signal.SIGTERM


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
    kept = {key: value for key, value in server_environment().items() if not key.startswith("PREFECT_")}
    env = {
        **kept,
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": "/api",  # else the UI calls port 4200 whatever the port
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "NO_COLOR": "1",
    }
    port = str(settings.prefect_port)
    program = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    return Launch(program, env, folder)


def ready(settings: Settings) -> bool:
    """Whether the API answers that it is healthy."""
    from tidemark.http import NoAnswer, ask_now

    try:
        return ask_now(settings, f"{prefect_url(settings)}/health", seconds=2).status == 200
    except NoAnswer:
        return False
