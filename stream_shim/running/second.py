"""Whether a destination has a second processor now: begun while the lag is small, ended when one alone would do.

A change costs the group a rebalance, so there is at most one in CHANGE_SECONDS.
"""

import logging
import time
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from stream_shim.destinations.entries import DestinationEntry
from stream_shim.reports import fresh_reports
from tidemark.home_kind import home_kind
from tidemark.settings import Settings

log = logging.getLogger("tidemark.stream")

CHANGE_SECONDS = 300.0  # from one change to the next at least, and so long is it calm before the second one ends
LAG_SECONDS = 1.0  # the lag that starts a second one, if it is there in LOOKS reports one after the other
LOOKS = 2
CALM_SECONDS = 0.5  # a smaller lag is none
SPARE = 0.7  # one alone would do where less comes than this share of what one took while it lagged


class Seen(NamedTuple):
    """What the processors of a destination reported, all together."""

    lag_seconds: float  # of the topics that two can share, the worst
    rows: int  # committed since the last look
    processors: int  # that have partitions


class Decision:
    """Of one destination; it knows what it has seen, and no clock: `now` is in seconds, of one that never goes back."""

    def __init__(self, change_seconds: float = CHANGE_SECONDS) -> None:
        self.has_second = False
        self._change_seconds = change_seconds
        self._changed_at, self._looked_at = -inf, inf
        self._lagging = 0  # looks in a row
        self._taken, self._seconds = 0, 0.0  # while it lagged: rows, and the seconds of all processors
        self._calm_since, self._calm_rows = inf, 0

    def look(self, now: float, seen: Seen) -> bool:
        """Whether it has a second processor from now on."""
        self._measure(max(0.0, now - self._looked_at), seen)
        self._looked_at = now
        if seen.lag_seconds >= CALM_SECONDS:
            self._calm_since = inf
        elif self._calm_since == inf:
            self._calm_since, self._calm_rows = now, 0
        else:
            self._calm_rows += seen.rows
        if now - self._changed_at >= self._change_seconds and self._is_to_change(now, seen):
            self.has_second, self._changed_at = not self.has_second, now
        return self.has_second

    def _measure(self, seconds: float, seen: Seen) -> None:
        """What one processor takes when there is more than it can take; the look that ends a lag is of it too."""
        lags = seen.lag_seconds >= LAG_SECONDS
        if lags and not self._lagging and not self.has_second:
            self._taken, self._seconds = 0, 0.0
        elif lags or self._lagging:
            self._taken += seen.rows
            self._seconds += seconds * seen.processors
        self._lagging = self._lagging + 1 if lags else 0

    def _is_to_change(self, now: float, seen: Seen) -> bool:
        if not self.has_second:
            return self._lagging >= LOOKS and seen.processors < 2  # a person may have started one
        calm = now - self._calm_since
        if calm < self._change_seconds:
            return False
        if not self._taken or self._calm_rows / calm < SPARE * self._taken / self._seconds:
            return True
        self._calm_since, self._calm_rows = now, 0  # as much comes as one can hardly take: it is measured anew
        return False


class SecondProcessors:
    """Of each destination whose entry lets it have one; `names` are those that have it now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._decisions: dict[str, Decision] = {}
        self._before: dict[str, tuple[float, int]] = {}  # by label: when it reported, and its rows until then
        self._partitions: dict[tuple[str, str], int] = {}  # by destination and topic; in a rebalance nobody has some
        self._said: set[tuple[str, str]] = set()

    @property
    def names(self) -> set[str]:
        """The destinations that have a second processor now."""
        return {name for name, decision in self._decisions.items() if decision.has_second}

    def look(self, destinations: Mapping[str, object]) -> None:
        """Decide by the reports as they are; `destinations` are the entries by name."""
        wanted = {name for name, entry in destinations.items() if isinstance(entry, DestinationEntry)
                  and entry.processors > 1}  # fmt: skip
        self._decisions = {name: self._decisions.get(name) or Decision() for name in sorted(wanted)}
        reports = fresh_reports(self._settings, "processor") if wanted else {}
        for name, decision in self._decisions.items():
            here = {label: report for label, report in reports.items() if label.partition("#")[0] == name}
            had, seen = decision.has_second, self._seen(name, here)
            if seen is not None and decision.look(time.monotonic(), seen) != had:
                why = "nothing lags, and one alone would do; the second one is ended"
                if not had:
                    why = f"it lags by {seen.lag_seconds:.1f} s; a second one is started"
                log.warning("processor %s: %s; the next change is %.0f s away at least", name, why, CHANGE_SECONDS)

    def _seen(self, name: str, reports: Mapping[str, Mapping[str, Any]]) -> Seen | None:
        """None where nothing new was reported, or what takes the rows gives no answer: two would wait as one does."""
        said = {label: (report.get("written_at", 0.0), sum(report.get("rows", {}).values()))
                for label, report in reports.items()}  # fmt: skip
        before, self._before = self._before, self._before | said
        if all(before.get(label, (0.0, 0))[0] == written_at for label, (written_at, _) in said.items()):
            return None
        if any(report["waiting_for"] for report in reports.values()):
            return None
        rows = sum(max(0, each[1] - before.get(label, each)[1]) for label, each in said.items())
        reading = [report for report in reports.values() if report.get("partitions")]
        return Seen(self._lag(name, reading), rows, len(reading))

    def _lag(self, name: str, reports: list[Mapping[str, Any]]) -> float:
        """The worst lag of a topic of two partitions or more, in seconds; of one that lags and has one, it is said."""
        worst = 0.0
        for topic in {topic for report in reports for topic in report["partitions"]}:
            there = sum(report["partitions"].get(topic, 0) for report in reports)
            known = self._partitions[name, topic] = max(there, self._partitions.get((name, topic), 0))
            lag = max(report.get("lag_seconds", {}).get(topic, 0.0) for report in reports)
            if home_kind(self._settings) == "replay":
                self._say(name, topic, lag, "its records have the time of a replay, which says nothing of a lag")
            elif known < 2:
                self._say(name, topic, lag, "it has one partition, which two processors cannot share: `partitions` in "
                          "topics.yml gives it more")  # fmt: skip
            else:
                worst = max(worst, lag)
        return worst

    def _say(self, name: str, topic: str, lag: float, why: str) -> None:
        """Once, why it has no second processor though it lags."""
        if lag >= LAG_SECONDS and (name, topic) not in self._said:
            self._said.add((name, topic))
            log.warning("processor %s: %s lags by %.1f s, and no second one is started: %s", name, topic, lag, why)
