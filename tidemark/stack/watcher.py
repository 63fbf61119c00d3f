"""The watcher as a process of the local stack: it runs wherever `tidemark up` is run, for servers of others too."""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import psutil
from pydantic import SecretStr

from tidemark.connections import without_credentials
from tidemark.output import utc
from tidemark.process_environment import ADMINISTRATORS
from tidemark.proxies import of_proxies
from tidemark.settings import Settings
from tidemark.stack import process
from tidemark.stack.process import Launch, server_environment
from tidemark.state_file import NotWhole, Pid, read_whole

NAME = "watcher"
TITLE = "the watcher"
STOP_SIGNAL = signal.SIGTERM
LOGIN = ""
# Of all secret settings it needs what opens what it asks, and where it says what it saw.
SECRETS = (
    "TIDEMARK_ALERT_WEBHOOK", "TIDEMARK_SMTP_URL", "TIDEMARK_HEARTBEAT_URL", "TIDEMARK_KAFKA_PASSWORD",
    "TIDEMARK_PREFECT_AUTH_STRING", *ADMINISTRATORS,
)  # fmt: skip

NOT_OURS = ("recordings", "cache", "maven_url")  # settings of the demo and of `up`


class Head(TypedDict):
    """What others than its readers need of status.json."""

    pid: Pid
    configuration: str
    observed_at: str
    valid_until: str


def ports(settings: Settings) -> dict[str, int]:
    """None: nobody connects to it."""
    return {}


def wanted(settings: Settings) -> bool:
    """Always: who looks must not be what is looked at."""
    return True


def address(settings: Settings) -> str:
    """Where it says what it sees."""
    return str(status_path(settings.home))


def status_path(home: Path) -> Path:
    """The one file in which it says what it sees."""
    return home / "run" / "status.json"


def read_head(settings: Settings) -> Mapping[str, Any]:
    """What the watcher that runs said last of itself; empty where none runs, or it has said nothing yet."""
    record = process.read_record(settings.home, NAME)
    try:
        head = read_whole(status_path(settings.home), Head) or {}
    except NotWhole:
        return {}
    return head if record is not None and head.get("pid") == record.pid else {}


def silence(settings: Settings) -> str:
    """Why nobody knows how things are, in a sentence; empty where the watcher has looked lately."""
    if process.find(settings.home, NAME) is None:
        return "the watcher does not run, so nobody knows how things are: `tidemark up` starts it"
    if not (head := read_head(settings)):
        return "the watcher has said nothing yet: `tidemark logs watcher` says why if it stays so"
    until = datetime.fromisoformat(head["valid_until"])
    if time.time() <= until.timestamp():
        return ""
    seen = utc(datetime.fromisoformat(head["observed_at"]))
    return f"the watcher has seen nothing since {seen}: `tidemark up` starts it anew"


def configuration(settings: Settings) -> str:
    """A digest of what it was started with: it is started anew where that has changed."""
    parts = [version("tidemark"), *sorted(_environment(settings).items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def outdated(settings: Settings, running: psutil.Process) -> str:
    """Where it was started with other settings or an older Tidemark, or sees nothing more."""
    head = read_head(settings)
    if head and silence(settings):
        return "has seen nothing for too long"
    return "" if head.get("configuration") in {None, configuration(settings)} else "looked with other settings"


def _environment(settings: Settings) -> dict[str, str]:
    """Every setting that is another than its default, but the secrets that are not for it."""
    given = {}
    for name, field in Settings.model_fields.items():
        value, variable = getattr(settings, name), f"TIDEMARK_{name.upper()}"
        if name in NOT_OURS or value is None or (value == field.default and name != "home"):
            continue
        if isinstance(value, SecretStr):
            if variable in SECRETS:
                text = value.get_secret_value()
                given[variable] = without_credentials(text) if variable in ADMINISTRATORS else text
        elif isinstance(value, Path):
            given[variable] = str(value.resolve())
        else:
            given[variable] = json.dumps(value) if isinstance(value, tuple | bool) else str(value)
    return given


def prepare(settings: Settings) -> Launch:
    """How to start it: with the settings, as its role's password is a file."""
    environ = {
        **server_environment(),
        **of_proxies(os.environ),  # what an alert calls may be outside
        "MALLOC_ARENA_MAX": "1",  # each look has a thread, and glibc gives each thread memory of its own
        **_environment(settings),
    }
    return Launch([sys.executable, "-m", "watch"], environ, settings.home.resolve())


def ready(settings: Settings) -> bool:
    """Whether it has begun to say what it sees."""
    return bool(read_head(settings))
