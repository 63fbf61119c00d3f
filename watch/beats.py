"""Signs that the watcher itself goes on: an event for Prefect each minute, and a GET of who watches the host."""

import logging
import threading
import time
from collections.abc import Callable

from tidemark.http import NoAnswer, ask_now
from tidemark.settings import Settings
from watch.channels import NotTaken, emit

log = logging.getLogger("tidemark.watch")

BEAT_SECONDS, TURN_SECONDS = 60.0, 1.0
EVENT, RESOURCE = "tidemark.watcher.beat", "tidemark.watcher"


class Beats(threading.Thread):
    """`sees`: whether everything was seen just now; while it was not, who watches the host is told nothing."""

    def __init__(self, settings: Settings, sees: Callable[[], bool], seconds: float = BEAT_SECONDS) -> None:
        super().__init__(name="beats", daemon=True)
        self._settings, self._sees, self._seconds = settings, sees, seconds
        self._stop_asked, self._said = threading.Event(), set[str]()

    def run(self) -> None:
        to_prefect = to_host = time.monotonic()
        while not self._stop_asked.is_set():
            now = time.monotonic()
            if now >= to_prefect:
                to_prefect = now + self._seconds
                self._note("Prefect", self._to_prefect)
            # As soon as everything is seen: who watches the host waits for it, and may be about to call somebody.
            if self._settings.heartbeat_url is not None and now >= to_host and self._sees():
                to_host = now + self._seconds
                self._note("TIDEMARK_HEARTBEAT_URL", self._to_host)
            self._stop_asked.wait(min(self._seconds, TURN_SECONDS))

    def _note(self, whom: str, beat: Callable[[], None]) -> None:
        """Say once that somebody takes none, and once that it does again."""
        try:
            beat()
        except (NotTaken, NoAnswer) as error:
            if whom not in self._said:
                log.warning("expected %s to take a sign of life, received %s; said once", whom, error)
            self._said.add(whom)
        else:
            if whom in self._said:
                log.warning("%s takes signs of life again", whom)
            self._said.discard(whom)

    def _to_prefect(self) -> None:
        emit(self._settings, EVENT, RESOURCE, {"cause": RESOURCE})

    def _to_host(self) -> None:
        assert self._settings.heartbeat_url is not None
        url = self._settings.heartbeat_url.get_secret_value()
        answer = ask_now(self._settings, url, seconds=10, hide=lambda _: "TIDEMARK_HEARTBEAT_URL")
        if not 200 <= answer.status < 300:
            raise NotTaken(f"HTTP {answer.status}")

    def close(self) -> None:
        """No more of them."""
        self._stop_asked.set()
