"""A signal ends every process of the lane within five seconds, whatever hangs: broker, database, source."""

import asyncio
import re
import resource
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from urllib.request import urlopen

import psutil
import psycopg
import pytest
from aiohttp import web

from stream_shim.reports import read_reports
from tests.stream_shim.conftest import Lane, suspend, until
from tests.stream_shim.loopback import in_thread, listening
from tests.stream_shim.test_supervisor import is_running
from tidemark.connections import connect_once
from tidemark.stack.ports import free_ports
from tidemark.stack.process import find

pytestmark = pytest.mark.faults

SECONDS = 5.0


class Source:
    """Answers each request of /news with a new value, and begins an answer to /slow that does not end."""

    def __init__(self) -> None:
        self._numbers = count()
        self.slow_asked = threading.Event()

    async def _news(self, _request: web.Request) -> web.Response:
        return web.json_response([{"date": str(next(self._numbers)), "value": 1}])

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"[")
        self.slow_asked.set()
        await asyncio.Event().wait()
        return answer

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        async with listening(web.get("/news", self._news), web.get("/slow", self._slow)) as port:
            yield port


@pytest.fixture
def source() -> Iterator[Source]:
    yield Source()


@pytest.fixture
def environ(source: Source, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A lane of a source with news, one that lets everybody wait, and a processor."""
    with in_thread(source.serve) as port:
        entries = "".join(
            f"{name}: {{kind: poll, url: 'http://127.0.0.1:{port}/{path}', identity: [date], every_seconds: 0.1, "
            f"requests: [{{event_publisher: P, unit: u, description: d}}]}}\n"
            for name, path in (("busy", "news"), ("hanging", "slow"))
        )
        (tmp_path / "sources.yml").write_text(entries)
        (tmp_path / "destinations.yml").write_text(
            "realtime: {kind: postgres, topics: [market_tick, economic_event_numeric]}\n"
        )
        yield {
            "TIDEMARK_SOURCES_FILE": str(tmp_path / "sources.yml"),
            "TIDEMARK_DESTINATIONS_FILE": str(tmp_path / "destinations.yml"),
            "TIDEMARK_METRICS_PORT": str(free_ports(1)[0]),
        }


@contextmanager
def suspended(process: psutil.Process) -> Iterator[None]:
    suspend(process)
    try:
        yield
    finally:
        process.resume()


def server(lane: Lane, name: str) -> psutil.Process:
    found = find(lane.settings.home, name)
    assert found is not None, f"expected {name} to run"
    return found


def seconds_to_end(process: subprocess.Popen[str]) -> float:
    """From the signal until it and its children are gone."""
    children = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    until(lambda: not any(map(is_running, children)), "the end of the children", 30)
    seconds = time.monotonic() - began
    print(f"ended {seconds:.1f} s after the signal, with {process.returncode}")
    return seconds


def counted(lane: Lane, name: str, key: str) -> int:
    return sum(read_reports(lane.settings, "connector").get(name, {}).get(key, {}).values())


def reports(lane: Lane, process: subprocess.Popen[str]) -> bool:
    """Whether each of its three processes reports, and rows come."""
    pids = {child.pid for child in psutil.Process(process.pid).children()}
    found = {**read_reports(lane.settings, "connector"), **read_reports(lane.settings, "processor")}
    ours = {name for name, report in found.items() if report["pid"] in pids}
    return {"busy", "hanging", "realtime"} <= ours and lane.count("economic_event_numeric") > 0


def blocked(lane: Lane) -> bool:
    """Whether the source with news waits in a call to Kafka: it reports no more."""
    return bool(time.time() - read_reports(lane.settings, "connector")["busy"]["written_at"] > 3)


def runs(lane: Lane, kind: str, name: str, process: subprocess.Popen[str]) -> bool:
    """Whether it is this process that reports under the name."""
    return bool(read_reports(lane.settings, kind).get(name, {}).get("pid") == process.pid)


def test_a_signal_ends_the_lane_within_five_seconds(lane: Lane, environ: dict[str, str]) -> None:
    with lane.running("run", **environ) as process:
        until(partial(reports, lane, process), "rows", 120)
        assert seconds_to_end(process) < SECONDS
    with lane.running("run", **environ) as process:
        until(partial(reports, lane, process), "rows", 120)
        with suspended(server(lane, "kafka")):
            until(partial(blocked, lane), "a broker that is missed", 60)
            assert seconds_to_end(process) < SECONDS
    assert lane.doubled() == []


@pytest.mark.parametrize("role", [["connector", "busy"], ["connector", "hanging"], ["processor"]])
def test_a_signal_ends_a_process_within_five_seconds(role: list[str], lane: Lane, environ: dict[str, str]) -> None:
    kind, name = (*role, "realtime")[:2]
    with lane.running(*role, **environ) as process:
        until(partial(runs, lane, kind, name, process), "its report", 60)
        with suspended(server(lane, "kafka")):
            if name != "busy":
                began = read_reports(lane.settings, kind)[name]["written_at"]
                until(lambda: read_reports(lane.settings, kind)[name]["written_at"] > began + 2, "some time", 60)
            else:
                until(partial(blocked, lane), "a broker that is missed", 60)
            assert seconds_to_end(process) < SECONDS
    with suspended(server(lane, "kafka")), lane.running(*role, **environ) as process:
        lock = lane.settings.home / "run" / f"{kind}-{name}.lock"
        until(lambda: str(process.pid) in lock.read_text(), "it to begin, with a broker that does not answer", 60)
        assert seconds_to_end(process) < SECONDS


@contextmanager
def read_only(lane: Lane) -> Iterator[None]:
    """A database that the processor may only read."""
    lane.execute("delete from realtime.topic_schema")
    lane.execute("alter role stream_writer set default_transaction_read_only to on")
    try:
        yield
    finally:
        lane.execute("alter role stream_writer reset default_transaction_read_only")


@contextmanager
def full(lane: Lane) -> Iterator[None]:
    """A server without a connection for the processor."""
    with ExitStack() as taken:
        try:
            while True:
                taken.enter_context(connect_once(lane.settings, "realtime", "promoter"))
        except psycopg.OperationalError as error:
            assert "connection" in str(error)
            yield


@pytest.mark.parametrize(
    ("refusing", "said"),
    [
        (read_only, "read-only transaction.*default_transaction_read_only"),
        (full, "(too many clients|slots are reserved).*max_connections"),
    ],
)
def test_a_lane_starts_beside_a_database_that_takes_nothing(
    refusing: Callable[[Lane], AbstractContextManager[None]], said: str, lane: Lane, environ: dict[str, str]
) -> None:
    log = lane.settings.home / "logs" / "processor-realtime.log"
    log.unlink(missing_ok=True)
    with ExitStack() as refuses:
        refuses.enter_context(refusing(lane))
        with lane.running("run", **environ) as process:
            until(lambda: counted(lane, "busy", "sent") > 3, "records that are sent meanwhile", 60)
            until(
                lambda: log.exists() and re.search(said, log.read_text()), "the processor to say what it waits for", 120
            )
            assert "Traceback" not in log.read_text()
            reported = partial(read_reports, lane.settings, "processor")
            until(lambda: re.search(said, reported().get("realtime", {}).get("waiting_for", "")), "the same reported")
            refuses.close()
            until(lambda: lane.count("economic_event_numeric") > 3, "rows, by itself", 60)
            assert process.poll() is None
    assert lane.unbalanced() == []


def test_a_full_disk_stops_nobody_and_is_over_when_there_is_room(lane: Lane, environ: dict[str, str]) -> None:
    """A limit of a process stands for the disk: it takes no byte more of it, whoever runs the tests."""
    with lane.running("run", **environ) as process:
        until(partial(reports, lane, process), "rows", 120)
        pids = [process.pid, *(child.pid for child in psutil.Process(process.pid).children())]
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        rows, url = lane.count("economic_event_numeric"), f"http://127.0.0.1:{environ['TIDEMARK_METRICS_PORT']}/metrics"

        def shown() -> str:
            with urlopen(url) as answer:
                return str(answer.read().decode())

        until(lambda: "tidemark_sink_records_lag{" not in shown(), "old reports to be no health", 40)
        assert 'tidemark_process_report_age_seconds{kind="processor",name="realtime"} ' in shown()
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: "tidemark_sink_records_lag{" in shown(), "fresh reports", 20)
        until(lambda: lane.count("economic_event_numeric") > rows, "rows once more", 30)
        assert pids == [process.pid, *(child.pid for child in psutil.Process(process.pid).children())]
        log = lane.settings.home / "logs" / "stream.log"
        until(lambda: "run/supervisor-stream.json is written again" in log.read_text(), "the supervisor's own", 20)
    for kind, name in (("processor", "realtime"), ("connector", "busy")):
        text = (lane.settings.home / "logs" / f"{kind}-{name}.log").read_text()
        assert f"run/{kind}-{name}.json is written again" in text
        assert text.count(f"run/{kind}-{name}.json, received File too large") <= 1


def test_a_source_that_a_person_runs_is_taken_over_when_he_ends_it(lane: Lane, environ: dict[str, str]) -> None:
    log = lane.settings.home / "logs" / "connector-busy.log"
    with lane.running("connector", "busy", **environ) as by_hand:
        until(partial(runs, lane, "connector", "busy", by_hand), "it to run", 60)
        with lane.running("run", **environ) as process:
            said = f"process {by_hand.pid}, started by hand, runs"
            until(lambda: said in log.read_text(), "the lane's own to wait", 60)
            until(lambda: lane.count("economic_event_numeric") > 0, "rows meanwhile", 60)
            by_hand.send_signal(signal.SIGTERM)
            until(partial(reports, lane, process), "the lane's own to take over", 60)
            assert log.read_text().count(said) == 1
            assert read_reports(lane.settings, "supervisor")["stream"]["restarts"]["connector busy"] == 0


def test_a_lane_starts_where_the_one_before_left_a_process_that_hangs(lane: Lane, environ: dict[str, str]) -> None:
    with lane.running("run", **environ) as first:
        until(partial(reports, lane, first), "rows", 120)
        left = psutil.Process(first.pid).children()
        for child in left:
            suspend(child)
        first.kill()
        with ExitStack() as nothing_stays:
            for child in left:
                nothing_stays.callback(child.kill)
            with lane.running("run", **environ) as second:
                until(partial(reports, lane, second), "another lane's rows", 120)
                assert not any(map(is_running, left))
            nothing_stays.pop_all()
    assert lane.unbalanced() == []
