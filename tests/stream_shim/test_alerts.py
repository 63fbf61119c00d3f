"""What needs a person is posted to the webhook once a cause, and once when it is over."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stream_shim.reports import read_reports, report_path
from stream_shim.running.causes import (
    CLIENT_ERROR_SECONDS,
    Alerts,
    Polled,
    causes_of_connector,
    causes_of_degraded,
    causes_of_guard,
    causes_of_processor,
)
from stream_shim.running.metrics import LaneCollector
from tests.serving import in_a_thread
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.settings import Settings
from tidemark.stack.guard import SILENT_SECONDS, beat_path
from tidemark.state_file import write_whole

PROCESSOR: dict[str, Any] = {
    "destination": "realtime", "started_at": 0.0, "rows": {"market_tick": 9}, "rejects": {"market_tick": 1},
    "batches": 2, "batch_seconds": 0.5, "waits": 0, "fences": 0, "waiting_for": "", "lag_records": {"market_tick": 3},
    "lag_seconds": {"market_tick": 0.1}, "headroom_days": 7,
}  # fmt: skip
CONNECTOR: dict[str, Any] = {
    "source": "binance", "started_at": 100.0, "sent": {"market_tick": 5}, "rejected": {}, "errors": 0,
    "source_errors": 0, "gaps": {"BTC/USDT": 2}, "silences": {}, "last_message_at": 200.0,
    "degraded": {"XRP/USDX": "expected a symbol of binance"}, "client_errors": {"slow reader": 3},
    "answered_at": 0.0, "failing_since": 0.0, "last_client_error": "this reader is slow", "last_client_error_at": 100.0,
}  # fmt: skip


class Quiet(BaseHTTPRequestHandler):
    """Says nothing of what is asked."""

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The loopback URL of such a server, in a thread."""
    with in_a_thread(HTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}/hook"


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A loopback URL, and what was posted to it."""
    posts: list[dict[str, Any]] = []

    class Receiver(Quiet):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with listening(Receiver) as url:
        yield url, posts


def test_a_cause_is_posted_once_and_once_when_it_is_over(webhook: tuple[str, list[dict[str, Any]]]) -> None:
    url, posts = webhook
    alerts = Alerts(Settings(alert_webhook=SecretStr(url)))
    for causes in ({"a": "why"}, {"a": "why"}, {}, {}):
        alerts.update(causes)
    assert [(post["state"], post["cause"], post["text"]) for post in posts] == [
        ("raised", "a", "why"),
        ("over", "a", "why"),
    ]


def test_a_post_names_the_page_that_says_what_mends_its_cause(webhook: tuple[str, list[dict[str, Any]]]) -> None:
    url, posts = webhook
    Alerts(Settings(alert_webhook=SecretStr(url))).update({"silent source binance": "why", "no such kind": "why"})
    assert [post["runbook"] for post in posts] == ["docs/runbook/silent-source.md", ""]


def threads_that_post() -> list[threading.Thread]:
    """The one that posts now, which is to be there."""
    found = [thread for thread in threading.enumerate() if thread.name == "alerts"]
    assert len(found) == 1
    return found


def test_a_webhook_that_hangs_keeps_nobody_waiting_and_gets_the_latest_causes() -> None:
    posts: list[str] = []
    answers = threading.Event()

    class Hanging(Quiet):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["cause"])
            answers.wait(20)
            self.send_response(204)
            self.end_headers()

    with listening(Hanging) as url:
        alerts = Alerts(Settings(alert_webhook=SecretStr(url)))
        alerts.update_aside({"a": "why"})
        until(lambda: posts == ["a"], "the first post")
        hanging = threads_that_post()
        for _ in range(100):
            alerts.update_aside({"a": "why", "b": "why"})
        assert threads_that_post() == hanging  # the calls came back while the first post hangs, and began no other
        assert posts == ["a"]
        answers.set()

        def post_of_b() -> bool:
            alerts.update_aside({"a": "why", "b": "why"})
            return "b" in posts

        until(post_of_b, "the latest causes, once the webhook answers")
    assert posts == ["a", "b"]


def test_a_silent_source_a_waiting_processor_low_head_room_and_a_growing_quarantine_are_causes() -> None:
    assert causes_of_connector("binance", CONNECTOR, 60, 259.0) == {}
    assert "silent source binance" in causes_of_connector("binance", CONNECTOR, 60, 261.0)
    (often,) = causes_of_connector("binance", CONNECTOR, 0.25, 201.5).values()
    assert often == "expected news of binance every 0.25 s, none came for 1.5 s"
    assert causes_of_processor("realtime", PROCESSOR, PROCESSOR) == {}
    assert set(causes_of_processor("realtime", PROCESSOR, None)) == {"growing quarantine realtime"}
    bad = {**PROCESSOR, "waiting_for": "disk full", "headroom_days": 2, "rejects": {"market_tick": 5}}
    assert set(causes_of_processor("realtime", bad, PROCESSOR)) == {
        "stopped processor realtime", "low head-room realtime", "growing quarantine realtime",
    }  # fmt: skip


def test_a_part_that_gives_nothing_is_a_cause_of_its_own_and_what_a_client_logged_is_one_for_a_while() -> None:
    part, client = "degraded source binance: XRP/USDX", "degraded source binance"
    found = causes_of_degraded("binance", CONNECTOR, 101.0)
    assert found.keys() == {part, client}
    assert "expected data of XRP/USDX from binance: expected a symbol of binance" in found[part]
    assert "this reader is slow" in found[client]
    assert causes_of_degraded("binance", CONNECTOR, 100.0 + CLIENT_ERROR_SECONDS + 1).keys() == {part}


def test_a_polled_source_that_only_fails_is_a_cause_until_it_answers_again() -> None:
    polled = Polled()

    def causes(now: float, failing_since: float, answered_at: float = 0.0, last_message_at: float = 0.0) -> set[str]:
        of_health = {"failing_since": failing_since, "answered_at": answered_at, "last_message_at": last_message_at}
        return set(polled.causes({**CONNECTOR, **of_health, "source": "edgar"}, every_seconds=60, now=now))

    assert causes(1000, 0) == set()  # it has no news, and that is no failure
    assert causes(2000, 2000) == causes(2180, 2000) == set()
    assert causes(2181, 2000) == {"failing source edgar"}
    assert causes(90_000, 2000) == {"failing source edgar"}  # it obeys a Retry-After: nothing was answered
    assert causes(90_001, 0) == {"failing source edgar"}  # another process, which was not answered either
    assert causes(90_005, 90_004) == {"failing source edgar"}
    assert causes(90_010, 90_004, last_message_at=90_009) == set()  # one of its requests brought something
    assert causes(90_500, 90_004, last_message_at=90_009) == {"failing source edgar"}
    assert causes(90_600, 0, answered_at=90_599) == set()
    assert causes(91_000, 0, answered_at=90_599) == set()
    assert causes(91_005, 91_003, answered_at=90_599) == set()  # and a single failure is none
    polled.keep({"another"})
    assert causes(99_000, 98_999) == set()


def test_a_guard_that_has_ended_is_a_cause_where_one_was_started(tmp_path: Path) -> None:
    settings, beat = Settings(home=tmp_path), beat_path(tmp_path)
    assert causes_of_guard(settings) == {}
    beat.parent.mkdir()
    beat.touch()
    assert causes_of_guard(settings) == {}
    os.utime(beat, (time.time() - SILENT_SECONDS - 1,) * 2)
    assert "`tidemark up` starts it" in causes_of_guard(settings)["the guard does not run"]


def test_the_metrics_say_what_the_reports_say(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    write_whole(report_path(settings, "connector", "binance"), CONNECTOR)
    write_whole(report_path(settings, "processor", "realtime"), PROCESSOR)
    write_whole(report_path(settings, "supervisor", "stream"), {"restarts": {"connector binance": 4}})
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in LaneCollector(settings).collect()
        for sample in metric.samples
    }
    assert found["tidemark_source_record_send_total", "binance", "market_tick"] == 5
    assert found["tidemark_source_gap_total", "binance", "BTC/USDT"] == 2
    assert found["tidemark_source_client_error_total", "binance", "slow reader"] == 3
    assert found["tidemark_source_degraded", "binance", "XRP/USDX"] == 1
    assert found["tidemark_sink_record_send_total", "realtime", "market_tick"] == 9
    assert found["tidemark_sink_record_errors_total", "realtime", "market_tick"] == 1
    assert found["tidemark_sink_records_lag", "realtime", "market_tick"] == 3
    assert found["tidemark_sink_headroom_days", "realtime"] == 7
    assert found["tidemark_process_restart_total", "connector", "binance"] == 4


def test_a_report_that_goes_between_the_look_and_the_reading_is_left_out(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    write_whole(report_path(settings, "connector", "binance"), CONNECTOR)
    report_path(settings, "connector", "gone").symlink_to(tmp_path / "nowhere")  # the folder has it, reading finds none
    assert set(read_reports(settings, "connector")) == {"binance"}


def test_a_lane_whose_quarantine_grows_posts_to_the_webhook(lane: Lane, webhook: Any, tmp_path: Any) -> None:
    url, posts = webhook
    (tmp_path / "sources.yml").write_text("{}\n")
    environ = {"TIDEMARK_ALERT_WEBHOOK": url, "TIDEMARK_SOURCES_FILE": str(tmp_path / "sources.yml")}
    with lane.running("run", **environ):
        lane.produce("market_tick", [tick(0)])
        until(lambda: lane.consumed() == 1, "the first row", 120)
        lane.produce("market_tick", [b"{"])
        until(lambda: any("growing quarantine" in post["cause"] for post in posts), "an alert", 60)
