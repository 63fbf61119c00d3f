"""What a source is doing, in a word or two: from its entry and what its connector last reported."""

import time
from datetime import UTC, datetime
from typing import Any

from stream_shim.connectors.entries import SourceEntry, StreamedSource
from stream_shim.reports import FRESH_SECONDS, Found
from stream_shim.running.alerts import causes_of_connector


def state_of(name: str, entry: SourceEntry, found: Found | None) -> str:
    """The worst that is true now: not running, hangs, failing, silent, degraded, waiting, or sending."""
    if found is None or found.report is None or not found.is_there():
        return "not running"
    now, most = time.time(), FRESH_SECONDS["connector"]
    if now - found.beat > most:
        return f"hangs since {_clock(found.beat)}"
    if found.age_seconds > most:
        return f"cannot write its report since {_clock(now - found.age_seconds)}"
    return _as_reported(name, entry, found.report, now)


def _as_reported(name: str, entry: SourceEntry, report: dict[str, Any], now: float) -> str:
    if report["failing_since"]:
        return f"failing since {_clock(report['failing_since'])}"
    if isinstance(entry, StreamedSource) and causes_of_connector(name, report, entry.silence_seconds, now):
        return f"silent since {_clock(max(report['last_message_at'], report['started_at']))}"
    if report["degraded"]:
        return "degraded"
    return "sending" if report["last_message_at"] else "nothing sent yet"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
