"""The end of a process of the lane: SIGTERM or Ctrl-C asks for it, and it comes within a limit, whatever hangs.

A thread waits for the signal, as the main one may wait for a broker that is gone, in a call that heeds nothing.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

log = logging.getLogger("tidemark.stream")

# Seconds after the signal. Connectors end first, so that processors may still bring what was sent; all end within 5.
CONNECTOR_SECONDS, CONNECTORS_FIRST_SECONDS = 2.5, 2.0
PROCESSOR_SECONDS = 3.5
CHILDREN_SECONDS, SUPERVISOR_SECONDS = 4.0, 4.7
SAID_SECONDS = 0.2


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Python's own part of a signal: nothing, as the thread is told by the wake-up socket."""


def stop_on_signal(within_seconds: float, ask: Callable[[], None] = lambda: None) -> threading.Event:
    """Set by SIGTERM and Ctrl-C, and `ask` is called. A process that has not ended by then is ended where it stands.

    To be called by the main thread, once; until then a signal ends the process at once. What is cut off so is as after
    a kill: records that Kafka has not acknowledged are not sent, rows that are not committed come again.
    """
    stop = threading.Event()
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _noted)

    def end() -> None:
        with tell, told:
            told.recv(1)
            stop.set()
            ask()
            time.sleep(within_seconds)
            text = f"expected to end within {within_seconds} s of the signal, something hangs; it is cut off"
            said = threading.Thread(target=log.warning, args=(text,), daemon=True)  # what hangs may be the log
            said.start()
            said.join(SAID_SECONDS)
            os._exit(0)

    threading.Thread(target=end, name="ending", daemon=True).start()
    return stop


def leave() -> NoReturn:
    """End this process, whose work is done, as it is: to take down what it imported costs a busy machine a second."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
