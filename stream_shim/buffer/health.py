"""What of a source does not work, counted and named: the report, the metrics and the alerts are read from it."""

import logging
import time
from collections import Counter
from typing import Any

log = logging.getLogger("tidemark.connector")

MOST_REASONS = 50  # a client's texts are label values of a metric: more kinds than these count as one


class Health:
    """The troubles of one source. A part of it that gives nothing (a symbol) is named, while the others go on."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.source_errors = 0  # times the source, or one of its connections, was lost and connected again
        # Of a polled source, in seconds since 1970: its last round of requests that were all answered, and its first
        # failure since; 0 where there is none.
        self.answered_at, self.failing_since = 0.0, 0.0
        self.gaps: Counter[str] = Counter()  # by symbol: trades or books that are missing
        self.silences: Counter[str] = Counter()  # by symbol: times that nothing came
        self.degraded: dict[str, str] = {}  # the parts that give nothing now, and why
        self.client_errors: Counter[str] = Counter()  # by reason: what the client library met and only logged
        self.last_client_error, self.last_client_error_at = "", 0.0

    def expect_first(self) -> None:
        """The source is connected again: its first record is worth a line in the log."""

    def answer(self) -> None:
        """Every request of a polled source was answered, with data or without news: its session works."""
        self.answered_at, self.failing_since = time.time(), 0.0

    def lose(self) -> None:
        """The source failed."""
        self.source_errors += 1
        self.failing_since = self.failing_since or time.time()

    def degrade(self, part: str, why: str) -> None:
        """A part of the source gives nothing, for this reason, until it is `mend`ed."""
        if self.degraded.get(part) != why:
            log.warning("%s: %s is degraded: %s", self.source, part, why)
        self.degraded[part] = why

    def mend(self, part: str) -> None:
        """The part gives again; nothing happens where it always did."""
        if self.degraded.pop(part, None) is not None:
            log.info("%s: %s is no longer degraded", self.source, part)

    def client_error(self, reason: str, text: str) -> None:
        """Count what the client library does not raise; `text` is this time's sentence. From any thread."""
        if len(self.client_errors) >= MOST_REASONS and reason not in self.client_errors:
            reason = "others"
        self.client_errors[reason] += 1
        self.last_client_error, self.last_client_error_at = text, time.time()

    def troubles(self) -> dict[str, Any]:
        """All of it, for the report."""
        return {
            "source_errors": self.source_errors,
            "answered_at": self.answered_at,
            "failing_since": self.failing_since,
            "gaps": dict(self.gaps),
            "silences": dict(self.silences),
            "degraded": dict(self.degraded),
            "client_errors": dict(self.client_errors),
            "last_client_error": self.last_client_error,
            "last_client_error_at": self.last_client_error_at,
        }
