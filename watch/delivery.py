"""Takes alerts to their channels: a thread a channel, so that one that fails or hangs keeps no other waiting."""

import logging
import threading
import time
import traceback
from collections.abc import Mapping

from tidemark.errors import StackError, TidemarkError
from tidemark.settings import Settings
from watch.alerts import Alerts
from watch.channels import Send

log = logging.getLogger("tidemark.alert")

RETRY_SECONDS = (2.0, 5.0, 15.0, 60.0)  # the last one again and again
CLOSE_SECONDS = 3.0


class Delivery(threading.Thread):
    """One channel: what it has not taken is tried again for it alone, in order, until it is taken."""

    def __init__(
        self, settings: Settings, alerts: Alerts, channel: str, send: Send, retry: tuple[float, ...] = RETRY_SECONDS
    ) -> None:
        super().__init__(name=f"alerts to {channel}", daemon=True)
        self._settings, self._alerts, self._channel, self._send = settings, alerts, channel, send
        self._retry, self._failures = retry, 0
        self.news, self._stop_asked = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self.news.clear()
            if (wait := self._deliver()) is None:
                self.news.wait()
            else:
                self._stop_asked.wait(wait)

    def _deliver(self) -> float | None:
        """Everything that waits; the seconds until the next try, None where all was taken."""
        while (found := self._alerts.next_for(self._channel)) is not None and not self._stop_asked.is_set():
            alert, word = found
            try:
                self._send(self._settings, alert.payload(word))
            except Exception as error:  # noqa: BLE001 - whatever it is, it ends neither the watcher nor this channel
                self._failures += 1
                if self._failures in (1, 2, 3) or self._failures % 60 == 0:  # it may be down for days
                    said = error if isinstance(error, TidemarkError) else _fault(error)
                    log.error("%s; tried again for the channel %s (%d)", said, self._channel, self._failures)
                return self._retry[min(self._failures, len(self._retry)) - 1]
            self._failures = 0
            self._alerts.taken(alert, word, self._channel, time.time())
        return None

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
