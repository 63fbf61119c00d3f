"""`tidemark stream run`: a process for each source and each destination that the files name, until SIGTERM.

A process that dies is started again with back-off. An entry that is edited, added or removed takes effect while the
others go on. On SIGTERM the connectors end first, so that the processors may still bring what was sent. Where
the supervisor itself is killed, each of them sees that and ends.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream_shim.claims import second_of
from stream_shim.connectors.entries import ReplaySource, parse_sources
from stream_shim.destinations.entries import DestinationEntry, parse_destinations
from stream_shim.reports import (
    HUNG_SECONDS,
    SUPERVISOR,
    Beats,
    beats_of,
    forget_reports,
    read_reports,
    report_path,
    write_process_report,
)
from stream_shim.running.ending import CHILDREN_SECONDS, CONNECTORS_FIRST_SECONDS, end_by, terminate, wait_for
from stream_shim.running.logs import last_reason
from stream_shim.running.measurements import Measurements
from stream_shim.running.second import SecondProcessors
from tidemark.errors import ConfigurationError
from tidemark.process_environment import OF_S3, of_a_part
from tidemark.secrets import variables_of
from tidemark.settings import Settings
from tidemark.state_file import StateFile
from tidemark.yaml_text import content

log = logging.getLogger("tidemark.stream")

LOOK_SECONDS = 5
DEATHS_IN_A_ROW = 3  # one that died so often needs a person
RESTART_SECONDS = (0, 1, 2, 5, 10, 30, 60)
STEADY_SECONDS = 60
WORKED_SECONDS = 10  # one that sent and lasted so long is started again with the shortest wait
WRONG_CONFIGURATION = 2  # the command line's exit code
STOP_SECONDS = CHILDREN_SECONDS

OF_THE_LANE = ("TIDEMARK_KAFKA_PASSWORD",)  # of a cluster of others: connectors and processors enter as one account

Role = tuple[str, str]  # ("connector" or "processor", its entry's name)


@dataclass
class Child:
    """One process and how often it died."""

    entry: object
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0
    failures: int = 0  # in a row
    waits: int = 0  # since a process of it last worked
    is_refused: bool = False  # it ended because its file or its entry is wrong
    next_start: float = field(default_factory=time.monotonic)


class Supervisor:
    """Holds the processes that the files name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: dict[Role, Child] = {}
        self._beats = Beats()
        self._measurements = Measurements(settings)
        self._second = SecondProcessors(settings)
        self.hung: list[str] = []  # which of them were cut off at the end
        self._file = StateFile(report_path(settings, "supervisor", "stream"), log)
        self._wanted: dict[Role, object] = {}
        self._wanted = self._read()
        self._read_at = time.monotonic()

    def _read(self) -> dict[Role, object]:
        sources = self._read_file(self._settings.sources_file, "connector", parse_sources)
        destinations = self._read_file(self._settings.destinations_file, "processor", parse_destinations)
        return {
            **{("processor", name): entry for name, entry in destinations.items()},
            **{("connector", name): entry for name, entry in sources.items()},
        }

    def _read_file(self, path: Path, kind: str, parse: Callable[[str, Path], dict[str, Any]]) -> dict[str, Any]:
        """A file's entries by name. An editor may have cut a file to nothing, to write it anew: that ends no entry."""
        text = content(path)
        if not text.strip() and any(role[0] == kind for role in self._wanted):
            raise ConfigurationError(
                f"{path}: expected entries, as before, received an empty file: write {{}} for none"
            )
        return parse(text, path)

    def run(self, stop: threading.Event) -> None:
        """Until `stop`: keep what the files name running."""
        seen = self._files_changed_at()
        next_look = 0.0
        try:
            while not stop.is_set():
                changed = self._files_changed_at()
                if changed != seen:
                    seen = changed
                    self._read_again()
                self._second.look({name: entry for (kind, name), entry in self._wanted.items() if kind == "processor"})
                self._adjust()
                if time.monotonic() >= next_look:
                    self._end_hung()
                    self._measurements.look()
                    self._report()
                    next_look = time.monotonic() + LOOK_SECONDS
                stop.wait(0.25)
        finally:
            self.hung = self._stop_all()

    def _files_changed_at(self) -> tuple[int, ...]:
        files = (self._settings.sources_file, self._settings.destinations_file)
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)

    def _read_again(self) -> None:
        try:
            self._wanted, self._read_at = self._read(), time.monotonic()
        except ConfigurationError as error:
            log.error("%s; what ran before goes on", error)
            return
        for child in self._children.values():
            if child.is_refused and child.process is None:  # by what the file said before
                child.next_start, child.failures, child.is_refused = self._read_at, 0, False

    def _named(self) -> dict[Role, object]:
        """What the files name, and the second processors that are needed now."""
        second = {("processor", second_of(name)): self._wanted["processor", name] for name in self._second.names}
        return {**self._wanted, **second}

    def _adjust(self) -> None:
        named = self._named()
        for role, child in list(self._children.items()):
            if named.get(role) != child.entry:
                if role in named:
                    log.info("%s %s: its entry was edited, started anew", *role)
                elif "#" not in role[1]:  # of a second one it is said where that is decided
                    log.warning("%s %s: left the file, ended", *role)
                self._end([child])
                forget_reports(self._settings, *role)
                del self._children[role]
        for role, entry in named.items():
            child = self._children.setdefault(role, Child(entry))
            if child.process is not None and time.monotonic() - child.started_at > STEADY_SECONDS:
                child.failures = child.waits = 0  # what it died of before is over, and so is the alert
                child.is_refused = False
            if child.process is not None and child.process.poll() is not None:
                self._note_death(role, child)
            if child.process is None and time.monotonic() >= child.next_start:
                self._start(role, child)

    def _dying(self) -> dict[str, str]:
        """Those that need a person, as no start mends them, and how they ended."""
        found = {}
        for role, child in self._children.items():
            if child.is_refused or child.failures >= DEATHS_IN_A_ROW:
                died = "it ended as its configuration is wrong" if child.is_refused else (
                    f"it died {child.failures} times in a row"
                )  # fmt: skip
                found[" ".join(role)] = f"{died}; logs/{'-'.join(role)}.log says why"
        return found

    def _end_hung(self) -> None:
        """A process that gives no sign of life for too long, though it is there, is ended: it is started again."""
        beats = [beat for kind in ("connector", "processor") for beat in beats_of(self._settings, kind)]
        silent = self._beats.look(beats)
        for (kind, name), child in self._children.items():
            process = child.process
            if (
                process is None
                or (seconds := silent.get(process.pid, 0.0)) <= HUNG_SECONDS
                or process.poll() is not None
            ):
                continue
            log.error(
                "%s %s: expected a report each second, the last one came %.0f s ago: it hangs; it is ended",
                kind, name, seconds,
            )  # fmt: skip
            process.kill()

    def _report(self) -> None:
        restarts = {" ".join(role): child.restarts for role, child in self._children.items()}
        now = time.monotonic()
        running = {
            " ".join(role): round(now - child.started_at, 1)
            for role, child in self._children.items()
            if child.process is not None
        }
        said = {"restarts": restarts, "dying": self._dying(), "running_seconds": running}
        said |= self._measurements.last.report()
        write_process_report(self._file, said)

    def _start(self, role: Role, child: Child) -> None:
        command = [sys.executable, "-m", "tidemark.cli", "stream", *role]
        forget_reports(self._settings, *role)  # an earlier process's: what it says is over
        own = {*OF_THE_LANE, *variables_of(child.entry), *(OF_S3 if of_the_lake(child.entry) else ())}
        of_others = {name for entry in self._wanted.values() for name in variables_of(entry)} - own
        environ = {name: value for name, value in of_a_part(os.environ, own).items() if name not in of_others}
        environ[SUPERVISOR] = str(os.getpid())  # in a session of its own, it must see itself that we end
        child.process = subprocess.Popen(command, start_new_session=True, env=environ)
        child.started_at = time.monotonic()

    def _note_death(self, role: Role, child: Child) -> None:
        assert child.process is not None
        child.failures += 1
        child.restarts += 1
        child.waits = 1 if self._has_worked(role, child) else child.waits + 1
        seconds, why = RESTART_SECONDS[min(child.waits, len(RESTART_SECONDS) - 1)], ""
        child.is_refused = child.process.returncode == WRONG_CONFIGURATION
        if child.is_refused and child.started_at < self._read_at:  # it read what the file said before
            seconds, child.is_refused = 0, False
        elif child.is_refused:  # an edit of the file starts it at once
            seconds = RESTART_SECONDS[-1]
            why = last_reason(self._settings, "-".join(role))
        log.error("%s %s ended with %s%s; starting it again in %s s", *role, child.process.returncode, why, seconds)
        child.process, child.next_start = None, time.monotonic() + seconds

    def _has_worked(self, role: Role, child: Child) -> bool:
        """Whether the process that ended had sent, or written, for some time."""
        kind, name = role
        report = read_reports(self._settings, kind).get(name, {})
        given = sum(report.get("sent" if kind == "connector" else "rows", {}).values())
        return given > 0 and time.monotonic() - child.started_at > WORKED_SECONDS

    def _stop_all(self) -> list[str]:
        """Connectors end first, for a while, so that processors may bring what was sent. Those that were cut off."""
        deadline = time.monotonic() + STOP_SECONDS
        first = self._running("connector")
        terminate(first)
        wait_for(first, time.monotonic() + CONNECTORS_FIRST_SECONDS)
        last = self._running("processor")
        terminate(last)
        cut = end_by(deadline, [*first, *last])
        return [" ".join(role) for role, child in self._children.items() if child.process in cut]

    def _running(self, kind: str) -> list[subprocess.Popen[bytes]]:
        return [
            child.process
            for role, child in self._children.items()
            if role[0] == kind and child.process is not None and child.process.poll() is None
        ]

    def _end(self, children: list[Child]) -> None:
        running = [child.process for child in children if child.process is not None and child.process.poll() is None]
        terminate(running)
        end_by(time.monotonic() + STOP_SECONDS, running)


def of_the_lake(entry: object) -> bool:
    """Whether it reads the lake, or writes there."""
    return isinstance(entry, ReplaySource) or (isinstance(entry, DestinationEntry) and entry.kind == "lake")
