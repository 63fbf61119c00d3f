"""A group that stands still is seen, and ends: heartbeats go on whatever the group does."""

import json
from contextlib import closing

import pytest
from kafka import KafkaConsumer, KafkaProducer
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
        session_timeout_ms=300_000, max_poll_interval_ms=300_000, metadata_max_age_ms=2_000,  # the topic is new
    )  # fmt: skip
    with closing(silent):
        until(lambda: silent.poll(timeout_ms=200) or silent.assignment(), "the silent member in the group", 120)
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


@pytest.mark.faults  # it waits for most of a minute
def test_records_behind_a_transaction_that_nobody_ends_are_shown_and_come_once_it_is_over(lane: Lane) -> None:
    """Kafka names the begin of the transaction as the end: the lag is none."""
    lane.produce("market_tick", [tick(0)])
    producer = KafkaProducer(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR), transactional_id="open")
    producer.init_transactions()
    with lane.running("processor", "realtime") as process, closing(producer):
        lane.until_consumed(1)
        producer.begin_transaction()
        producer.send("market_tick", json.dumps(tick(1)).encode(), partition=0).get(10)
        lane.produce("market_tick", [tick(number) for number in range(2, 12)])
        shown = until(lambda: waits_for(lane), "the report to say what it waits for", 58)
        assert "the transaction that begins at offset 1 of market_tick, partition 0, to end" in shown
        assert "11 offsets wait behind its begin" in shown
        producer.abort_transaction()
        until(lambda: lane.count("market_tick") == 11, "what waited behind it")
        until(lambda: not waits_for(lane), "the report to say that it is over")
        assert process.poll() is None
    assert lane.unbalanced() == []


def waits_for(lane: Lane) -> str:
    path = report_path(lane.settings, "processor", "realtime")
    return str(json.loads(path.read_text())["waiting_for"]) if path.exists() else ""


def still_shown(lane: Lane) -> str:
    path = report_path(lane.settings, "processor", "realtime")
    report = json.loads(path.read_text()) if path.exists() else {}
    return str(report.get("waiting_for", "")) if report.get("still_seconds", 0) > 40 else ""
