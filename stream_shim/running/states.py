"""What a process, or a source, is doing and since when: the one judgement, by the rules of reports and of alerts."""

import time
from typing import Any, Literal, NamedTuple

from stream_shim.connectors.entries import SourceEntry, StreamedSource
from stream_shim.reports import FRESH_SECONDS, Found
from stream_shim.running.causes import causes_of_connector, causes_of_degraded
from tidemark.output import utc

Word = Literal[
    "never ran",
    "the lane is down",
    "ended",
    "unreadable",
    "hangs",
    "cannot write its report",
    "failing",
    "silent",
    "degraded",
    "sending",
    "nothing sent yet",
]


class State(NamedTuple):
    """A word or two, and since when that holds, in seconds since 1970; None where nobody knows, or it is well."""

    word: Word
    since: float | None = None

    def __str__(self) -> str:
        if self.since is None:
            return self.word
        return f"{self.word} since {utc(self.since)}"


def state_of(name: str, entry: SourceEntry, found: Found | None, ran: bool, lane_runs: bool) -> State:
    """The worst that is true of a source now. `ran`: whether its connector ever began; `lane_runs`: who starts it."""
    if found is not None and found.report is None:
        return State("unreadable")
    if found is None or not found.is_there():
        if found is None and not ran:
            return State("never ran")
        return State("ended" if lane_runs else "the lane is down", found.beat if found else None)
    assert found.report is not None
    return state_of_process("connector", found) or as_reported(name, entry, found.report, found.written_at)


def state_of_process(kind: str, found: Found) -> State | None:
    """Why a process that is there gives no news; one that cannot write lives at least. None where its report is new."""
    most = FRESH_SECONDS[kind]
    if found.report is None:
        return State("unreadable")
    if found.age_seconds <= most:
        return None
    return State("hangs", found.beat) if time.time() - found.beat > most else State(
        "cannot write its report", found.written_at
    )  # fmt: skip


def as_reported(name: str, entry: object, report: dict[str, Any], at: float) -> State:
    """The same by what a source's report said when it was written."""
    if report["failing_since"]:
        return State("failing", report["failing_since"])
    if isinstance(entry, StreamedSource) and causes_of_connector(name, report, entry.silence_seconds, at):
        return State("silent", max(report["last_message_at"], report["started_at"]))
    if causes_of_degraded(name, report, at):
        return State("degraded")
    return State("sending" if report["last_message_at"] else "nothing sent yet")
