"""The streaming lane: its supervisor, connectors and processors, seen by their locks, processes and reports."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from realtime.positions import REFILLED
from stream_shim.connectors.entries import HttpSource, StreamedSource, read_sources
from stream_shim.destinations.entries import read_destinations
from stream_shim.reports import SUPERVISOR, read_reports
from stream_shim.running import alerts
from stream_shim.running.logs import last_reason
from tidemark.connections import home_kind
from tidemark.errors import ConfigurationError
from tidemark.migrations.lane import is_held
from tidemark.settings import Settings
from watch.logs import ENDED
from watch.observation import RUNBOOK, Number, Observation, moment

STALE_SECONDS = 20.0  # a process reports each second
WRONG = "file is wrong"
LANE, HANGS, ORPHAN, DIES = "the lane does not run", "reports no more", "orphan process", "keeps dying"
Reports = Mapping[str, dict[str, Any]]


def look(settings: Settings) -> Iterator[Observation]:
    """The supervisor, then each process that the files name, then those that nobody named."""
    runs = _has_lock(settings, "stream")
    yield _supervisor(settings, runs)
    wanted: dict[str, Mapping[str, object]] = {}
    files = (("processor", settings.destinations_file, read_destinations),
             ("connector", settings.sources_file, read_sources))  # fmt: skip
    for kind, path, read in files:
        try:
            wanted[kind] = read(path)
        except ConfigurationError as error:  # the lane goes on with what it read before, and does not begin anew
            yield Observation(WRONG, "entries", path.name, "failing", str(error), mend="docs/sources.md")
        else:
            yield Observation(WRONG, "entries", path.name, "ok", f"{len(wanted[kind])} entries")
    supervisor = read_reports(settings, "supervisor").get("stream", {})
    for kind, entries in wanted.items():
        reports = read_reports(settings, kind)
        labels = {path.stem.removeprefix(f"{kind}-") for path in _run(settings).glob(f"{kind}-*.lock")}
        for label in sorted(labels | entries.keys()):
            is_wanted = label.partition("#")[0] in entries
            restarts = int(supervisor.get("restarts", {}).get(f"{kind} {label}", 0))
            yield from _process(settings, (kind, label), reports.get(label), runs and is_wanted, restarts)
        for name, entry in entries.items():
            if _has_lock(settings, f"{kind}-{name}") and (report := reports.get(name)) is not None:
                yield from _of_report(settings, kind, name, entry, report)


def _run(settings: Settings) -> Path:
    return settings.home / "run"


def _has_lock(settings: Settings, name: str) -> bool:
    path = _run(settings) / f"{name}.lock"
    return path.exists() and is_held(path)


def _supervisor(settings: Settings, runs: bool) -> Observation:
    lock, report = _run(settings) / "stream.lock", _run(settings) / "supervisor-stream.json"
    since = report.stat().st_mtime if report.exists() else None
    if runs and since is not None and time.time() - since > STALE_SECONDS:
        said = f"expected a report of the supervisor each 5 s, the last one is {time.time() - since:.0f} s old"
        return Observation(HANGS, "lane", "supervisor", "failing", said, moment(since), "tidemark logs stream")
    if runs:
        return Observation(LANE, "lane", "supervisor", "ok", "`tidemark stream run` runs")
    if not lock.exists() or home_kind(settings) == "replay":
        return Observation(LANE, "lane", "supervisor", "ok", "no lane was begun that is to go on")
    said = "expected `tidemark stream run` to run, it has ended"
    since = since or lock.stat().st_mtime
    return Observation(LANE, "lane", "supervisor", "failing", said, moment(since), "tidemark stream run")


def _process(
    settings: Settings, role: tuple[str, str], report: dict[str, Any] | None, wanted: bool, restarts: int
) -> Iterator[Observation]:
    kind, label = role
    log = f"{kind}-{label}"
    numbers: dict[str, Number] = {"restarts": restarts}
    if not _has_lock(settings, f"{kind}-{label}"):
        yield from _gone(settings, kind, label, report, wanted)
        return
    process = _of(report)
    if process is not None and (orphan := _is_orphan(process)):
        said = f"expected a supervisor that would end it, {orphan}: the next lane cannot start one"
        yield Observation(ORPHAN, kind, label, "failing", said, moment(process.create_time()), f"kill {process.pid}")
    written = (report or {}).get("written_at", 0.0)
    is_stopped = process is not None and process.status() == psutil.STATUS_STOPPED
    if is_stopped or (written and time.time() - written > STALE_SECONDS):
        assert process is not None or written
        why = "it was stopped by a signal" if is_stopped else "it hangs, or its disk is full"
        said = f"expected a report each second, the last one is {time.time() - written:.0f} s old: {why}"
        mend = f"kill -CONT {process.pid}" if is_stopped and process is not None else f"{RUNBOOK}/keeps-dying.md"
        yield Observation(HANGS, kind, label, "failing", said, moment(written), mend, numbers)
        return
    yield Observation(HANGS, kind, label, "ok", f"it runs; logs/{log}.log", numbers=numbers)


def _gone(
    settings: Settings, kind: str, label: str, report: dict[str, Any] | None, wanted: bool
) -> Iterator[Observation]:
    """A process that is not there: what it said last tells whether somebody is to act."""
    why = last_reason(settings, f"{kind}-{label}")
    since = moment((report or {}).get("written_at"))
    if REFILLED in why:  # which nothing but the record under the last offset shows
        topic = why.removeprefix(": ").partition(",")[0]
        yield Observation(ENDED, "topic", topic, "failing", why[2:], since, f"tidemark stream epoch {topic}")
    if wanted:
        said = f"expected {kind} {label} to run, it does not{why}"
        yield Observation(DIES, kind, label, "failing", said, since, f"{RUNBOOK}/keeps-dying.md")


def _of(report: dict[str, Any] | None) -> psutil.Process | None:
    """The process that wrote the report, if it is still that one."""
    with suppress(psutil.NoSuchProcess):
        if report is not None and "pid" in report:
            process = psutil.Process(report["pid"])
            return process if process.create_time() <= report["written_at"] + 2 else None
    return None


def _is_orphan(process: psutil.Process) -> str:
    """That the supervisor which started a process has ended, in words; empty where it has not, or there was none."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        started_by = process.environ().get(SUPERVISOR)
        if started_by is not None and started_by != str(process.ppid()):
            return f"process {started_by}, which started it, has ended"
    return ""


def _of_report(
    settings: Settings, kind: str, name: str, entry: object, report: dict[str, Any]
) -> Iterator[Observation]:
    """What the process itself says that needs a person, by the alerts' own rules."""
    now = time.time()
    if kind == "processor":
        causes = alerts.causes_of_processor(name, report, report)  # what grows is asked of the database
        yield _cause((kind, name), f"stopped processor {name}", causes, "stopped-processor")
        return
    source, degraded = ("source", name), alerts.causes_of_degraded(name, report, now)
    if isinstance(entry, StreamedSource):
        causes = alerts.causes_of_connector(name, report, entry.silence_seconds, now)
        since = max(report["last_message_at"], report["started_at"])
        yield _cause(source, f"silent source {name}", causes, "silent-source", since)
    elif isinstance(entry, HttpSource):
        causes = alerts.Polled().causes(report, entry.every_seconds, now)
        yield _cause(source, f"failing source {name}", causes, "failing-source", report["failing_since"])
    for cause in degraded or [f"degraded source {name}"]:
        yield replace(_cause(source, cause, degraded, "degraded-source"), state="warning" if degraded else "ok")


def _cause(
    of: tuple[str, str], cause: str, causes: alerts.Causes, page: str, since: float | None = None
) -> Observation:
    """One condition that alerts have a name for, whether it holds or not."""
    kind, name = of
    condition, _, part = cause.partition(f" {name}")
    said, identity = causes.get(cause), name + part
    if not said:
        return Observation(condition, kind, identity, "ok", "it gives and takes")
    return Observation(condition, kind, identity, "failing", said, moment(since), f"{RUNBOOK}/{page}.md")
