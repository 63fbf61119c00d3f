"""The demo's processes: the sources' servers, and the streaming lane."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.errors import DemoFailed
from tidemark.settings import PROJECT, Settings

SOURCES_FILE = Path(__file__).with_name("sources.yml")
API_KEY = "0123456789abcdef0123456789abcdef"  # FRED's form of a key; the replay takes any
USER_AGENT = "Tidemark demo demo@example.org"
STOP_SECONDS = 30
PACED_SECONDS = 20  # of the last trades: so that candles are seen to move, while the batch lane works anyway
SOURCES, STREAM = "replay-sources", "replay-stream"  # by these names a demo that was killed is found again


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a `tidemark` command with these settings; it holds secrets."""
    dumped = settings.model_dump(mode="python", exclude_defaults=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMARK_")}
    dumped["home"] = settings.home.resolve()  # also where it is the default: by it the next demo knows its own
    return kept | {f"TIDEMARK_{name.upper()}": _text(value) for name, value in dumped.items()}


def _text(value: object) -> str:
    if hasattr(value, "get_secret_value"):
        return str(value.get_secret_value())
    return json.dumps(value) if isinstance(value, tuple) else str(value)


@contextmanager
def sources(settings: Settings, folder: Path) -> Iterator[dict[str, str]]:
    """The servers of one session, in a process of their own; source name to base URL."""
    with (settings.home / "logs" / "sources.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "loopback", str(folder), str(PACED_SECONDS)],
            stdout=subprocess.PIPE, stderr=log, env=environment(settings), cwd=PROJECT, start_new_session=True,
        )  # fmt: skip
    with _ended(settings, SOURCES, process):
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise DemoFailed(f"expected the sources' servers to start; {settings.home}/logs/sources.log says why not")
        urls: dict[str, str] = json.loads(line)
        yield urls


def with_sources(settings: Settings, urls: dict[str, str], simulated: bool) -> Settings:
    """The settings that find the replay's sources, after writing its sources file into the state folder."""
    text = SOURCES_FILE.read_text()
    for name, url in {**urls, "binance_socket": urls["binance"].replace("http", "ws", 1)}.items():
        text = text.replace(f"{{{name}}}", url)
    if simulated:  # every row of a generated session says so
        text = text.replace("\n  kind:", "\n  source_system: simulated\n  kind:")
    path = settings.home / "sources.yml"
    path.write_text(text)
    changes = {
        "sources_file": path, "ecb_url": urls["ecb"], "fred_url": urls["fred"],
        "fred_api_key": API_KEY, "user_agent": USER_AGENT,
    }  # fmt: skip
    return Settings(**(settings.model_dump() | changes))


@contextmanager
def stream(settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    """`tidemark stream run`, until the block ends; then it has sent and written what it had."""
    with (settings.home / "logs" / "stream-run.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tidemark.cli", "stream", "run"],
            stdout=log, stderr=log, env=environment(settings), stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    with _ended(settings, STREAM, process):
        yield process


@contextmanager
def _ended(settings: Settings, name: str, process: "subprocess.Popen[bytes]") -> Iterator[None]:
    from tidemark.stack.process import note, stop

    with process:
        note(settings.home, name, process.pid, {})
        try:
            yield
        finally:
            stop(settings.home, name, signal.SIGTERM, STOP_SECONDS)
