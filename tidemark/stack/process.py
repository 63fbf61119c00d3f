"""Detached processes of a state folder: started, found again by pid and start time, and ended."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import psutil

from tidemark.errors import StackError
from tidemark.lock_file import START_TIME_TOLERANCE, sign, signature_in, try_lock
from tidemark.state_file import NotWhole, Pid, Time, read_whole, write_whole

OF_A_SERVER = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "NO_COLOR",
    "LD_LIBRARY_PATH", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
OLD = ".1"  # ends the name of a log that was full

# A detached child may outlive this process; one that Python forgot would be reported as a leak.
_detached: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Launch:
    """What to start: the program, its whole environment, its folder, the uid and gid to become (None: the caller's)."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    user: tuple[int, int] | None = None


@dataclass(frozen=True)
class Record:
    """The pid file: a process is the recorded one only where its start time (seconds since 1970) agrees."""

    pid: int
    started_at: float
    ports: dict[str, int]  # name of the setting to port, as they were when it started


class _Written(TypedDict):
    """The same in its file."""

    pid: Pid
    started_at: Time
    ports: dict[str, int]


class _Down(TypedDict):
    ended_at: Time


def server_environment() -> dict[str, str]:
    """What a server needs of the caller's environment: whatever else is there may be a secret of somebody's."""
    return {key: value for key, value in os.environ.items() if key in OF_A_SERVER or key.startswith("LC_")}


def java_environment() -> dict[str, str]:
    """The same for a program in Java: in UTF-8, as Java finds no path with other letters in another locale.

    The options that the caller keeps for Java programs (a heap, an agent) are not this server's.
    """
    options = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
    return {key: value for key, value in server_environment().items() if key not in options} | {"LC_ALL": "C.UTF-8"}


def record_path(home: Path, name: str) -> Path:
    """The pid file of one server."""
    return home / "run" / f"{name}.json"


def log_path(home: Path, name: str) -> Path:
    """What one server wrote to its standard output and error."""
    return home / "logs" / f"{name}.log"


def rotate(home: Path, name: str, most: int) -> None:
    """A log of more than `most` bytes becomes the old one, in place of the one before, and begins anew.

    Copied, then cut: its server holds the file open, and appends to it. A server that does not append (an older
    version started it) would write behind a hole, so its log waits for its next start.
    """
    log, running = log_path(home, name), find(home, name)
    if not log.exists() or log.stat().st_size <= most or (running is not None and not _appends(running)):
        return
    fresh = log.with_name(log.name + OLD + ".new")
    try:
        with log.open("rb") as full, fresh.open("wb") as old:
            shutil.copyfileobj(full, old)
    except OSError:
        fresh.unlink(missing_ok=True)  # of a full disk it would hold the last bytes
        raise
    os.truncate(log, 0)
    fresh.replace(log.with_name(log.name + OLD))


def _appends(running: psutil.Process) -> bool:
    try:
        flags = re.search(r"^flags:\s*(\d+)$", Path(f"/proc/{running.pid}/fdinfo/1").read_text(), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and bool(int(flags[1], 8) & os.O_APPEND)


def read_record(home: Path, name: str) -> Record | None:
    """The record as written, whether or not its process still runs; None where there is none, or half of one."""
    try:
        found = read_whole(record_path(home, name), _Written)
    except NotWhole:
        return None
    return None if found is None else Record(found["pid"], found["started_at"], found["ports"])


def find(home: Path, name: str) -> psutil.Process | None:
    """The running process of the record; None where it ended, or where its pid now belongs to another process."""
    record = read_record(home, name)
    if record is None:
        return None
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.started_at) < START_TIME_TOLERANCE
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def listens(home: Path, name: str, port: int) -> bool:
    """Whether the recorded process, or one that it started, is who listens on the loopback port.

    Asked before a secret is sent: any user of the machine may take a port that its server has left.
    """
    process = find(home, name)
    if process is None:
        return False
    try:
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr[1] == port
            for each in (process, *process.children(recursive=True))
            for connection in each.net_connections("inet")
        )
    except psutil.NoSuchProcess:
        return False


def spawn(home: Path, name: str, launch: Launch, ports: dict[str, int]) -> psutil.Process:
    """Start a process in a session of its own, its output at the end of its log, and record it."""
    with log_path(home, name).open("ab") as output:
        child = subprocess.Popen(
            launch.argv, env=dict(launch.env), cwd=launch.folder, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True, umask=0o077, **become(launch.user),
        )  # fmt: skip
    _detached.append(child)
    return note(home, name, child.pid, ports)


def note(home: Path, name: str, pid: int, ports: dict[str, int]) -> psutil.Process:
    """Record a process that leads a session of its own, so that it is found again, and ended by `stop`."""
    process = psutil.Process(pid)
    record = Record(pid, process.create_time(), ports)
    write_whole(record_path(home, name), asdict(record))
    return process


def become(user: tuple[int, int] | None) -> dict[str, Any]:
    """subprocess's arguments that give up root for another uid and gid, and every further group."""
    return {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}


def frozen(process: psutil.Process) -> int | None:
    """The pid of what a signal stopped of a process and those that it started; None where all of them go on."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in (process, *process.children(recursive=True)):
            if each.status() == psutil.STATUS_STOPPED:
                return int(each.pid)
    return None


def stop(home: Path, name: str, stop_signal: signal.Signals, timeout: float = 30.0) -> bool:
    """End the recorded process, by force where it does not end in time; False where it did not run."""
    process = find(home, name)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(stop_signal)
            process.resume()  # one that a signal has stopped hears nothing
        if not _gone(process, timeout):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it leads a session of its own, so this is its group alone
            _gone(process, 5)
    record_path(home, name).unlink(missing_ok=True)
    return process is not None


def _gone(process: psutil.Process, timeout: float) -> bool:
    try:
        process.wait(timeout)
    except psutil.TimeoutExpired:
        return False
    return True


def last_lines(home: Path, name: str, count: int = 3) -> str:
    """The end of a server's log, on one line, for a message."""
    path = log_path(home, name)
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return " | ".join(line.strip() for line in lines[-count:]) or "it wrote nothing"


def note_down(home: Path) -> None:
    """Note when the servers were ended on purpose."""
    write_whole(home / "run" / "down.json", {"ended_at": time.time()})


def forget_down(home: Path) -> None:
    """The servers run again."""
    (home / "run" / "down.json").unlink(missing_ok=True)


def down_since(home: Path) -> float | None:
    """When `tidemark down` ended the servers, seconds since 1970; None where it did not, or they ran since."""
    try:
        found = read_whole(home / "run" / "down.json", _Down)
    except NotWhole:
        return None
    return None if found is None else found["ended_at"]


@contextlib.contextmanager
def keeping(home: Path) -> Iterator[None]:
    """The one process that keeps the servers of a state folder running; StackError where another does."""
    held, is_ours = try_lock(home / "run" / "stay.lock")
    with held:
        if not is_ours:
            raise StackError(
                f"expected no other `tidemark up --stay` of {home}, process {keeper(home)} is one: end it first"
            )
        sign(held)
        yield


def keeper(home: Path) -> int | None:
    """The pid of the process that keeps the servers running; None where nobody does."""
    signed = signature_in(home / "run" / "stay.lock")
    return signed.process.pid if signed else None


@contextlib.contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """One `up`, `down` or `access apply` of a state folder at a time; StackError where another runs."""
    with (home / "run" / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"expected to be the only `tidemark up`, `down` or `access apply` of {home}, another one runs: "
                "wait until it is done"
            ) from None
        yield
