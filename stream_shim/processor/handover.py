"""Batches on their way to the destination: put here by the processor, committed in order by a thread of their own.

What a destination gathers is committed when it stands there: until then its positions are held here.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from stream_shim.processor.counts import Committed, Counts
from stream_shim.processor.destination import Destination, Gathers, NotTaken, Written

log = logging.getLogger("tidemark.processor")

BATCHES_AHEAD = 2
PUT_SECONDS = 1
LAST_SECONDS = 3
LOOK_SECONDS = 0.2  # between two looks at whether what is gathered is old enough


class Handover:
    """At most BATCHES_AHEAD wait, so memory is bounded whatever the backlog. `failure` is what the thread met."""

    def __init__(self, destination: Destination, counts: Counts) -> None:
        self.failure: BaseException | None = None
        self._destination, self._counts = destination, counts
        self._queue: queue.Queue[tuple[Any, Committed]] = queue.Queue(BATCHES_AHEAD)
        self._stopping, self._all_asked = threading.Event(), threading.Event()
        self._gathered: list[Committed] = []  # what stands nowhere yet
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

    def settle(self) -> bool:
        """Whether all that was put is committed, or never will be; what is gathered is to be written now."""
        if self._gathered:  # else the next poll, which nobody asked for, would be a file of its own
            self._all_asked.set()
        return not (self._queue.unfinished_tasks or self._gathered) or self.failure is not None

    def end(self) -> None:
        """What was put is committed if that takes less than LAST_SECONDS; else it stays unread."""
        deadline = time.monotonic() + LAST_SECONDS
        while not self.settle() and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stopping.set()

    def _commit_in_order(self) -> None:
        while True:
            try:
                prepared, committed = self._queue.get(timeout=LOOK_SECONDS if self._gathered else None)
            except queue.Empty:
                self._unless_ended(self._write)
                continue
            self._unless_ended(partial(self._commit, prepared, committed))
            self._queue.task_done()

    def _unless_ended(self, step: Callable[[], None]) -> None:
        try:
            if not self._stopping.is_set() and self.failure is None:
                step()
        except Exception as failure:  # noqa: BLE001 - whatever it is, the main thread raises it
            self.failure = failure

    def _commit(self, prepared: Any, committed: Committed) -> None:
        started = time.monotonic()
        written = self._tried(lambda: self._destination.commit(prepared))
        if isinstance(self._destination, Gathers):
            self._gathered.append(committed)
            self._write()
        elif written is not None:
            self._counts.commit(written, time.monotonic() - started, committed)

    def _write(self) -> None:
        """Let a destination write what it gathered, if it is time; with that, all of it is committed."""
        destination, started = self._destination, time.monotonic()
        assert isinstance(destination, Gathers)
        written = self._tried(lambda: destination.write(self._all_asked.is_set()))
        if written is None:
            return
        self._counts.commit(written, time.monotonic() - started, *self._gathered)
        self._gathered = []
        self._all_asked.clear()

    def _tried(self, step: Callable[[], Written | None]) -> Written | None:
        """Again until it is taken; None also where it was not before the end."""
        while not self._stopping.is_set():
            try:
                written = step()
            except NotTaken as error:
                seconds = self._counts.wait("destination", str(error))
                log.warning("%s: %s; nothing was committed, trying again in %s s", self._counts.name, error, seconds)
                self._stopping.wait(seconds)
                continue
            self._counts.answers("destination")
            return written
        return None
