"""Questions to a destination that may take long, asked in a thread of their own, one at a time."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswerYet
from typing import Any, TypeVar

from stream_shim.processor.destination import NotTaken

ANSWER_SECONDS = 60.0  # a destination that keeps silent for longer is one that takes nothing now
LOOK_SECONDS = 0.5

Answer = TypeVar("Answer")


class Asking:
    """Asks for whoever must go on meanwhile; an answer that comes too late is dropped."""

    def __init__(self, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._answer_seconds = answer_seconds
        self._thread: threading.Thread | None = None

    def ask(self, question: Callable[[], Answer], meanwhile: Callable[[], None], stop: threading.Event) -> Answer:
        """The answer, or what was raised. NotTaken where none came in time, or before `stop`.

        `meanwhile` is called every LOOK_SECONDS until then. As long as an answer is owed, no other question is asked.
        """
        deadline = time.monotonic() + self._answer_seconds
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(LOOK_SECONDS)
            self._go_on(meanwhile, stop, deadline)
        future: Future[Answer] = Future()
        self._thread = threading.Thread(target=_answer, args=(question, future), name="asking", daemon=True)
        self._thread.start()
        while True:
            try:
                return future.result(LOOK_SECONDS)
            except NoAnswerYet:
                if future.done():  # the destination's own
                    raise
                self._go_on(meanwhile, stop, deadline)

    def _go_on(self, meanwhile: Callable[[], None], stop: threading.Event, deadline: float) -> None:
        if stop.is_set():
            raise NotTaken("expected the destination to answer before the end, it has not yet")
        if time.monotonic() >= deadline:
            raise NotTaken(f"expected the destination to answer within {self._answer_seconds:g} s, it has not yet")
        meanwhile()


def _answer(question: Callable[[], Any], future: "Future[Any]") -> None:
    try:
        future.set_result(question())
    except BaseException as failure:  # noqa: BLE001 - whatever it is, who asked raises it
        future.set_exception(failure)
