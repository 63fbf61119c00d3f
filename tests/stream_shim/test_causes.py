"""What needs a person, by what the processes of the lane report; and the metrics that are made of it."""

from pathlib import Path
from typing import Any

from stream_shim.reports import read_reports, report_path
from stream_shim.running.causes import (
    CLIENT_ERROR_SECONDS,
    Polled,
    causes_of_connector,
    causes_of_degraded,
    causes_of_processor,
)
from stream_shim.running.metrics import LaneCollector
from tidemark.settings import Settings
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


def test_a_silent_source_and_a_waiting_processor_are_causes() -> None:
    assert causes_of_connector("binance", CONNECTOR, 60, 259.0) == {}
    assert "silent source binance" in causes_of_connector("binance", CONNECTOR, 60, 261.0)
    (often,) = causes_of_connector("binance", CONNECTOR, 0.25, 201.5).values()
    assert often == "expected news of binance every 0.25 s, none came for 1.5 s"
    assert causes_of_processor("realtime", PROCESSOR) == {}
    assert causes_of_processor("realtime", {**PROCESSOR, "waiting_for": "disk full"}) == {
        "stopped processor realtime": "disk full"
    }


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
