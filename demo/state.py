"""The demo's state folder: marked as a replay, made anew by each run, and never one with anything else in it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from tidemark.categories import CATEGORIES
from tidemark.connections import mark
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings

_EXTERNAL = ("realtime_url", "warehouse_url", "kafka_bootstrap", "lake_url", "prefect_url")


def renew(settings: Settings) -> None:
    """An empty state folder, marked as a replay; the servers of the replay before are ended.

    Downloads are elsewhere (TIDEMARK_CACHE) and stay. ConfigurationError where the folder holds live data, or a
    variable names a server that is not the demo's own.
    """
    from tidemark.stack import local

    _require_own(settings)
    for process in list(_left_behind(settings)):
        process.terminate()
    local.down(settings)
    if settings.home.exists():
        for path in settings.home.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    # As root, the servers that give up root must pass through, though not list.
    settings.home.mkdir(parents=True, exist_ok=True)
    settings.home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    (settings.home / "mark").write_text("replay\n")


def _require_own(settings: Settings) -> None:
    named = [f"TIDEMARK_{name.upper()}" for name in _EXTERNAL if getattr(settings, name) is not None]
    if named:
        raise ConfigurationError(
            f"the demo runs on a local stack that it makes anew: expected {', '.join(named)} not to be set"
        )
    if mark(settings) == "replay":
        return
    held = next(_live_data(settings.home), None)
    if held is not None:
        raise ConfigurationError(
            f"expected the state folder of a replay, or an empty one, found live data in {settings.home} ({held}): "
            "set TIDEMARK_HOME to another folder for the demo"
        )


def _live_data(home: Path) -> Iterator[str]:
    """What a person would miss: topics, raw files, cursors."""
    for topic in CATEGORIES:
        yield from (f"topic {topic}" for path in home.glob(f"kafka/**/{topic}-[0-9]*") if path.is_dir())
    yield from (f"the lake's {path.name}" for path in home.glob("lake/*"))
    yield from (f"the cursor {path.name}" for path in home.glob("cursors/*"))


def _left_behind(settings: Settings) -> Iterator[psutil.Process]:
    """The lane and the sources of an earlier demo on this folder that was killed: they would write into this one."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        try:
            ours = "demo.servers" in command or ("tidemark.cli" in command and "stream" in command)
            if ours and process.environ().get("TIDEMARK_HOME") == str(settings.home.resolve()):
                yield process
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
