"""The one watcher: looks at everything, says in one file what it sees, and decides which alerts are open."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tidemark.errors import StackError
from tidemark.home_kind import home_kind
from tidemark.settings import Settings
from tidemark.stack import watcher
from tidemark.state_file import StateFile
from watch import alerts, fresh, history
from watch.beats import Beats
from watch.channels import Send, channels
from watch.conditions import read_conditions
from watch.delivery import Deliveries
from watch.forecasts import Forecasts
from watch.history import History
from watch.lane import UNWRITTEN
from watch.observation import RUNBOOK, Look, Observation, State
from watch.observations import looks
from watch.rounds import Rounds
from watch.status_file import VALID_SECONDS, Row, Seen, content

log = logging.getLogger("tidemark.watch")

TURN_SECONDS = 0.5
KEEP_AGAIN_SECONDS = 60.0  # until a history that could not be written is tried again
SAY_SECONDS = (2.0, 5.0)  # at most every so often, at least every so often
# What of the observations' numbers is kept by the minute: by name of the condition.
KEPT_NUMBERS = {
    "lag": ("records",), "newest row": ("rows_per_minute",), "disk ends": ("free_bytes",),
    "connections are taken": ("taken",), "low head-room": ("days_ahead",),
    "growing quarantine": ("records", "new_records"),
    "balance is not 0": ("consumed",), "check failed": ("failed",),
}  # fmt: skip


class Watcher:
    """Everything that goes on in the process; `run` is called by its one main thread."""

    def __init__(
        self,
        settings: Settings,
        seen_by: Sequence[Look] | None = None,
        sends: Mapping[str, Send] | None = None,
    ) -> None:
        self._settings, self._configuration = settings, watcher.configuration(settings)
        # Why the history is not kept, when it was last begun (monotonic clock), and whether that is in its file.
        self._refused, self._tried_at, self._is_kept = "", 0.0, False
        self._connections: list[sqlite3.Connection] = []
        found = channels(settings) if sends is None else sends
        self._alerts = alerts.Alerts(None, read_conditions(), list(found))
        self._begin_history(time.monotonic())
        self._deliveries = Deliveries(settings, self._alerts, found)
        self._rounds = Rounds(settings, looks() if seen_by is None else seen_by)
        self._file = StateFile(watcher.status_path(settings.home), log)
        self._sees_all, self._said_at = False, 0.0
        self._rows: dict[str, list[Row]] = {}
        self._beats = Beats(settings, lambda: self._sees_all)

    def _begin_history(self, now: float) -> None:
        """From now on in the file, all of it, or none of it where that cannot be; alerts go out all the same.

        Without the file, history and forecasts go on in memory, and alerts wait to be written. `now`: monotonic clock.
        """
        self._tried_at, former, self._connections = now, self._connections, []
        try:
            self._keep_in_file()
        except (sqlite3.Error, OSError) as error:
            self._refuse(error)
            for each in self._connections:
                each.close()
            if former and not self._is_kept:  # it is in memory already
                self._connections = former
                return
            self._is_kept = False
            self._connections = [sqlite3.connect(":memory:", isolation_level=None)]
            self._history = History(self._connections[0], VALID_SECONDS)
            self._forecasts = Forecasts(self._connections[0])
            self._alerts.keep_in(None)
        else:
            self._is_kept = True
        for each in former:
            each.close()

    def _keep_in_file(self) -> None:
        """sqlite3.Error or OSError where one cannot be; the alerts come last, as nothing after them can fail."""

        def connected() -> sqlite3.Connection:  # each has its own: a transaction of one is none of another's
            self._connections.append(connection := history.connect(self._settings))
            return connection

        kept, forecasts = History(connected(), VALID_SECONDS), Forecasts(connected())
        self._alerts.keep_in(connected())
        self._history, self._forecasts = kept, forecasts
        self._identity = history.path(self._settings).stat()

    def _refuse(self, error: Exception) -> None:
        """Say so once, until something was written."""
        said = f"expected to keep the history in {history.path(self._settings)}, received {error}"
        if self._refused != said:
            log.error("%s; tried again each minute", said)
        self._refused = said

    def run(self, stop: threading.Event) -> None:
        """Look until `stop`. What was decided and not delivered then is the next watcher's."""
        self._deliveries.tell()
        self._beats.start()
        try:
            while not stop.is_set():
                self.turn(time.monotonic())
                self._deliveries.require_alive()
                if not self._beats.is_alive():
                    raise StackError("expected the signs of life to go on, their thread has ended; the log says why")
                stop.wait(TURN_SECONDS)
        finally:
            self._beats.close()
            self._deliveries.close()

    def turn(self, now: float) -> None:
        """Ask what is due, and say what is new. `now`: the monotonic clock."""
        news, age = self._rounds.turn(now), now - self._said_at
        if self._said_at and age < SAY_SECONDS[0 if news else 1]:
            return
        self._said_at = now
        if self._refused and now - self._tried_at > KEEP_AGAIN_SECONDS:
            self._begin_history(now)
        self._say(self._rounds.seen(), time.time())

    def _say(self, found: list[Seen], now: float) -> None:
        looked_at = [one for one in found if one.observed_at is not None]
        self._keep(looked_at, now)
        found.append(mine := self._own(now))
        looked_at.append(mine)
        self._alerts.decide(looked_at, now, self._rounds.is_whole)
        if self._alerts.changed.is_set():
            self._alerts.changed.clear()
            self._deliveries.tell()
        self._sees_all = self._rounds.is_whole and not any(one.state == "unknown" for one in found)
        self._file.write(self._content([replace(one, state_since=self._since(one)) for one in found], now))

    def _keep(self, looked_at: list[Seen], now: float) -> None:
        try:
            self._history.note([*looked_at, self._own(now)], now, self._rounds.is_whole)
            self._history.note_numbers(numbers_of(looked_at), now)
            self._rows = self._forecasts.turn(self._settings, looked_at, now)
            if self._is_kept:
                self._require_file()
                self._refused = ""
        except (sqlite3.Error, OSError) as error:  # a full disk: what is seen is said all the same, and alerts go out
            self._refuse(error)

    def _require_file(self) -> None:
        """sqlite3.OperationalError or OSError where what is written is in no file that anybody finds again."""
        if not os.path.samestat(history.path(self._settings).stat(), self._identity):
            raise sqlite3.OperationalError("another file than the one that it writes")

    def _own(self, now: float) -> Seen:
        """What it knows of itself."""
        state: State = "failing" if self._refused else "ok"
        said, mend = self._refused or "the history is kept", f"{RUNBOOK}/state-not-written.md" * bool(self._refused)
        one = Observation(UNWRITTEN, "history", "watcher", state, said, mend=mend)
        return Seen.of(one, datetime.fromtimestamp(now, UTC))

    def _since(self, one: Seen) -> datetime | None:
        since = self._history.since(one)
        return None if since is None else datetime.fromtimestamp(since, UTC)

    def _content(self, found: Sequence[Seen], now: float) -> Row:
        return content(
            self._settings, found, datetime.fromtimestamp(now, UTC), pid=os.getpid(), kind=home_kind(self._settings),
            configuration=self._configuration, marts=fresh.rows_of_marts(found),
            alerts=[alert.row() for alert in self._alerts.open()], forecasts=self._rows,
        )  # fmt: skip


def numbers_of(seen: Sequence[Seen]) -> dict[str, float]:
    """The numbers that are kept, by series: `condition: identity number`."""
    return {
        f"{one.title} {key}": float(value)
        for one in seen
        if one.state != "unknown"
        for key in KEPT_NUMBERS.get(one.name, ())
        if isinstance(value := one.numbers.get(key), int | float)
    }
