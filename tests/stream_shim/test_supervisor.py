"""The lane's supervisor: a child that died and is steady again is no alert, and no child outlives its supervisor."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_shim.running.supervisor import STEADY_SECONDS, Child, Supervisor
from tidemark.settings import Settings

REALTIME = ("processor", "realtime")


@pytest.fixture
def running() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lasts as long as the test."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.communicate()


def supervisor(folder: Path) -> Supervisor:
    """Of one processor and no source."""
    (folder / "sources.yml").write_text("{}\n")
    (folder / "destinations.yml").write_text("realtime: {kind: postgres, topics: [market_tick]}\n")
    files = {name: folder / f"{name.removesuffix('_file')}.yml" for name in ("sources_file", "destinations_file")}
    return Supervisor(Settings(home=folder / "home", **files))


def test_a_child_that_is_steady_again_keeps_dying_no_more(tmp_path: Path, running: subprocess.Popen[bytes]) -> None:
    lane = supervisor(tmp_path)
    child = Child(lane._wanted[REALTIME], running, started_at=time.monotonic(), failures=3)
    lane._children[REALTIME] = child
    lane._adjust()
    assert "processor realtime keeps dying" in lane._causes()
    child.started_at -= STEADY_SECONDS + 1
    lane._adjust()
    assert lane._causes() == {}
