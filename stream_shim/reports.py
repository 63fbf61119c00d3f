"""What each process of the lane counts: a file in the state folder, each second, for others to read."""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Required, TypedDict

import psutil

from tidemark.lock_file import START_TIME_TOLERANCE
from tidemark.settings import Settings
from tidemark.state_file import Pid, StateFile, Time, Unreadable, read_whole

log = logging.getLogger("tidemark.stream")

SUPERVISOR = "TIDEMARK_SUPERVISOR_PID"  # the variable that tells a process of the lane who started it
# A report that is older, in seconds, says nothing of how its process is now.
FRESH_SECONDS = {"connector": 10.0, "processor": 10.0, "supervisor": 30.0}
HUNG_SECONDS = 50  # without a sign of life: the supervisor ends the process
_said_unreadable: set[Path] = set()
_OWN_START = psutil.Process().create_time()


class Report(TypedDict, total=False):
    """What is read of every report. One that lacks what a kind's must have, or has it of another type, is none."""

    pid: Pid
    pid_since: Time
    written_at: Time


class ConnectorReport(Report, total=False):
    """The counts of a connector, and how its source is."""

    source: Required[str]
    started_at: Required[Time]
    last_message_at: Required[Time]
    answered_at: Required[Time]  # 0 where it has not
    failing_since: Required[Time]  # 0 where it does not
    last_client_error: str
    last_client_error_at: Time
    records_per_second: float
    sent: dict[str, int]
    rejected: dict[str, int]
    gaps: dict[str, int]
    silences: dict[str, int]
    client_errors: dict[str, int]
    degraded: dict[str, str]
    without_value: int
    rejects_dropped: int
    errors: int
    source_errors: int


class ProcessorReport(Report, total=False):
    """The counts of a processor, and what it waits for."""

    destination: Required[str]
    waiting_for: Required[str]
    headroom_days: Required[int | None]
    rejects: Required[dict[str, int]]
    started_at: Time
    committed_at: Time
    rows: dict[str, int]
    lag_records: dict[str, int]
    lag_seconds: dict[str, float]
    partitions: dict[str, int]  # by topic, how many it reads
    still_seconds: float
    batch_seconds: float
    batches: int
    waits: int
    fences: int


class SupervisorReport(Report, total=False):
    """How often processes were started again, and what was measured."""

    restarts: Required[dict[str, int]]
    dying: dict[str, str]  # by process, why it needs a person
    oldest_day_age_days: int | None
    disk_days_left: dict[str, float]


SHAPES = {"connector": ConnectorReport, "processor": ProcessorReport, "supervisor": SupervisorReport}


def supervisor_is_gone() -> bool:
    """Whether this process was started by a supervisor that has ended since: nobody would end it now."""
    return os.environ.get(SUPERVISOR, str(os.getppid())) != str(os.getppid())


def report_path(settings: Settings, kind: str, name: str) -> Path:
    """Where the `connector` or `processor` of an entry writes its report; the `supervisor`'s is `stream`."""
    return settings.home / "run" / f"{kind}-{name}.json"


def write_process_report(file: StateFile, report: dict[str, Any]) -> None:
    """The report of this process, with its pid, when that began, and the time: others see by them that it goes on."""
    file.write(report | {"pid": os.getpid(), "pid_since": _OWN_START, "written_at": time.time()})


class Found(NamedTuple):
    """A report as it lies in the state folder. `beat` is when its process last said that it goes on."""

    name: str
    report: dict[str, Any] | None  # None where the file is empty, cut off, or no report
    age_seconds: float  # since the report was written
    beat: float  # seconds since 1970

    @property
    def written_at(self) -> float:
        """When the report was written, seconds since 1970."""
        return time.time() - self.age_seconds

    def is_there(self) -> bool:
        """Whether the process that wrote it is there: its pid may be another's by now, as after a restart."""
        if self.report is None or "pid" not in self.report:
            return self.report is not None
        try:
            since = psutil.Process(self.report["pid"]).create_time()
        except psutil.NoSuchProcess:
            return False
        return bool(abs(since - self.report.get("pid_since", since)) < START_TIME_TOLERANCE)

    def is_fresh(self, kind: str) -> bool:
        """Whether it says how its process is now: it is no older than they get, and the process is there."""
        return self.age_seconds <= FRESH_SECONDS[kind] and self.is_there()


def find_reports(settings: Settings, kind: str) -> Iterator[Found]:
    """The files of the reports of a kind, by name. One that cannot be read is said once, until it can be."""
    for path in sorted((settings.home / "run").glob(f"{kind}-*.json")):
        try:
            touched_at, report = path.stat().st_mtime, read_whole(path, SHAPES[kind])
        except FileNotFoundError:
            continue
        except Unreadable as error:
            touched_at, report = time.time(), None
            _say_unreadable(path, error)
        else:
            if report is None:
                continue  # its process was started again since the look into the folder
            _said_unreadable.discard(path)
        written_at = (report or {}).get("written_at", touched_at)
        name = path.stem.removeprefix(f"{kind}-")
        yield Found(name, report, max(0.0, time.time() - written_at), max(written_at, touched_at))


def _say_unreadable(path: Path, why: Unreadable) -> None:
    if path not in _said_unreadable:
        _said_unreadable.add(path)
        log.warning("%s; the report is left out until then", why)


def read_reports(settings: Settings, kind: str) -> dict[str, dict[str, Any]]:
    """The latest report of each process of a kind, by its entry's name, however old; the last word of one that is gone.

    As a sign of health, `fresh_reports` alone will do.
    """
    return {found.name: found.report for found in find_reports(settings, kind) if found.report is not None}


def fresh_reports(settings: Settings, kind: str) -> dict[str, dict[str, Any]]:
    """The reports that say how a process is now: not those of one that is gone, hangs, or cannot write them."""
    return {found.name: found.report for found in find_reports(settings, kind) if found.is_fresh(kind) and found.report}


class Beats:
    """For how long the processes that report have not: one that was stopped, or hangs, says nothing of it."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, float]] = {}  # by pid: its last sign of life, and when that was seen

    def look(self, beats: Iterable[tuple[int, float]]) -> dict[int, float]:
        """By pid, the seconds since its last sign of life was first seen; a machine that slept does not count them."""
        now, known = time.monotonic(), self._last
        self._last = {pid: known[pid] if known.get(pid, (None, 0))[0] == at else (at, now) for pid, at in beats}
        return {pid: now - since for pid, (_, since) in self._last.items()}


def beats_of(settings: Settings, kind: str) -> Iterator[tuple[int, float]]:
    """The processes of a kind that report: pid, and the time of the last sign of life."""
    for found in find_reports(settings, kind):
        if found.report is not None and "pid" in found.report:
            yield found.report["pid"], found.beat


def forget_reports(settings: Settings, kind: str, name: str) -> None:
    """Remove what the processes of an entry, or of one label, reported: they are no more."""
    run = settings.home / "run"
    for path in [*run.glob(f"{kind}-*.json"), *run.glob(f"{kind}-*.json.part")]:
        label = path.name.partition(".json")[0].removeprefix(f"{kind}-")
        if name in {label, label.partition("#")[0]}:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # its age says the same
                log.warning("expected to remove %s, received %s; what it says is over", path, error.strerror)
