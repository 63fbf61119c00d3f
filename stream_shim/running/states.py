"""What a source is doing, in a word or two: from its entry and what its connector last reported."""

import time
from datetime import UTC, datetime
from typing import Any

import psutil

from stream_shim.connectors.entries import SourceEntry, StreamedSource
from stream_shim.running.alerts import causes_of_connector
from stream_shim.running.supervisor import HANGS_SECONDS


def state_of(name: str, entry: SourceEntry, report: dict[str, Any]) -> str:
    """The worst that is true now: not running, hangs, failing, silent, degraded, waiting, or sending."""
    now = time.time()
    if not psutil.pid_exists(report.get("pid", -1)):
        return "not running"
    if now - report["written_at"] > HANGS_SECONDS:
        return f"hangs since {_clock(report['written_at'])}"
    if report["failing_since"]:
        return f"failing since {_clock(report['failing_since'])}"
    if isinstance(entry, StreamedSource) and causes_of_connector(name, report, entry.silence_seconds, now):
        return f"silent since {_clock(max(report['last_message_at'], report['started_at']))}"
    if report["degraded"]:
        return "degraded"
    return "sending" if report["last_message_at"] else "nothing sent yet"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
