"""Decides which alerts are open, by the table of conditions; remembers them over a restart.

One alert a cause, and one word when it is over. What cannot be seen raises nothing but `not seen`, and ends nothing.
"""

import json
import logging
import sqlite3
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from tidemark.output import iso, visible
from watch.alert import TABLE, Alert, Refusal, Word, alerts_of
from watch.conditions import ANYTHING, Condition
from watch.observation import RUNBOOK, Observation

log = logging.getLogger("tidemark.alert")

NAMED = 5  # of what is together in one alert
KEEP_DAYS = 100
GIVE_UP_SECONDS = 3 * 86_400.0  # a channel that is set up wrong over a weekend loses none


class Alerts:
    """What is open and what some channel has yet to take. `decide` is called by one thread, the rest by any.

    What the disk does not take now is written with the next decision: a full disk stops no alert.
    """

    def __init__(
        self, connection: sqlite3.Connection | None, conditions: Mapping[str, Condition], channels: Sequence[str]
    ) -> None:
        self._conditions, self._channels = conditions, list(channels)
        self._lock, self.changed = threading.Lock(), threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._alerts: dict[str, Alert] = {}
        self._unwritten: set[str] = set()
        self._refused = ""  # what the disk said last, until it takes something
        self._holds: dict[str, float] = {}  # by cause, since when it is seen to hold
        self._named: dict[str, str] = {}  # by cause that holds or is open, its condition
        self._counts = Counter[str]()  # of these, by condition
        self.keep_in(connection)

    def _is_wanted(self, alert: Alert) -> bool:
        return alert.resolved_at is None or any(self._lacks(alert, channel) for channel in self._channels)

    def open(self) -> list[Alert]:
        """Those that hold, the oldest first."""
        return [alert for alert in self._alerts.values() if alert.resolved_at is None]

    def decide(self, seen: Sequence[Observation], now: float, is_whole: bool) -> None:
        """Raise what holds for long enough, and end what holds no more. `is_whole`: everything was looked at by now."""
        holding = {cause: (condition, ones) for cause, condition, ones in self._holding(seen)}
        self._named = {alert.cause: alert.condition for alert in self.open()}
        self._named |= {cause: name for cause, (name, _) in holding.items()}
        self._counts = Counter(self._named.values())
        # Not later than now, as it would be after a clock was set back.
        self._holds = {cause: min(self._holds.get(cause, now), now) for cause in holding}
        # Once what it follows from is over, it has its own time to be over too.
        self._holds |= {cause: now for cause, (name, _) in holding.items() if self._follows(name, cause)}
        states = {one.title: one.state for one in seen}
        with self._lock:
            opened = {alert.cause: alert for alert in self.open()}
            for cause, (name, ones) in holding.items():
                if cause in opened:
                    opened[cause].text = _said(ones)
                elif self._is_due(name, cause, now):
                    self._raise(cause, name, ones, now)
            for cause, alert in opened.items():
                unseen = states.get(cause, "gone" if is_whole else "unknown") == "unknown"
                if cause not in holding and not (unseen and alert.condition != ANYTHING):
                    self._resolve(alert, now)
            self._write()

    def _holding(self, seen: Sequence[Observation]) -> Iterator[tuple[str, str, list[Observation]]]:
        """Causes that hold, with the condition's name and of what they are."""
        for name, condition in self._conditions.items():
            found = [one for one in seen if one.state in condition.states and name in (one.name, ANYTHING)]
            if condition.together and found:
                yield name, name, found
            elif not condition.together:
                yield from ((one.title, name, [one]) for one in found)

    def _is_due(self, name: str, cause: str, now: float) -> bool:
        return not self._follows(name, cause) and now - self._holds[cause] >= self._conditions[name].for_seconds

    def _follows(self, name: str, cause: str) -> bool:
        """Whether another cause holds, or is open as it cannot be seen, of which this one comes."""
        return any(
            (other in self._named and other != cause) or self._counts[other] > (other == name)
            for other in self._conditions[name].unless
        )

    def _raise(self, cause: str, name: str, ones: list[Observation], now: float) -> None:
        condition, one = self._conditions[name], ones[0]
        since = one.since.timestamp() if one.since is not None else self._holds[cause]
        alert = Alert(
            uuid.uuid4().hex, cause, name, one.kind, "" if condition.together else one.identity, condition.severity,
            _said(ones), one.mend, _page(condition, one), since, now, channels=list(self._channels),
        )  # fmt: skip
        self._alerts[alert.id] = alert
        self._note(alert, "raised")

    def _resolve(self, alert: Alert, now: float) -> None:
        alert.resolved_at = now
        self._note(alert, "resolved")

    def _note(self, alert: Alert, word: Word) -> None:
        log.warning("%s: %s: %s", word, alert.cause, visible(alert.text))
        self._unwritten.add(alert.id)
        self.changed.set()

    def keep_in(self, connection: sqlite3.Connection | None) -> None:
        """Another file for what is known here, from now on; None where there is none: all of it waits for one.

        Of what the file has, too, this is known from then on. sqlite3.Error where it cannot be read: nothing changed.
        """
        with self._lock:
            found: list[Alert] = []
            if connection is not None:
                connection.executescript(TABLE)
                found = alerts_of(
                    connection.execute(
                        "select said from alert where resolved_at is null or raised_at > ?", (_oldest(),)
                    )
                )
            self._connection = connection
            self._unite(found)
            self._unwritten = {*self._alerts}
            self._write()

    def _unite(self, found: Sequence[Alert]) -> None:
        """What is known here is newer than what a file has of it.

        Who began without the file raised what is open there anew: the first of its cause becomes that one, in its
        place, as it may be on its way to a channel just now.
        """
        there, again = {alert.id for alert in found}, dict[str, Alert]()
        for alert in self._alerts.values():
            if alert.id not in there:
                again.setdefault(alert.cause, alert)
        united = {alert.id: alert for alert in found if self._is_wanted(alert)} | self._alerts
        for alert in found:
            if alert.resolved_at is None and alert.id not in self._alerts and alert.cause in again:
                repeated = united[alert.id] = united.pop(again.pop(alert.cause).id)
                repeated.id, repeated.since, repeated.raised_at = alert.id, alert.since, alert.raised_at
                repeated.took["raised"] = alert.took["raised"] | repeated.took["raised"]
                repeated.channels = alert.channels
        self._alerts = {alert.id: alert for alert in sorted(united.values(), key=lambda one: one.raised_at)}
        for alert in self.open():  # what is open still is said to a channel that was not there before, too
            alert.channels = list(dict.fromkeys([*alert.channels, *self._channels]))
            # What was given up is tried again: a channel may have been mended.
            alert.refused = {name: one for name, one in alert.refused.items() if one["given_up_at"] is None}

    # --- delivery

    def _lacks(self, alert: Alert, channel: str) -> bool:
        return self._next_word(alert, channel) is not None

    def _next_word(self, alert: Alert, channel: str) -> Word | None:
        """None where it has taken all, or was given up: what was never raised there is not resolved there either."""
        refusal = alert.refused.get(channel)
        if channel not in alert.channels or (refusal is not None and refusal["given_up_at"] is not None):
            return None
        return next((word for word in alert.words() if channel not in alert.took[word]), None)

    def waiting_for(self, channel: str) -> list[tuple[Alert, Word]]:
        """What a channel has yet to take, of each alert the next word; the oldest first."""
        with self._lock:
            found = [(alert, self._next_word(alert, channel)) for alert in self._alerts.values()]
        return [(alert, word) for alert, word in found if word is not None]

    def taken(self, alert: Alert, word: Word, channel: str, now: float) -> None:
        """A channel has taken it; what all have taken is forgotten here once it is over, and stays in the file."""
        with self._lock:
            alert.took[word][channel] = now
            alert.refused.pop(channel, None)
            # What came of this cause before and was refused: said now, it would be said in the wrong order.
            for other in self._alerts.values():
                if other is alert:
                    break
                if other.cause == alert.cause and other.resolved_at is not None and self._lacks(other, channel):
                    self._give_up(other, channel, now, "the next of its cause was taken")
            self._unwritten.add(alert.id)
            self._write()

    def refused(self, alert: Alert, channel: str, now: float, may_give_up: bool) -> int:
        """A channel refused its next word; how often by now. After GIVE_UP_SECONDS it is not tried any more."""
        with self._lock:
            one = alert.refused.setdefault(channel, Refusal(since=now, times=0, given_up_at=None))
            one["times"] += 1
            if may_give_up and now - one["since"] >= GIVE_UP_SECONDS:
                self._give_up(alert, channel, now, f"refused {one['times']} times since {iso(one['since'])}")
            self._unwritten.add(alert.id)
            self._write()
            return one["times"]

    def _give_up(self, alert: Alert, channel: str, now: float, why: str) -> None:
        log.error(
            "not delivered to the channel %s: %s: %s; `tidemark alerts` shows it", channel, visible(alert.cause), why
        )
        alert.refused.setdefault(channel, Refusal(since=now, times=0, given_up_at=None))["given_up_at"] = now
        self._unwritten.add(alert.id)

    def _write(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.execute("begin immediate")
            for id_ in self._unwritten:
                one = self._alerts[id_]
                self._connection.execute(
                    "insert into alert values (?, ?, ?, ?) on conflict (id) do update set "
                    "resolved_at = excluded.resolved_at, said = excluded.said",
                    (one.id, one.raised_at, one.resolved_at, json.dumps(asdict(one))),
                )
            self._connection.execute("delete from alert where raised_at < ? and resolved_at is not null", (_oldest(),))
            self._connection.execute("commit")
        except sqlite3.Error as error:  # a full disk: the alert goes out all the same
            if self._refused != str(error):
                log.error("expected to keep the alerts in the history, received %s; tried again with the next", error)
            self._refused = str(error)
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            return
        self._refused = ""
        self._unwritten.clear()
        self._alerts = {alert.id: alert for alert in self._alerts.values() if self._is_wanted(alert)}


def _oldest() -> float:
    return datetime.now(UTC).timestamp() - KEEP_DAYS * 86_400


def _page(condition: Condition, one: Observation) -> str:
    """The page that the observation itself names, else the condition's."""
    return one.mend if one.mend.startswith(RUNBOOK) else condition.runbook


def _said(ones: Sequence[Observation]) -> str:
    if len(ones) == 1:
        return ones[0].sentence
    named = "; ".join(f"{one.title} ({one.sentence})" for one in ones[:NAMED])
    return f"{named}; and {len(ones) - NAMED} more" if len(ones) > NAMED else named
