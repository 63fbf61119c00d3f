"""A report is health only while it is fresh; one that cannot be read, and a lock that a lane left, end nobody."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from stream_shim.buffer.publisher import Publisher
from stream_shim.claims import Taken, claim, end_orphans
from stream_shim.connectors.cursor import Cursor
from stream_shim.reports import FRESH_SECONDS, SUPERVISOR, beats_of, report_path
from stream_shim.running.metrics import LaneCollector
from tests.stream_shim.conftest import suspend, until
from tests.stream_shim.connecting import entry_of
from tests.stream_shim.test_causes import CONNECTOR, PROCESSOR
from tests.stream_shim.test_supervisor import supervisor
from tidemark.errors import SourceError
from tidemark.settings import Settings
from tidemark.state_file import write_whole

CUT_OFF = [b"", b"{", b"[]", b"{}", b'{"source": "binance"}', b"\xff\xfe"]
WRONG: list[dict[str, Any]] = [
    {"written_at": "soon"}, {"written_at": 1e400}, {"pid": -1}, {"pid": "1"}, {"restarts": [1]}, {"rejects": 1},
    {"answered_at": None},
]  # fmt: skip


def metrics(settings: Settings) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in LaneCollector(settings).collect()
        for sample in metric.samples
    }


@pytest.mark.parametrize("kind", ["connector", "processor", "supervisor"])
def test_a_report_that_is_cut_off_is_left_out_and_said_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lane = supervisor(tmp_path)
    path = report_path(lane._settings, kind, "realtime")
    path.parent.mkdir(parents=True)
    reports: dict[str, dict[str, Any]] = {
        "connector": CONNECTOR, "processor": PROCESSOR, "supervisor": {"restarts": {}},
    }  # fmt: skip
    whole = reports[kind] | {"pid": 1, "written_at": 1.0}
    of_other_types = [json.dumps(whole | wrong).encode() for wrong in WRONG if whole.keys() >= wrong.keys()]
    assert len(of_other_types) > 4
    for content in [*CUT_OFF, *of_other_types]:
        path.write_bytes(content)
        lane._end_hung()
        assert list(beats_of(lane._settings, kind)) == []
        found = metrics(lane._settings)
        assert found["tidemark_process_report_unreadable", kind, "realtime"] == 1
        assert ("tidemark_process_report_age_seconds", kind, "realtime") not in found
    assert len([said for said in caplog.messages if str(path) in said]) == 1


def test_a_report_that_is_old_or_of_a_process_that_is_gone_is_no_health(tmp_path: Path) -> None:
    settings, now = Settings(home=tmp_path), time.time()
    lag = ("tidemark_sink_records_lag", "realtime", "market_tick")
    age = ("tidemark_process_report_age_seconds", "processor", "realtime")
    path = report_path(settings, "processor", "realtime")
    write_whole(path, PROCESSOR | {"pid": os.getpid(), "written_at": now})
    assert metrics(settings)[lag] == 3
    write_whole(path, PROCESSOR | {"pid": os.getpid(), "written_at": now - FRESH_SECONDS["processor"] - 1})
    found = metrics(settings)
    assert found[age] > FRESH_SECONDS["processor"]
    assert {name for name, *labels in found if "realtime" in labels} == {age[0]}
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_whole(path, PROCESSOR | {"pid": gone.pid, "written_at": now})
    assert lag not in metrics(settings)
    assert age in metrics(settings)
    write_whole(path, PROCESSOR | {"pid": os.getpid(), "written_at": now + 3600})  # a clock that stepped back
    assert metrics(settings)[lag] == 3


def test_trade_ids_that_are_cut_off_end_no_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(home=tmp_path)
    ids = tmp_path / "cursors" / "binance.ids.json"
    ids.parent.mkdir()
    ids.write_text('{"BTC/USDT": 12')
    publisher = Publisher(settings, "binance", sink=_nowhere())
    assert publisher.last_ids == {}
    assert "what this restart misses is not counted" in caplog.text
    publisher.last_ids["BTC/USDT"] = 13
    (tmp_path / "run").touch()  # its report cannot be written: it goes on
    publisher.write_report()
    publisher.close()
    assert Publisher(settings, "binance", sink=_nowhere()).last_ids == {"BTC/USDT": 13}


class _Nowhere:
    def put(self, record: Any, taken: Any, refused: Any) -> None:
        """Nothing is put."""

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


def _nowhere() -> Any:
    return _Nowhere()


def test_a_cursor_that_cannot_be_written_is_a_source_to_be_tried_again(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    source = entry_of(settings, "nobody: {kind: feed, url: 'http://127.0.0.1:1/', event_publisher: n, unit: u}\n")
    (tmp_path / "cursors").touch()
    with pytest.raises(SourceError, match=r"expected to write its cursor .* nothing is asked meanwhile"):
        Cursor.open(settings, source).__enter__()
    (tmp_path / "cursors").unlink()
    with Cursor.open(settings, source) as cursor:
        cursor.commit()


HOLDS = """
import sys
from stream_shim.claims import claim
from tidemark.settings import Settings
held = claim(Settings(home=sys.argv[1]), sys.argv[2], sys.argv[3], most=1)
print("holds", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(home: Path, kind: str, name: str, **environ: str) -> Iterator[psutil.Process]:
    """A process that has the lock of an entry, as a connector or a processor has it."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(home), kind, name], env=os.environ | environ, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "holds\n"
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGCONT)
        child.communicate()


def test_what_a_lane_left_is_ended_and_what_a_person_started_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, left = Settings(home=tmp_path), {SUPERVISOR: "1"}
    with (
        holding(tmp_path, "connector", "left", **left) as orphan,
        holding(tmp_path, "processor", "left-too", **left) as hung,
        holding(tmp_path, "connector", "by-hand") as by_hand,
    ):
        suspend(hung)
        with pytest.raises(Taken, match=rf"process {by_hand.pid}, started by hand, runs: end it first"):
            claim(settings, "connector", "by-hand", most=1)
        end_orphans(settings)
        until(lambda: not any(map(_runs, (orphan, hung))), "the orphans to be gone")
        assert _runs(by_hand)
    assert f"connector-left, process {orphan.pid}, was left by a lane that is gone; it is ended" in caplog.text
    assert f"processor-left-too, process {hung.pid}, did not end; it is killed" in caplog.text
    for name in ("left", "by-hand"):
        claim(settings, "connector", name, most=1)[1].close()


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
