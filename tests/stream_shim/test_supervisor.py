"""The lane's supervisor: a child that died and is steady again is no alert, and no child outlives its supervisor."""

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from stream_shim.reports import Beats, read_reports
from stream_shim.running.supervisor import STEADY_SECONDS, Child, Supervisor
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.settings import Settings
from tidemark.stack.ports import free_ports

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
    files = {"sources_file": folder / "sources.yml", "destinations_file": folder / "destinations.yml"}
    return Supervisor(Settings(home=folder / "home").model_copy(update=files))


def test_a_child_that_is_steady_again_keeps_dying_no_more(tmp_path: Path, running: subprocess.Popen[bytes]) -> None:
    lane = supervisor(tmp_path)
    child = Child(lane._wanted[REALTIME], running, started_at=time.monotonic(), failures=3)
    lane._children[REALTIME] = child
    lane._adjust()
    assert "processor realtime keeps dying" in lane._causes()
    child.started_at -= STEADY_SECONDS + 1
    lane._adjust()
    assert lane._causes() == {}


def test_a_process_that_reports_no_more_is_seen_by_its_own_time_alone() -> None:
    beats = Beats()
    first = {"pid": 1, "written_at": 5.0}
    assert beats.look([first, {"errors": 0}]) == {1: 0.0}
    assert beats.look([first])[1] > 0
    assert beats.look([{"pid": 1, "written_at": 6.0}]) == {1: 0.0}
    assert beats.look([]) == {}


@pytest.mark.faults  # it waits for a minute
def test_a_processor_that_is_stopped_is_ended_and_another_goes_on(lane: Lane, tmp_path: Path) -> None:
    supervisor(tmp_path)
    environ = {
        "TIDEMARK_SOURCES_FILE": str(tmp_path / "sources.yml"),
        "TIDEMARK_DESTINATIONS_FILE": str(tmp_path / "destinations.yml"),
        "TIDEMARK_METRICS_PORT": str(free_ports(1)[0]),
    }
    with lane.running("run", **environ):
        until(partial(_has_reported, lane.settings, *REALTIME), "a report of the processor", 120)
        stopped = psutil.Process(read_reports(lane.settings, "processor")["realtime"]["pid"])
        stopped.suspend()
        lane.produce("market_tick", [tick(number) for number in range(20)])
        until(lambda: not is_running(stopped), "the end of the processor that was stopped", 90)
        until(lambda: lane.count("market_tick") == 20, "what waited, from another one", 90)
    assert lane.unbalanced() == []


def test_no_process_outlives_a_supervisor_that_is_killed(lane: Lane, tmp_path: Path) -> None:
    supervisor(tmp_path)
    (tmp_path / "sources.yml").write_text(
        "nobody: {kind: feed, url: 'http://127.0.0.1:1/', event_publisher: nobody, unit: none}\n"
    )
    environ = {
        "TIDEMARK_SOURCES_FILE": str(tmp_path / "sources.yml"),
        "TIDEMARK_DESTINATIONS_FILE": str(tmp_path / "destinations.yml"),
        "TIDEMARK_METRICS_PORT": str(free_ports(1)[0]),
    }
    with lane.running("run", **environ) as process:
        for kind, name in (("connector", "nobody"), REALTIME):
            until(partial(_has_reported, lane.settings, kind, name), f"a report of {kind} {name}", 120)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.kill()
        until(lambda: not any(map(is_running, children)), "the end of every child", 20)


def _has_reported(settings: Settings, kind: str, name: str) -> bool:
    return name in read_reports(settings, kind)


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
