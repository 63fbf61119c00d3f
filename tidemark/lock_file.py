"""A lock of one process, in a file that it signs: who looks reads the signature alone, and stands in nobody's way."""

import fcntl
import json
import logging
import os
from pathlib import Path
from typing import IO, Any, NamedTuple, NotRequired, TypedDict

import msgspec
import psutil

from tidemark.state_file import Pid, Time

log = logging.getLogger("tidemark.lock")

# Seconds. A start time is computed from the boot time, which a stepped clock moves a little.
START_TIME_TOLERANCE = 2.0


class _Signed(TypedDict):
    pid: Pid
    started_at: Time
    supervisor: NotRequired[Pid | None]


class Signature(NamedTuple):
    """Who signed a lock's file and runs still, and what else was said."""

    process: psutil.Process
    said: dict[str, Any]


def try_lock(path: Path) -> tuple[IO[str], bool]:
    """The lock's file, open, and whether this process has the lock, which goes when the file is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = path.open("a+")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return held, False
    return held, True


def sign(held: IO[str], **more: int | None) -> None:
    """Say in the lock's file who holds it. On a full disk it says nothing, and the lock holds all the same."""
    signed = {"pid": os.getpid(), "started_at": psutil.Process().create_time(), **more}
    try:
        os.ftruncate(held.fileno(), 0)
        os.write(held.fileno(), json.dumps(signed).encode())
    except OSError as error:
        log.warning("expected to write into %s who holds it, received %s", held.name, error.strerror)


def signature(held: IO[str]) -> Signature | None:
    """Who signed; None where that cannot be said, or who did has ended."""
    held.seek(0)
    try:
        said = json.loads(held.read())
        msgspec.convert(said, _Signed)
        process = psutil.Process(said["pid"])
        same = abs(process.create_time() - said["started_at"]) < START_TIME_TOLERANCE
        return Signature(process, said) if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (ValueError, RecursionError, psutil.Error):
        return None


def signature_in(path: Path) -> Signature | None:
    """The same of a lock that nobody needs to have made."""
    try:
        with path.open() as signed:
            return signature(signed)
    except FileNotFoundError:
        return None


def is_held(path: Path) -> bool:
    """Whether a process has the lock, signed or not: asked by taking it for a moment, beside others who ask."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
