"""Keeps the servers of a state folder running: what has ended is started again, and what hangs is ended first."""

import threading
import time
from collections.abc import Callable, Mapping

from tidemark.refusals import is_foreseen, sentence_of
from tidemark.settings import Settings
from tidemark.stack import process
from tidemark.stack.local import SERVERS, status, up

LOOK_SECONDS = 5
ASK_SECONDS = 20.0  # between questions whether each server answers
SILENT_SECONDS = 60.0  # a server that does not answer for so long is ended

Say = Callable[[str], None]


def stay(settings: Settings, stop: threading.Event, say: Say, silent_seconds: float = SILENT_SECONDS) -> None:
    """Until `stop`: start again what has ended, by `up`; `say` is told each time, and why where that failed.

    A server that runs and does not answer for so long is ended, and so started again.
    """
    silent: dict[str, float] = {}
    next_ask = 0.0
    while not stop.wait(LOOK_SECONDS):
        try:
            if time.monotonic() >= next_ask:
                next_ask = time.monotonic() + min(ASK_SECONDS, silent_seconds)
                silent = _end_silent(settings, silent, silent_seconds, say)
            _start_ended(settings, stop, say)
        except Exception as error:
            if not (is_foreseen(error) or isinstance(error, OSError)):  # a full disk ends nobody who waits for room
                raise
            say(f"{sentence_of(error, 'the database')}; trying again in {LOOK_SECONDS} s")


def _start_ended(settings: Settings, stop: threading.Event, say: Say) -> None:
    ended = [each.TITLE for each in SERVERS if each.wanted(settings) and not process.find(settings.home, each.NAME)]
    if ended:
        say(f"{' and '.join(ended)} ended: starting again")
        say("\n".join([*up(settings, stop=stop), "all servers run"]))


def _end_silent(settings: Settings, before: Mapping[str, float], most_seconds: float, say: Say) -> dict[str, float]:
    """End what has not answered for so long; by name of the others that do not: since when, on the monotonic clock."""
    since: dict[str, float] = {}
    for server, found in zip(SERVERS, status(settings), strict=True):
        if found.state != "running" or not found.silence:
            continue
        began = before.get(server.NAME, time.monotonic())
        if time.monotonic() - began < most_seconds:
            since[server.NAME] = began
        else:
            say(f"{found.silence}; after {most_seconds:.0f} s it is ended")
            process.stop(settings.home, server.NAME, server.STOP_SIGNAL)
    return since
