"""Who runs what of a state folder: a lock a process, signed by who holds it, and the end of what a lane has left."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import psutil

from stream_shim.reports import SUPERVISOR
from tidemark.errors import StackError
from tidemark.lock_file import Signature, sign, signature, signature_in, try_lock
from tidemark.settings import Settings

log = logging.getLogger("tidemark.stream")

ORPHAN_SECONDS = 5.0  # after SIGTERM; then it is killed
LOOK_SECONDS = 0.5


class Taken(StackError):
    """Another process has the lock."""


class Holder(NamedTuple):
    """Who holds a lock: the process, and the supervisor that started it; None where a person did."""

    process: psutil.Process
    supervisor: int | None

    def __str__(self) -> str:
        by = "started by hand" if self.supervisor is None else f"started by the lane of process {self.supervisor}"
        return f"process {self.process.pid}, {by}"


def _lock_path(settings: Settings, name: str) -> Path:
    return settings.home / "run" / f"{name}.lock"


def _sign(held: IO[str]) -> None:
    supervisor = os.environ.get(SUPERVISOR)
    sign(held, supervisor=None if supervisor is None else int(supervisor))


def _holder(signed: Signature | None) -> Holder | None:
    return None if signed is None else Holder(signed.process, signed.said.get("supervisor"))


def signed_by(settings: Settings, name: str) -> Holder | None:
    """Who signed a lock (`stream`, `connector-NAME`, ..) and runs still. It is read alone: who claims meanwhile may."""
    return _holder(signature_in(_lock_path(settings, name)))


def claim_lane(settings: Settings) -> IO[str]:
    """The lane of this state folder, for as long as the returned file is open. Taken where one runs already."""
    held, is_ours = try_lock(_lock_path(settings, "stream"))
    if not is_ours:
        holder = _holder(signature(held))
        held.close()
        raise Taken(
            f"expected no lane in {settings.home}, one runs already"
            f"{'' if holder is None else f', as process {holder.process.pid}'}: it takes up what changes in its "
            "files by itself; end it first if you want another"
        )
    _sign(held)
    return held


def second_of(name: str) -> str:
    """The label of the second process of an entry."""
    return f"{name}#2"


def claim(settings: Settings, kind: str, name: str, most: int) -> tuple[str, IO[str]]:
    """The label of this process among at most so many of its entry, held for as long as the returned file is open.

    The first is `NAME`, the next `NAME#2`. Taken where all are: a source that two processes send is doubled.
    """
    holder: Holder | None = None
    for number in range(1, most + 1):
        label = name if number == 1 else f"{name}#{number}"
        held, is_ours = try_lock(_lock_path(settings, f"{kind}-{label}"))
        if is_ours:
            _sign(held)
            return label, held
        holder = holder or _holder(signature(held))
        held.close()
    runs = f"{holder}, runs" if holder else "one runs"
    raise Taken(f"expected no other process of {kind} {name} in {settings.home}, {runs}: end it first")


def claim_in_turn(settings: Settings, kind: str, name: str, is_over: Callable[[], bool]) -> IO[str] | None:
    """The same of the one process of an entry, once nobody else has it; None where it `is_over` before."""
    said = ""
    while not is_over():
        try:
            return claim(settings, kind, name, most=1)[1]
        except Taken as taken:
            if str(taken) != said:
                said = str(taken)
                log.warning("%s; this one waits, and takes over when it is gone", taken)
        time.sleep(LOOK_SECONDS)
    return None


def end_orphans(settings: Settings) -> None:
    """End the processes that an earlier lane of this state folder left; called by who has the lane.

    They are known by the lock that they hold and signed. One that a person started is left alone.
    """
    locks = [path for kind in ("connector", "processor") for path in (settings.home / "run").glob(f"{kind}-*.lock")]
    orphans = dict(filter(None, map(_orphan, sorted(locks))))
    for process, name in orphans.items():
        log.warning("%s, process %s, was left by a lane that is gone; it is ended", name, process.pid)
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(orphans, ORPHAN_SECONDS)
    for process in alive:
        log.warning("%s, process %s, did not end; it is killed", orphans[process], process.pid)
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, ORPHAN_SECONDS)


def _orphan(path: Path) -> tuple[psutil.Process, str] | None:
    held, is_free = try_lock(path)
    with held:
        holder = None if is_free else _holder(signature(held))
    if holder is None or holder.supervisor is None:
        return None
    return holder.process, path.stem
