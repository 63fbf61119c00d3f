"""The lane's supervisor: a child that died and is steady again is no alert, and no child outlives its supervisor."""

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from stream_shim.buffer.sink import CONNECTOR
from stream_shim.reports import Beats, read_reports
from stream_shim.running.runner import _reason_logged
from stream_shim.running.supervisor import STEADY_SECONDS, Child, Supervisor
from tests.stream_shim.conftest import Lane, suspend, tick, until
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
    assert "processor realtime" in lane._dying()
    child.started_at -= STEADY_SECONDS + 1
    lane._adjust()
    assert lane._dying() == {}


ONE = "nobody: {kind: feed, url: 'http://127.0.0.1:1/', event_publisher: nobody, unit: none}\n"


@pytest.mark.parametrize("cut", ["", " \n\n"])
def test_a_file_that_an_editor_has_cut_to_nothing_ends_no_entry(
    cut: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (lane, nobody), connector = (supervisor(tmp_path), tmp_path / "sources.yml"), ("connector", "nobody")
    nobody.write_text(ONE)
    lane._read_again()
    for path in (nobody, tmp_path / "destinations.yml"):
        text = path.read_text()
        path.write_text(cut)
        lane._read_again()
        assert f"{path}: expected entries, as before, received an empty file" in caplog.text
        path.write_text(text)
    assert lane._wanted.keys() == {REALTIME, connector}


def test_an_entry_that_leaves_the_file_has_a_line_in_the_log(
    tmp_path: Path, running: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    lane = supervisor(tmp_path)
    lane._children = {REALTIME: Child(lane._wanted[REALTIME], running, started_at=time.monotonic())}
    lane._children["connector", "nobody"] = Child("feed")  # which the file has no more
    lane._adjust()
    assert "connector nobody: left the file, ended" in caplog.text
    assert lane._children.keys() == {REALTIME}


def test_what_is_said_of_a_process_that_keeps_dying_counts_its_ends(tmp_path: Path) -> None:
    lane = supervisor(tmp_path)
    for code, said in ((2, "it ended as its configuration is wrong; "), (1, "it died 3 times in a row; ")):
        child = Child(lane._wanted[REALTIME])
        lane._children[REALTIME] = child
        for _ in range(1 if code == 2 else 3):
            assert lane._dying() == {}
            child.process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
            child.process.wait()
            child.started_at = time.monotonic()
            lane._note_death(REALTIME, child)
        assert lane._dying() == {"processor realtime": f"{said}logs/processor-realtime.log says why"}


def test_why_a_process_ended_that_nobody_foresaw_is_in_its_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(ZeroDivisionError), _reason_logged(Settings(home=tmp_path), CONNECTOR):
        print(1 / 0)
    assert "it ends: ZeroDivisionError: division by zero" in caplog.text
    assert "print(1 / 0)" in caplog.text


def test_a_process_that_reports_no_more_is_seen_by_its_own_time_alone() -> None:
    beats = Beats()
    assert beats.look([(1, 5.0)]) == {1: 0.0}
    assert beats.look([(1, 5.0)])[1] > 0
    assert beats.look([(1, 6.0)]) == {1: 0.0}
    assert beats.look([]) == {}


@pytest.mark.faults  # it waits for a minute
def test_a_processor_that_is_stopped_is_ended_and_another_goes_on(lane: Lane, tmp_path: Path) -> None:
    supervisor(tmp_path)
    environ = {
        "TIDEMARK_SOURCES_FILE": str(tmp_path / "sources.yml"),
        "TIDEMARK_DESTINATIONS_FILE": str(tmp_path / "destinations.yml"),
        "TIDEMARK_METRICS_PORT": str(free_ports(1)[0]),
    }
    with lane.running("run", **environ) as process:
        reported = partial(_reported, lane.settings, process.pid, *REALTIME)
        stopped: psutil.Process = until(reported, "a report of the processor", 120)
        suspend(stopped)
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
            until(partial(_reported, lane.settings, process.pid, kind, name), f"a report of {kind} {name}", 120)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.kill()
        until(lambda: not any(map(is_running, children)), "the end of every child")


def _reported(settings: Settings, supervisor: int, kind: str, name: str) -> psutil.Process | None:
    """The supervisor's process of that name once it has reported; an earlier lane's report may lie there still."""
    pid = read_reports(settings, kind).get(name, {}).get("pid")
    return next((child for child in psutil.Process(supervisor).children() if child.pid == pid), None)


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
