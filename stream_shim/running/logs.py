"""The logs of the state folder, for people: which there are, their last lines, and what is written next."""

import time
from collections import deque
from pathlib import Path
from typing import Any

from tidemark.connections import DATABASES
from tidemark.errors import ConfigurationError
from tidemark.output import visible
from tidemark.settings import Settings

LOOK_SECONDS = 0.3
LAST_LINES = 20
ENDS = "it ends: "  # what a process logs before the reason of its end


def list_logs(settings: Settings) -> list[dict[str, Any]]:
    """Each log and its size in bytes."""
    return [{"log": name, "bytes": path.stat().st_size} for name, path in sorted(_logs(settings).items())]


def _logs(settings: Settings) -> dict[str, Path]:
    """Name to file; dbt keeps one for each target beside its artifacts."""
    of_dbt = {f"dbt-{target}": settings.home / "dbt" / target / "logs" / "dbt.log" for target in DATABASES}
    found = {path.stem: path for path in (settings.home / "logs").glob("*.log")}
    return found | {name: path for name, path in of_dbt.items() if path.exists()}


def print_log(settings: Settings, name: str, lines: int, follow: bool) -> None:
    """Print the last lines; with `follow`, go on until Ctrl-C, also when the file rotates."""
    logs = _logs(settings)
    path = logs.get(name)
    if path is None:
        there = ", ".join(sorted(logs)) or "none"
        raise ConfigurationError(f"expected a log of {settings.home} ({there}), received {name!r}")
    log = path.open(errors="replace")
    print(*(visible(line, lines=True) for line in deque(log, lines)), sep="", end="")
    while follow:
        line = log.readline()
        if line:
            print(visible(line, lines=True), end="", flush=True)
        elif path.exists() and path.stat().st_ino != _inode(log):  # it was rotated: the new one has the name
            log.close()
            log = path.open(errors="replace")
        elif path.exists() and path.stat().st_size < log.tell():  # it was cut in its place, as a server's is
            log.seek(0)
        else:
            time.sleep(LOOK_SECONDS)
    log.close()


def last_reason(settings: Settings, log: str) -> str:
    """`: ` and why the process of this log ended, by the log's last lines; nothing where they do not say it."""
    path = settings.home / "logs" / f"{log}.log"
    if not path.exists():
        return ""
    with path.open(errors="replace") as lines:
        found = [line.partition(ENDS)[2].strip() for line in deque(lines, LAST_LINES) if ENDS in line]
    return f": {found[-1]}" if found else ""


def _inode(file: Any) -> int:
    import os

    return os.fstat(file.fileno()).st_ino
