"""Takes alerts to their channels: a thread a channel, so that no channel and no alert keeps another waiting."""

import logging
import threading
import time
import traceback
from collections.abc import Mapping

from tidemark.errors import StackError, TidemarkError
from tidemark.output import visible
from tidemark.settings import Settings
from watch.alert import Alert, Word
from watch.alerts import Alerts
from watch.channels import Refused, Send

log = logging.getLogger("tidemark.alert")

# The last one again and again.
RETRY_SECONDS = (2.0, 5.0, 15.0, 60.0)  # of a channel that is away
REFUSED_SECONDS = (60.0, 300.0, 900.0, 3600.0)  # of an alert that it refuses
TRIES = 3  # of the oldest while nothing is taken; then the others are tried too, as it may be that one alone
CLOSE_SECONDS = 3.0


class Delivery(threading.Thread):
    """One channel: what it has not taken is tried again for it alone, until it is taken or given up.

    An alert that it refuses is set aside and tried again later, and the next ones go on. A channel that is away is
    tried again with the oldest, after TRIES with the others in turn too, each of another cause: if it takes one it is
    not away, and what it then does not take is refused.
    """

    def __init__(
        self,
        settings: Settings,
        alerts: Alerts,
        channel: str,
        send: Send,
        *,
        retry: tuple[float, ...] = RETRY_SECONDS,
        refused: tuple[float, ...] = REFUSED_SECONDS,
    ) -> None:
        super().__init__(name=f"alerts to {channel}", daemon=True)
        self._settings, self._alerts, self._channel, self._send = settings, alerts, channel, send
        self._retry, self._refused, self._failures = retry, refused, 0
        self._due: dict[str, float] = {}  # by alert that is set aside, when it is tried again (the monotonic clock)
        self._doubted: set[str] = set()  # of these, what was not taken while nothing was
        self._suspected: set[str] = set()  # what was doubted until the channel took another
        self._passed: set[str] = set()  # of these, those not tried since it did
        self.news, self._stop_asked = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self.news.clear()
            if (wait := self._deliver()) is None:
                due = min(self._due.values(), default=None)
                self.news.wait(None if due is None else max(self._retry[0], due - time.monotonic()))
            else:
                self._stop_asked.wait(wait)

    def _deliver(self) -> float | None:
        """Everything that is due; the seconds until the next try, None where nothing more is due."""
        while not self._stop_asked.is_set() and (found := self._next(time.monotonic())) is not None:
            alert, word = found
            try:
                self._send(self._settings, alert.payload(word))
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends neither the watcher nor this channel
                is_known = isinstance(error, TidemarkError) and not isinstance(error, Refused)
                if is_known and alert.id not in self._suspected:
                    return self._away(alert, error)
                self._set_aside(alert, error)
            else:
                self._taken(alert, word)
        return None

    def _next(self, now: float) -> tuple[Alert, Word] | None:
        waiting = self._alerts.waiting_for(self._channel)
        ids = {alert.id for alert, _ in waiting}
        self._due = {id_: at for id_, at in self._due.items() if id_ in ids}
        held = set[str]()  # causes of which the channel may yet take the one before
        for alert, word in waiting:
            if alert.cause not in held and self._due.get(alert.id, now) <= now:
                return alert, word
            if alert.id in self._doubted:
                held.add(alert.cause)
        return None

    def _taken(self, alert: Alert, word: Word) -> None:
        # It was away, and is back: it may take what it did not take meanwhile.
        again = self._suspected if self._failures or alert.id in self._suspected else set[str]()
        for id_ in {*again, *self._doubted, alert.id}:
            self._due.pop(id_, None)
        self._suspected = (self._suspected | self._doubted) - {alert.id}
        self._failures, self._doubted, self._passed = 0, set(), set(self._suspected)
        self._alerts.taken(alert, word, self._channel, time.time())

    def _set_aside(self, alert: Alert, error: Exception) -> None:
        """It is refused: the next ones go on."""
        said = error if isinstance(error, TidemarkError) else _fault(error)
        is_sure = isinstance(error, Refused)
        times = self._alerts.refused(alert, self._channel, time.time(), is_sure or alert.id in self._passed)
        self._passed.discard(alert.id)
        self._suspected |= set() if is_sure else {alert.id}
        pauses = self._refused if is_sure else self._refused[:2]  # it may be away
        self._due[alert.id] = time.monotonic() + pauses[min(times, len(pauses)) - 1]
        if times == 1:
            log.error(
                "%s; the next ones go on, and %s is tried again later for the channel %s, which is said once",
                said, visible(alert.cause), self._channel,
            )  # fmt: skip

    def _away(self, alert: Alert, error: Exception) -> float:
        """It takes nothing now; the seconds until the next try."""
        self._failures += 1
        wait = self._retry[min(self._failures, len(self._retry)) - 1]
        if self._failures <= TRIES or self._failures % 60 == 0:  # it may be down for days
            log.error("%s; tried again for the channel %s (%d)", error, self._channel, self._failures)
        if self._failures >= TRIES:
            self._doubted.add(alert.id)
            waiting = self._alerts.waiting_for(self._channel)
            tried = {one.cause for one, _ in waiting if one.id in self._doubted or one.id not in self._due}
            self._due[alert.id] = time.monotonic() + wait * len(tried)  # each of them has its turn
        return wait

    def close(self) -> None:
        """Take up no more; what waits is in the history, and taken by the next watcher."""
        self._stop_asked.set()
        self.news.set()


def _fault(error: Exception) -> str:
    """An error that no channel may raise: where it came from; its words may hold a secret."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{place.filename}, line {place.lineno}"
    return f"expected an alert to be taken or refused, received {type(error).__name__} at {where}: a fault of Tidemark"


class Deliveries:
    """Every channel."""

    def __init__(self, settings: Settings, alerts: Alerts, channels: Mapping[str, Send]) -> None:
        self._threads = [Delivery(settings, alerts, name, send) for name, send in channels.items()]
        for thread in self._threads:
            thread.start()

    def tell(self) -> None:
        """There is something new."""
        for thread in self._threads:
            thread.news.set()

    def require_alive(self) -> None:
        """StackError where a channel's thread has ended, which a fault of it alone does: the watcher begins anew."""
        if ended := [thread.name for thread in self._threads if not thread.is_alive()]:
            raise StackError(f"expected {', '.join(ended)} to go on, it has ended; the log above says why")

    def close(self) -> None:
        """End all of them; one that hangs is left."""
        for thread in self._threads:
            thread.close()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
