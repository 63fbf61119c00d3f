"""Batches on their way to the destination: put here by the processor, committed in order by a thread of their own."""

import logging
import queue
import threading
import time
from typing import Any

from stream_shim.processor.counts import Committed, Counts
from stream_shim.processor.destination import Destination, NotTaken

log = logging.getLogger("tidemark.processor")

BATCHES_AHEAD = 2
PUT_SECONDS = 1
LAST_SECONDS = 3


class Handover:
    """At most BATCHES_AHEAD wait, so memory is bounded whatever the backlog. `failure` is what the thread met."""

    def __init__(self, destination: Destination, counts: Counts) -> None:
        self.failure: BaseException | None = None
        self._destination, self._counts = destination, counts
        self._queue: queue.Queue[tuple[Any, Committed]] = queue.Queue(BATCHES_AHEAD)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._commit_in_order, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def put(self, prepared: Any, committed: Committed) -> bool:
        """Whether there was room for one more within PUT_SECONDS."""
        try:
            self._queue.put((prepared, committed), timeout=PUT_SECONDS)
        except queue.Full:
            return False
        return True

    @property
    def is_settled(self) -> bool:
        """Whether all that was put is committed, or never will be."""
        return not self._queue.unfinished_tasks or self.failure is not None

    def end(self) -> None:
        """What was put is committed if that takes less than LAST_SECONDS; else it stays unread."""
        deadline = time.monotonic() + LAST_SECONDS
        while not self.is_settled and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stopping.set()

    def _commit_in_order(self) -> None:
        while True:
            prepared, committed = self._queue.get()
            try:
                if not self._stopping.is_set() and self.failure is None:
                    self._commit(prepared, committed)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the main thread raises it
                self.failure = failure
            finally:
                self._queue.task_done()

    def _commit(self, prepared: Any, committed: Committed) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                written = self._destination.commit(prepared)
            except NotTaken as error:
                seconds = self._counts.wait("destination", str(error))
                log.warning("%s: %s; nothing was committed, trying again in %s s", self._counts.name, error, seconds)
                self._stopping.wait(seconds)
                continue
            self._counts.commit(written, committed, time.monotonic() - started)
            self._counts.answers("destination")
            return
