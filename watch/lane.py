"""The streaming lane: its supervisor, connectors and processors, seen by their locks, processes and reports."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from realtime.positions import REFILLED
from stream_shim.claims import signed_by
from stream_shim.connectors.entries import HttpSource, StreamedSource, read_sources
from stream_shim.destinations.entries import read_destinations
from stream_shim.reports import Found, find_reports
from stream_shim.running import causes as rules
from stream_shim.running import states
from stream_shim.running.logs import last_reason
from tidemark.errors import ConfigurationError
from tidemark.home_kind import home_kind
from tidemark.lock_file import is_held
from tidemark.settings import Settings
from watch.kafka_logs import ENDED
from watch.observation import RUNBOOK, Number, Observation, moment

WRONG, UNWRITTEN = "file is wrong", "state not written"
SHARE, MOST_SHARE, SHARE_RECORDS = "quarantine share", 0.01, 100  # of few records a share says nothing
STARTING_SECONDS = 60  # on a loaded machine; from its start until it has its lock, a process reads its libraries
LANE, HANGS, ORPHAN, DIES = "the lane does not run", "reports no more", "orphan process", "keeps dying"


def look(settings: Settings, polled: rules.Polled | None = None) -> Iterator[Observation]:
    """The supervisor, then each process that the files name, then those that nobody named.

    `polled` remembers from one look to the next since when a source fails.
    """
    polled = polled or rules.Polled()
    runs = _has_lock(settings, "stream")
    supervisor = next(find_reports(settings, "supervisor"), None)
    yield _supervisor(settings, runs, supervisor)
    report = (supervisor and supervisor.report) or {}
    restarts, dying = report.get("restarts", {}), report.get("dying", {})
    starting = _starting(settings, report)
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
    for kind, entries in wanted.items():
        reports = {found.name: found for found in find_reports(settings, kind)}
        labels = {path.stem.removeprefix(f"{kind}-") for path in _run(settings).glob(f"{kind}-*.lock")}
        for label in sorted(labels | entries.keys()):
            # A second processor is one that the lane's report counts: it is ended when one alone would do.
            found, expected = reports.get(label), runs and (label in entries or f"{kind} {label}" in restarts)
            if not _has_lock(settings, f"{kind}-{label}"):
                if expected and starting(f"{kind} {label}"):
                    yield Observation(DIES, kind, label, "ok", "it is being started")
                else:
                    yield from _gone(settings, kind, label, found, expected)
                continue
            yield from _process(settings, kind, label, found, int(restarts.get(f"{kind} {label}", 0)))
            entry = entries.get(label.partition("#")[0])
            if found is not None and found.report is not None and entry is not None:
                yield from _of_report(kind, label, entry, found.report, found.written_at, polled=polled)
            if why := dying.get(f"{kind} {label}"):  # it runs for a moment, until it dies again
                yield _dies(kind, label, why, found)


def _starting(settings: Settings, report: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether a process, `connector NAME`, was begun just now, by the supervisor's word; one that keeps dying was not.

    A lane that has just begun itself may not have written of it yet.
    """
    running, dying = report.get("running_seconds", {}), report.get("dying", {})
    lane = signed_by(settings, "stream")
    is_new = lane is not None and time.time() - lane.process.create_time() < STARTING_SECONDS
    none_yet = 0.0 if is_new and not report.get("restarts") else STARTING_SECONDS
    return lambda role: role not in dying and running.get(role, none_yet) < STARTING_SECONDS


def _run(settings: Settings) -> Path:
    return settings.home / "run"


def _has_lock(settings: Settings, name: str) -> bool:
    """Whether a process has it: by its signature first, as to try a lock keeps others from it for a moment."""
    path = _run(settings) / f"{name}.lock"
    return signed_by(settings, name) is not None or (path.exists() and is_held(path))


def _supervisor(settings: Settings, runs: bool, found: Found | None) -> Observation:
    lock = _run(settings) / "stream.lock"
    of = ("lane", "supervisor")
    if runs and found is not None and (silent := _silence("supervisor", found)):
        return Observation(silent.name, *of, "failing", silent.sentence, silent.since, silent.mend)
    if runs:
        return Observation(LANE, *of, "ok", "`tidemark stream run` runs")
    if not lock.exists() or home_kind(settings) == "replay":
        return Observation(LANE, *of, "ok", "no lane was begun that is to go on")
    since = moment(found.beat if found else lock.stat().st_mtime)
    said = "expected `tidemark stream run` to run, it has ended"
    return Observation(LANE, *of, "failing", said, since, "tidemark stream run")


class Silence(NamedTuple):
    """Why there is no news of a process that is there."""

    name: str
    sentence: str
    since: datetime | None
    mend: str


def _silence(kind: str, found: Found) -> Silence | None:
    """A process that cannot write says at least that it lives; one that hangs says nothing."""
    state = states.state_of_process(kind, found)
    if state is None:
        return None
    since, page = moment(state.since), f"{RUNBOOK}/state-not-written.md"
    if found.report is None:
        return Silence(UNWRITTEN, "expected a report, its file is empty, cut off, or none", since, page)
    if state.word != "hangs":
        said = f"expected to write its report, the last one is {found.age_seconds:.0f} s old, though it lives"
        return Silence(UNWRITTEN, said, since, page)
    said = f"expected a report, the last one is {found.age_seconds:.0f} s old: it hangs"
    return Silence(
        HANGS, said, since, f"{RUNBOOK}/{'silent-source' if kind == 'connector' else 'stopped-processor'}.md"
    )


def _process(settings: Settings, kind: str, label: str, found: Found | None, restarts: int) -> Iterator[Observation]:
    """A process that has its lock."""
    holder = signed_by(settings, f"{kind}-{label}")
    numbers: dict[str, Number] = {"restarts": restarts}
    pid = holder.process.pid if holder else None
    if holder is not None and holder.supervisor is not None and not psutil.pid_exists(holder.supervisor):
        said = f"expected a supervisor that would end it, process {holder.supervisor}, which started it, has ended"
        yield Observation(ORPHAN, kind, label, "failing", said, moment(holder.process.create_time()), f"kill {pid}")
    if holder is not None and _is_stopped(holder.process):
        since = moment(found.beat) if found else None
        said = f"expected a report each second, process {pid} was stopped by a signal"
        yield Observation(HANGS, kind, label, "failing", said, since, f"kill -CONT {pid}", numbers)
    elif found is not None and (silent := _silence(kind, found)):
        yield Observation(silent.name, kind, label, "failing", silent.sentence, silent.since, silent.mend, numbers)
    else:
        yield Observation(HANGS, kind, label, "ok", f"it runs; logs/{kind}-{label}.log", numbers=numbers)


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_STOPPED)
    return False


def _gone(settings: Settings, kind: str, label: str, found: Found | None, expected: bool) -> Iterator[Observation]:
    """A process that is not there: what it said last tells whether somebody is to act."""
    why = last_reason(settings, f"{kind}-{label}")
    since = moment(found.beat) if found else None
    if REFILLED in why:  # which nothing but the record under the last offset shows
        topic = why.removeprefix(": ").partition(",")[0]
        yield Observation(ENDED, "topic", topic, "failing", why[2:], since, f"tidemark stream epoch {topic}")
    if expected:
        yield _dies(kind, label, f"it does not{why}", found)


def _dies(kind: str, label: str, why: str, found: Found | None) -> Observation:
    since = moment(found.beat) if found else None
    said = f"expected {kind} {label} to run, {why}"
    return Observation(DIES, kind, label, "failing", said, since, f"{RUNBOOK}/keeps-dying.md")


def _of_report(
    kind: str, name: str, entry: object, report: dict[str, Any], at: float, *, polled: rules.Polled
) -> Iterator[Observation]:
    """What the process itself says that needs a person, by the alerts' own rules, as of its last report."""
    if kind == "processor":
        causes = rules.causes_of_processor(name, report)
        yield _cause(kind, ("stopped processor", name), causes, "stopped-processor")
        yield _share(name, report)
        return
    state = states.as_reported(name, entry, report, at)
    if isinstance(entry, StreamedSource):
        causes = rules.causes_of_connector(name, report, entry.silence_seconds, at)
        yield _of_source("silent source", name, causes, "silent-source", state)
    elif isinstance(entry, HttpSource):
        causes = polled.causes(report, entry.every_seconds, at)
        yield _of_source("failing source", name, causes, "failing-source", state)
    degraded = rules.causes_of_degraded(name, report, at)
    for cause in degraded or [f"degraded source {name}"]:
        of = ("degraded source", cause.removeprefix("degraded source "))
        seen = _cause("source", of, degraded, "degraded-source")
        yield replace(seen, state="warning" if degraded else "ok")


def _share(name: str, report: dict[str, Any]) -> Observation:
    """Of what a processor took since it began, how much could be no row."""
    bad, rows = sum(report["rejects"].values()), sum(report.get("rows", {}).values())
    share = bad / (bad + rows) if bad else 0.0
    high = bad >= SHARE_RECORDS and share > MOST_SHARE
    said = f"{share:.2%} of what it took since it began went to quarantine"
    wanted = f"expected at most {MOST_SHARE:.0%} to go to quarantine, " if high else ""
    mend = "tidemark quarantine list" if high else ""
    numbers: dict[str, Number] = {"share": share, "records": bad}
    return Observation(SHARE, "processor", name, "failing" if high else "ok", wanted + said, None, mend, numbers)


def _of_source(condition: str, name: str, causes: rules.Causes, page: str, state: states.State) -> Observation:
    """What is an alert fails; a source that has just begun to fail is a warning: it is tried again by itself."""
    if causes or state.word != "failing":
        return _cause("source", (condition, name), causes, page, state.since)
    said = f"expected {name} to answer, it fails and is tried again; logs/connector-{name}.log says why"
    return Observation(condition, "source", name, "warning", said, moment(state.since), f"{RUNBOOK}/{page}.md")


def _cause(kind: str, of: tuple[str, str], causes: rules.Causes, page: str, since: float | None = None) -> Observation:
    """One condition that alerts have a name for, and its identity, whether it holds or not."""
    condition, identity = of
    said = causes.get(f"{condition} {identity}")
    if not said:
        return Observation(condition, kind, identity, "ok", "it gives and takes")
    return Observation(condition, kind, identity, "failing", said, moment(since), f"{RUNBOOK}/{page}.md")
