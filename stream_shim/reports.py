"""What each process of the lane counts: a file in the state folder, each second, for metrics and alerts to read."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from tidemark.errors import StackError
from tidemark.settings import Settings

SUPERVISOR = "TIDEMARK_SUPERVISOR_PID"  # the variable that tells a process of the lane who started it


def supervisor_is_gone() -> bool:
    """Whether this process was started by a supervisor that has ended since: nobody would end it now."""
    return os.environ.get(SUPERVISOR, str(os.getppid())) != str(os.getppid())


def report_path(settings: Settings, kind: str, name: str) -> Path:
    """Where the `connector` or `processor` of an entry writes its report; the `supervisor`'s is `stream`."""
    return settings.home / "run" / f"{kind}-{name}.json"


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write it whole under its name, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(report))
    part.replace(path)


def write_process_report(path: Path, report: dict[str, Any]) -> None:
    """The report of this process, with its pid and the time: the supervisor sees by them that it goes on."""
    write_report(path, report | {"pid": os.getpid(), "written_at": time.time()})


class Beats:
    """For how long the processes that report have not: one that was stopped, or hangs, says nothing of it."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, float]] = {}  # by pid: the time in its last report, and when that was seen

    def look(self, reports: Iterable[dict[str, Any]]) -> dict[int, float]:
        """By pid, the seconds since its last report was first seen; a machine that slept does not count them."""
        now, known = time.monotonic(), self._last
        written = {report["pid"]: report["written_at"] for report in reports if "pid" in report}
        self._last = {
            pid: known[pid] if known.get(pid, (None, 0))[0] == at else (at, now) for pid, at in written.items()
        }
        return {pid: now - since for pid, (_, since) in self._last.items()}


def read_reports(settings: Settings, kind: str) -> dict[str, dict[str, Any]]:
    """The latest report of each process of a kind, by its entry's name."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((settings.home / "run").glob(f"{kind}-*.json")):
        with contextlib.suppress(FileNotFoundError):  # its process was started again since the look into the folder
            found[path.stem.removeprefix(f"{kind}-")] = json.loads(path.read_text())
    return found


def forget_reports(settings: Settings, kind: str, name: str) -> None:
    """Remove what the processes of an entry reported: they are no more."""
    for path in (settings.home / "run").glob(f"{kind}-*.json"):
        if path.stem.removeprefix(f"{kind}-").partition("#")[0] == name:
            path.unlink(missing_ok=True)


def _try_lock(settings: Settings, name: str) -> tuple[IO[str], bool]:
    """The lock's file, open, and whether this process has the lock, which goes when the file is closed."""
    (settings.home / "run").mkdir(parents=True, exist_ok=True)
    held = (settings.home / "run" / f"{name}.lock").open("a+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return held, False
    return held, True


def claim_lane(settings: Settings) -> IO[str]:
    """The lane of this state folder, for as long as the returned file is open. StackError where one runs already."""
    held, is_ours = _try_lock(settings, "stream")
    if not is_ours:
        held.seek(0)
        pid = held.read().strip()
        held.close()
        raise StackError(
            f"expected no lane in {settings.home}, one runs already, as process {pid}: it takes up what changes in its "
            "files by itself; end it first if you want another"
        )
    held.truncate(0)
    held.write(str(os.getpid()))
    held.flush()
    return held


def claim(settings: Settings, kind: str, name: str, most: int) -> tuple[str, IO[str]]:
    """The label of this process among at most so many of its entry, held for as long as the returned file is open.

    The first is `NAME`, the next `NAME#2`. StackError where all are taken: a source that two processes send is doubled.
    """
    for number in range(1, most + 1):
        label = name if number == 1 else f"{name}#{number}"
        held, is_ours = _try_lock(settings, f"{kind}-{label}")
        if is_ours:
            return label, held
        held.close()
    raise StackError(f"expected no other process of {kind} {name} in {settings.home}, one runs: end it first")
