"""Make the state of an older version, by that version's own code: `python tests/migrations/make_fixture.py b90e511 1`.

The commit is checked out beside, installed from its own lock, filled by fill_state.py, and packed as version_N.tar.xz:
the dumps of both databases, the lake, Kafka's storage and the folder's mark. No password is in it.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tidemark.connections import dsn
from tidemark.settings import Settings
from tidemark.stack.ports import free_ports
from tidemark.stack.postgres import programs

HERE = Path(__file__).resolve().parent
PORTS = ("postgres_port", "kafka_port", "kafka_controller_port", "prefect_port", "metrics_port")
KEPT = ("lake", "kafka/data", "mark", "cursors")


def make(commit: str, version: str) -> Path:
    """The packed state; what was checked out for it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tidemark-") as folder:
        Path(folder).chmod(0o711)
        checkout, home = Path(folder) / "checkout", Path(folder) / "home"
        subprocess.run(["git", "worktree", "add", "--detach", checkout, commit], cwd=HERE, check=True)
        try:
            subprocess.run(["make", "-s", "setup"], cwd=checkout, check=True)
            _fill(checkout, home)
            return _pack(home, version)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", checkout], cwd=HERE, check=True)


def _fill(checkout: Path, home: Path) -> None:
    settings = Settings(home=home).model_copy(update=dict(zip(PORTS, free_ports(len(PORTS)), strict=True)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMARK_", "PYTHON"))}
    ports = {f"TIDEMARK_{name.upper()}": str(getattr(settings, name)) for name in PORTS}
    environ = kept | ports | {"TIDEMARK_HOME": str(home)}
    python = checkout / ".venv" / "bin" / "python"
    try:
        subprocess.run([python, HERE / "fill_state.py"], cwd=checkout, env=environ, check=True)
        for database in ("realtime", "warehouse"):
            dump = home / f"{database}.sql"
            subprocess.run([programs() / "pg_dump", "--create", f"--file={dump}", dsn(settings, database)], check=True)
    finally:
        subprocess.run([python, "-m", "tidemark.cli", "down"], env=environ, check=True)


def _pack(home: Path, version: str) -> Path:
    packed = HERE / f"version_{version}.tar.xz"
    with tarfile.open(packed, "w:xz", preset=9) as archive:
        for name in (*KEPT, "realtime.sql", "warehouse.sql"):
            if (home / name).exists():
                archive.add(home / name, name, filter=_without_names)
    return packed


def _without_names(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Who made it is no part of it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    print(make(*sys.argv[1:]))
