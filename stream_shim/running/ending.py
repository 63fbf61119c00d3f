"""The end of a process of the lane: SIGTERM or Ctrl-C asks for it, and it comes within a limit, whatever hangs.

A thread waits for the signal, as the main one may wait for a broker that is gone, in a call that heeds nothing.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

log = logging.getLogger("tidemark.stream")

# Seconds after the signal. Connectors end first, so that processors may still bring what was sent; all end within 5.
CONNECTOR_SECONDS, CONNECTORS_FIRST_SECONDS = 2.5, 2.0
PROCESSOR_SECONDS = 3.5
CHILDREN_SECONDS, SUPERVISOR_SECONDS = 4.0, 4.7
SAID_SECONDS = 0.2
CUT_OFF = 1  # the exit code of what did not end by itself
OURS = Path(__file__).parents[2] / "stream_shim"


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Python's own part of a signal: nothing, as the thread is told by the wake-up socket."""


def stop_on_signal(within_seconds: float, ask: Callable[[], None] = lambda: None) -> threading.Event:
    """Set by SIGTERM and Ctrl-C, and `ask` is called. A process that has not ended by then is ended where it stands.

    To be called by the main thread, once; until then a signal ends the process at once. What is cut off so exits 1,
    and is as after a kill: records that Kafka has not acknowledged are not sent, uncommitted rows come again.
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
            text = f"expected to end within {within_seconds} s of the signal, it hangs in {_where()}; it is cut off"
            said = threading.Thread(target=log.warning, args=(text,), daemon=True)  # what hangs may be the log
            said.start()
            said.join(SAID_SECONDS)
            os._exit(CUT_OFF)

    threading.Thread(target=end, name="ending", daemon=True).start()
    return stop


def _where() -> str:
    """The call that the main thread is in, and the line of ours that led there."""
    frames = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident or 0])
    last, ours = frames[-1], [frame for frame in frames if OURS in Path(frame.filename).parents] or frames
    named = f"{Path(ours[-1].filename).name}, line {ours[-1].lineno}"
    return f"{last.name} ({named})"


def terminate(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask children to end."""
    for process in processes:
        process.send_signal(signal.SIGTERM)


def wait_for(processes: list[subprocess.Popen[bytes]], deadline: float) -> list[subprocess.Popen[bytes]]:
    """Those that have not ended by then, on the monotonic clock."""
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    return [process for process in processes if process.poll() is None]


def end_by(deadline: float, processes: list[subprocess.Popen[bytes]]) -> list[subprocess.Popen[bytes]]:
    """Kill those that have not ended by then; returned are these, and those that cut themselves off."""
    for process in wait_for(processes, deadline):
        log.error("expected process %s to end within %s s of SIGTERM; it is killed", process.pid, CHILDREN_SECONDS)
        process.kill()
        process.wait()
    return [process for process in processes if process.returncode in {CUT_OFF, -signal.SIGKILL}]


def leave(code: int = 0) -> NoReturn:
    """End this process, whose work is done, as it is: to take down what it imported costs a busy machine a second."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
