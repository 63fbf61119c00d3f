"""The machine: the state folder, its disk, and the servers that run on it."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil

from stream_shim.running.causes import causes_of_disk
from tidemark.connections import kafka_bootstrap
from tidemark.credentials import FOLDER, mend_of
from tidemark.disk import file_systems
from tidemark.errors import TidemarkError
from tidemark.home_kind import home_kind
from tidemark.settings import Settings
from tidemark.stack import checks, guard, local, process, watcher
from watch.observation import RUNBOOK, Observation, State, moment

CONNECT_SECONDS = 3.0
DISK = "disk ends"
DOWN = "server does not run"
SILENT = "server does not answer"
UNWATCHED = "the watcher does not run"


def folder(settings: Settings) -> Iterator[Observation]:
    """Whose files are open to others, whether a restore was ended half-way, and what kind of state it is."""
    home, kind = settings.home, home_kind(settings)
    if not home.exists():
        said = f"expected a state folder {home}, found none"
        yield Observation("no state", "state folder", str(home), "failing", said, mend="tidemark up")
        return
    said = f"its state is {kind}" + (": days stay until `tidemark promote --as-of`" if kind == "replay" else "")
    yield Observation("no state", "state folder", str(home), "ok", said)
    half = checks.being_restored(home)
    yield Observation(
        "restore ended half-way", "state folder", str(home), "failing" if half else "ok",
        "expected a whole state folder, a restore into it was ended half-way" if half else "no restore is under way",
        moment((home / checks.RESTORING).stat().st_mtime) if half else None,
        f"tidemark restore {half}" if half else "",
    )  # fmt: skip
    yield _credentials(home / FOLDER)


def _credentials(path: Path) -> Observation:
    files = sorted(path.iterdir()) if path.exists() else []
    open_to_others = [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
    named = " ".join(str(file) for file in open_to_others)
    if no_files := [file for file in files if not file.is_file()]:
        said = f"expected files with a password each, {no_files[0]} is none"
        return Observation("password is no file", "state folder", str(path), "failing", said, mend=mend_of(no_files[0]))
    return Observation(
        "password open to others", "state folder", str(path), "failing" if open_to_others else "ok",
        f"expected files of mode 0600, others may read {named}" if named else f"{len(files)} files, of mode 0600",
        mend=f"chmod 600 {named}" if named else "", numbers={"files": len(files)},
    )  # fmt: skip


def disks(settings: Settings, day_bytes: float | None) -> Iterator[Observation]:
    """Each file system that holds state here: free bytes, and for how many days they last as days grow now."""
    causes = causes_of_disk(found := file_systems(settings, day_bytes))
    for each in found:
        cause = causes.get(f"{DISK} {each.path}")
        days = f"{each.days_left:,.0f} days as days grow now" if each.days_left is not None else "nobody knows how long"
        yield Observation(
            DISK, "disk", str(each.path), "failing" if cause else "ok",
            cause or f"{each.free_bytes / 1e9:,.1f} GB are free, which last {days}",
            mend=f"{RUNBOOK}/disk-ends.md" if cause else "",
            numbers={"free_bytes": each.free_bytes, "bytes_a_day": day_bytes, "days_left": each.days_left},
        )  # fmt: skip


def down_since(settings: Settings) -> float | None:
    """Since when the whole stack is down on purpose (seconds since 1970); None where it is not, or is not all ours."""
    try:
        running = [process.find(settings.home, server.NAME) for server in local.SERVERS]
        since = process.down_since(settings.home)
    except TidemarkError:  # the looks say it
        return None
    return since if not any(running) and all(server.wanted(settings) for server in local.SERVERS) else None


def servers(settings: Settings) -> Iterator[Observation]:
    """Each local server: its process, and its port. One that a variable names is asked by those who need it."""
    if since := down_since(settings):
        said = "every server was ended, by `tidemark down` or with its service"
        yield Observation("the stack is down", "server", "stack", "failing", said, moment(since), "tidemark up")
        return
    for server in local.SERVERS:
        running = process.find(settings.home, server.NAME)
        if server.ports(settings) and (server.wanted(settings) or running is not None):
            yield _server(settings, server, running)
    yield _guard(settings)
    yield _watcher(settings)
    if settings.kafka_bootstrap is not None:
        yield _port("kafka", kafka_bootstrap(settings).split(",")[0])


def _server(settings: Settings, server: local.Server, running: psutil.Process | None) -> Observation:
    log = process.log_path(settings.home, server.NAME)
    if running is None:
        since = moment(process.down_since(settings.home))  # else nobody knows: a log is written when it is cut, too
        ended = f"expected {server.TITLE} to run, its process has ended"
        said = ended if log.exists() else f"{server.TITLE} was never started"
        return Observation(DOWN, "server", server.NAME, "failing", said, since, "tidemark up")
    if stopped := process.frozen(running):
        said = f"expected {server.TITLE} to run, its process {stopped} was stopped by a signal"
        return Observation(DOWN, "server", server.NAME, "failing", said, mend=f"kill -CONT {stopped}")
    port = next(iter(server.ports(settings).values()))
    return _port(server.NAME, f"127.0.0.1:{port}", running)


def _port(name: str, address: str, running: psutil.Process | None = None) -> Observation:
    host, _, port = address.strip().rpartition(":")
    state: State
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        state, said = "failing", f"expected {name} to listen on {address}, received {error.strerror or error}"
    else:
        state, said = "ok", f"{name} listens on {address}"
    mend = "" if state == "ok" else f"tidemark logs {name}" if running else f"{RUNBOOK}/stopped-processor.md"
    since = moment(running.create_time()) if running and state == "ok" else None
    return Observation(SILENT if running is None else DOWN, "server", name, state, said, since, mend)


def _guard(settings: Settings) -> Observation:
    said, beat = guard.silence(settings), guard.beat_path(settings.home)
    short = guard.shortfalls(settings)
    state: State = "failing" if said else "warning" if short else "ok"
    since = moment(beat.stat().st_mtime) if said and beat.exists() else None
    return Observation(
        "the guard does not run", "server", "guard", state, said or "; ".join(short) or "the guard watches people",
        since, "tidemark up" if said else "docs/access.md" if short else "",
    )  # fmt: skip


def _watcher(settings: Settings) -> Observation:
    """Of interest to the doctor alone: who looks here for the watcher runs."""
    said, page = watcher.silence(settings), f"{RUNBOOK}/watcher-does-not-run.md"
    state: State = "failing" if said else "ok"
    return Observation(UNWATCHED, "server", "watcher", state, said or "the watcher looks", None, page if said else "")
