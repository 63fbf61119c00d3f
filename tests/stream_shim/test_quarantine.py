"""Records that could not be rows are looked at, tried again, or given up; each is counted, none is doubled."""

import json

import pytest

from realtime.quarantined import Wanted, drop, summary
from stream_shim.repairs.quarantine import retry
from tests.stream_shim.conftest import Lane, tick, until


@pytest.fixture
def with_rejects(lane: Lane) -> Lane:
    """Two rows, and three records in quarantine for two reasons."""
    lane.produce("market_tick", [tick(0), b"{", b"{", {**tick(3), "price": None}, tick(4)])
    with lane.running("processor"):
        until(lambda: lane.consumed() == 5, "everything consumed")
    return lane


def test_they_are_counted_by_topic_and_reason(with_rejects: Lane) -> None:
    found = summary(with_rejects.settings, Wanted())
    assert [(row["topic"], row["reason"], row["records"]) for row in found] == [
        ("market_tick", "not_json", 2), ("market_tick", "wrong_type", 1),
    ]  # fmt: skip


def test_the_command_shows_identity_reason_and_payload(with_rejects: Lane) -> None:
    shown = with_rejects.stack.run("quarantine", "show", "--reason", "not_json", "--json")
    rows = json.loads(shown.stdout)
    assert [(row["identity"], row["payload"]) for row in rows] == [
        ("market_tick:1:0:1", "{"),
        ("market_tick:1:0:2", "{"),
    ]


def test_a_record_that_is_a_row_by_now_leaves_quarantine_with_its_identity(with_rejects: Lane) -> None:
    lane = with_rejects
    good = json.dumps(tick(3)).encode()
    identity = "log_epoch, kafka_partition, kafka_offset, received_at"
    waits = lane.query(f"select {identity} from realtime.quarantine where kafka_offset = 3")
    lane.execute("update realtime.quarantine set payload = %s where kafka_offset = 3", good)
    assert retry(lane.settings, Wanted()) == (1, 2)
    assert retry(lane.settings, Wanted()) == (0, 2)
    assert lane.query("select kafka_offset from realtime.market_tick order by 1") == [(0,), (3,), (4,)]
    row = lane.query(f"select {identity}, price from realtime.market_tick where kafka_offset = 3")
    assert row == [(*waits[0], tick(3)["price"])]
    assert lane.query("select kafka_offset from realtime.quarantine order by 1") == [(1,), (2,)]
    assert lane.unbalanced() == []


def test_a_dropped_record_stays_and_counts_as_dropped(with_rejects: Lane) -> None:
    lane = with_rejects
    assert drop(lane.settings, Wanted(identity="market_tick:1:0:1")) == 1
    assert drop(lane.settings, Wanted(identity="market_tick:1:0:1")) == 0
    assert lane.query(
        "select kafka_offset, dropped_by is not null from realtime.quarantine where dropped_at is not null"
    ) == [(1, True)]
    (balance,) = [b for b in json.loads(lane.stack.run("account", "--json").stdout) if b["topic"] == "market_tick"]
    assert (balance["quarantined"], balance["dropped"], balance["realtime"], balance["balance"]) == (2, 1, 2, 0)


def test_before_records_are_dropped_their_number_is_shown_and_asked_about(with_rejects: Lane) -> None:
    asked = with_rejects.stack.run("quarantine", "drop", "--reason", "not_json")  # nobody answers
    assert "2 records will count as dropped, and can be retried no more" in asked.stdout
    assert "payloads are deleted after 30 days (TIDEMARK_DROPPED_DAYS)" in asked.stdout
    assert asked.returncode == 1
    assert with_rejects.query("select from realtime.quarantine where dropped_at is not null") == []
    done = with_rejects.stack.run("quarantine", "drop", "--reason", "not_json", "--yes")
    assert (done.stdout, done.returncode) == ("2 are dropped\n", 0)


@pytest.mark.parametrize("identity", ["market_tick:1", "market_tick:1:0:\N{SUPERSCRIPT TWO}"])
def test_an_identity_that_is_none_is_wrong_usage_and_refused_before_anything_is_asked(
    lane: Lane, identity: str
) -> None:
    done = lane.stack.run("quarantine", "drop", "--identity", identity)
    assert done.returncode == 2
    assert "expected TOPIC:EPOCH:PARTITION:OFFSET, received" in done.stderr
    assert done.stdout == ""
