"""What a Postgres that was killed leaves: sessions that have not seen it yet, and a lock file of a pid that is over.

Sessions hold the shared memory, and a server that starts beside them refuses. They are known by the cluster's folder,
in which all processes of a Postgres work, and by their titles.
"""

import signal
from contextlib import suppress
from pathlib import Path

import psutil

from tidemark.errors import StackError

SEES_SECONDS = 3.0  # a session sees by itself that its server is gone, unless it computes, or was stopped
QUIT_SECONDS = 3.0
KILLED_SECONDS = 10.0


def end_survivors(data: Path) -> None:
    """End the sessions of a server of this folder that is gone, and forget its lock. Nothing where one is running.

    StackError where one of them cannot be ended. What they had not committed is gone, as their server is.
    """
    lock = data / "postmaster.pid"
    pid = _pid_in(lock)
    if pid is None or _works_in(_process(pid), data):
        return
    alive = [process for process in psutil.process_iter() if _works_in(process, data)]
    if any(map(_is_server, alive)):  # whatever its lock says: Postgres refuses by itself
        return
    for how, seconds in ((None, SEES_SECONDS), (signal.SIGQUIT, QUIT_SECONDS), (signal.SIGKILL, KILLED_SECONDS)):
        if how is not None:
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(how)
        alive = psutil.wait_procs(alive, seconds)[1]
    if alive:
        pids = ", ".join(str(process.pid) for process in alive)
        raise StackError(f"expected the sessions of a Postgres that was killed to end, the processes {pids} do not")
    lock.unlink(missing_ok=True)  # its pid may be somebody else's by now, and Postgres would take him for a server


def _pid_in(lock: Path) -> int | None:
    """The first line of the lock; None where there is none. Half a lock is one of no process."""
    try:
        first = lock.read_text().partition("\n")[0]
    except FileNotFoundError:
        return None
    return int(first) if first.isdigit() else 0


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid) if pid else None
    except psutil.NoSuchProcess:
        return None


def _works_in(process: psutil.Process | None, data: Path) -> bool:
    """Whether a process is one of a Postgres of this folder, and not of a person who looks around in it."""
    if process is None:
        return False
    try:
        if process.status() == psutil.STATUS_ZOMBIE or Path(process.cwd()) != data:
            return False
        title = "".join(process.cmdline()[:1])  # a session's says what it does, a server's is its program
        return title.startswith("postgres:") or Path(title).name == "postgres"
    except psutil.Error:  # gone, or somebody else's, who cannot be looked into
        return False


def _is_server(process: psutil.Process) -> bool:
    """A server is run with its folder; sessions show what they do."""
    try:
        return "-D" in process.cmdline()
    except psutil.Error:
        return False
