"""A group that stands still is seen, and ends: heartbeats go on whatever the group does."""

import json
from contextlib import closing

import pytest
from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from stream_shim.reports import report_path
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.access.kafka_rights import GROUP_PREFIX
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client


@pytest.mark.faults  # it waits for a minute
def test_a_rebalance_that_a_silent_member_holds_up_is_shown_and_ends_within_a_minute(lane: Lane) -> None:
    silent = KafkaConsumer(
        "market_tick", **kafka_client(lane.settings, KAFKA_ADMINISTRATOR), group_id=f"{GROUP_PREFIX}realtime",
        partition_assignment_strategy=[CooperativeStickyAssignor], auto_offset_reset="earliest",
        session_timeout_ms=300_000, max_poll_interval_ms=300_000,
    )  # fmt: skip
    with closing(silent):
        until(lambda: silent.poll(timeout_ms=200) or silent.assignment(), "the silent member in the group")
        lane.produce("market_tick", [tick()])
        with lane.running("processor", "realtime") as process:
            shown = until(lambda: still_shown(lane), "the report to say that it stands still", 60)
            assert "a rebalance has not ended" in shown
            until(lambda: process.poll() is not None, "the processor to end", 30)
            assert process.returncode == 1
    log = (lane.settings.home / "logs" / "processor-realtime.log").read_text()
    assert "it ends: expected what lags to be read on" in log
    with lane.running("processor", "realtime"):
        until(lambda: lane.count("market_tick") == 1, "what waited, once the silent member has left")


def still_shown(lane: Lane) -> str:
    path = report_path(lane.settings, "processor", "realtime")
    report = json.loads(path.read_text()) if path.exists() else {}
    return str(report.get("waiting_for", "")) if report.get("still_seconds", 0) > 40 else ""
