"""What must hold before a server starts; each failure is one sentence that names what to set."""

import errno
import os
import platform
import shutil
import socket
from pathlib import Path

import psutil

from tidemark.errors import StackError
from tidemark.state_file import read_text

NEEDED_BYTES = 1_000_000_000
NEEDED_GLIBC = (2, 34)
RESTORING = "restoring"  # in the state folder: which backup is being restored into it
FOLDERS = ("run", "logs", "cursors", "rejects", "docs")


def make_home(home: Path) -> None:
    """Make the state folder and the folders in it; StackError where it cannot be written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name in FOLDERS:
            (home / name).mkdir(exist_ok=True)
        _close_to_others(home)
        probe = home / "run" / "probe"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise StackError(
            f"expected a state folder that can be written, {home} cannot ({error.strerror}): "
            "set TIDEMARK_HOME to a folder of your own"
        ) from None


def _close_to_others(home: Path) -> None:
    """Nobody else may enter, whoever made the folder and when; a cluster's own folder belongs to its server."""
    home.chmod(passed_through())
    for path in home.iterdir():
        if not path.is_symlink():
            path.chmod(passed_through() if path.name == "postgres" else 0o700 if path.is_dir() else 0o600)


def passed_through() -> int:
    """The mode of a folder that, for root, a server that gives up root must pass through, though not list."""
    return 0o711 if os.geteuid() == 0 else 0o700


def being_restored(home: Path) -> str | None:
    """The backup that a restore which was ended half-way read; None where there was no such restore."""
    said = read_text(home / RESTORING)
    return None if said is None else next(iter(said.splitlines()), "FOLDER")


def require_restored(home: Path) -> None:
    """StackError where a restore into the state folder was ended half-way."""
    if (folder := being_restored(home)) is not None:
        raise StackError(
            f"expected a whole state folder in {home}, a restore was ended half-way: run `tidemark restore {folder}` "
            f"again, which goes on where it was"
        )


def require_space(folder: Path, needed: int = NEEDED_BYTES) -> None:
    """StackError where the disk of the folder has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StackError(
            f"expected {needed / 1e6:,.0f} MB free for the state folder {folder}, found {free / 1e6:,.0f} MB: "
            "free some, or set TIDEMARK_HOME to a folder on another disk"
        )


def require_glibc(version: str | None = None) -> None:
    """StackError where the C library is older than the Postgres wheel needs; `version` is as in "2.36"."""
    found = version if version is not None else platform.libc_ver()[1]
    parts = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if parts < NEEDED_GLIBC:
        raise StackError(
            f"expected glibc {'.'.join(map(str, NEEDED_GLIBC))} or newer (Debian 12, Ubuntu 22.04), found "
            f"{found or 'another C library'}: set TIDEMARK_REALTIME_URL and TIDEMARK_WAREHOUSE_URL to a Postgres "
            "that runs elsewhere"
        )


def require_free_port(server: str, variable: str, port: int) -> None:
    """StackError where something listens on the loopback port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = f"is held by {_holder(port)}" if error.errno == errno.EADDRINUSE else str(error.strerror)
            raise StackError(
                f"expected port {port} free for {server}, it {reason}: set {variable} to a free port"
            ) from None


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return "another process"
