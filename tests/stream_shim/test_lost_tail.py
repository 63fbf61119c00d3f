"""A broker that loses the tail of its log, and is filled again beyond it, ends the epoch: the offsets say nothing."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.topics import ensure_topics
from tests.conftest import Stack
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.stack import local
from tidemark.stack.process import find

BATCH_HEADER = struct.Struct(">qi")  # of a batch: its first offset, and how many bytes follow


@pytest.fixture
def own_lane(new_stack: Stack) -> Iterator[Lane]:
    """A lane whose broker the test may kill and damage."""
    settings = new_stack.with_settings(prefect_url="none")
    local.up(settings)
    ensure_topics(settings, read_topics(settings.topics_file))
    yield Lane(Stack(settings))


def produce(lane: Lane, first: int, count: int, batches: int = 10) -> None:
    """Ticks of equal size, in so many batches."""
    size = count // batches
    for start in range(first, first + count, size):
        lane.produce("market_tick", [tick(number) for number in range(start, start + size)])


def kill_and_cut(lane: Lane, offset: int) -> None:
    """kill -9 the broker; its disk has lost every batch of market_tick from `offset` on."""
    broker = find(lane.settings.home, "kafka")
    assert broker is not None
    broker.kill()
    broker.wait(60)
    (log,) = (lane.settings.home / "kafka" / "data" / "market_tick-0").glob("*.log")
    cut(log, offset)


def cut(log: Path, offset: int) -> None:
    data, at = log.read_bytes(), 0
    while at < len(data):
        first, length = BATCH_HEADER.unpack_from(data, at)
        if first >= offset:
            break
        at += BATCH_HEADER.size + length
    assert 0 < at < len(data)
    log.write_bytes(data[:at])


def ids(lane: Lane) -> list[tuple[int, int, int, int]]:
    """Of each epoch: how many ticks, how many different ones, the least and the greatest id."""
    return [
        (int(epoch), int(rows), int(least), int(most))
        for epoch, rows, least, most in lane.query(
            "select log_epoch, count(distinct attributes ->> 'id'), min((attributes ->> 'id')::int), "
            "max((attributes ->> 'id')::int) from realtime.market_tick group by 1 order by 1"
        )
    ]


def open_epoch(lane: Lane) -> None:
    opened = lane.stack.run("stream", "epoch", "market_tick", "--yes", "--json")
    assert opened.returncode == 0, opened.stderr


def balances(lane: Lane) -> list[tuple[int, int, int, int]]:
    found = json.loads(lane.stack.run("account", "--json").stdout)
    return [(b["epoch"], b["consumed"], b["lost"], b["balance"]) for b in found if b["topic"] == "market_tick"]


@pytest.mark.faults
def test_a_log_cut_and_filled_beyond_the_old_end_ends_the_epoch_and_every_new_record_is_a_row(own_lane: Lane) -> None:
    produce(own_lane, 1000, 100)
    with own_lane.running("processor"):
        until(lambda: own_lane.consumed() == 100, "100 offsets consumed")
    kill_and_cut(own_lane, 60)
    local.up(own_lane.settings)
    produce(own_lane, 2000, 100)
    with own_lane.running("processor") as process:
        said, _ = process.communicate(timeout=90)
    assert process.returncode == 1, said
    assert "filled again" in said
    assert own_lane.count("market_tick") == 100
    open_epoch(own_lane)
    with own_lane.running("processor"):
        until(lambda: own_lane.count("market_tick") == 200, "the new records")
    assert ids(own_lane) == [(1, 100, 1000, 1099), (2, 100, 2000, 2099)]
    assert own_lane.doubled() == []
    assert balances(own_lane) == [(1, 100, 0, 0), (2, 100, 0, 0)]


@pytest.mark.faults
def test_a_processor_that_runs_meanwhile_stops_and_takes_nothing_of_the_new_log(own_lane: Lane) -> None:
    produce(own_lane, 1000, 100)
    with own_lane.running("processor") as process:
        until(lambda: own_lane.consumed() == 100, "100 offsets consumed")
        kill_and_cut(own_lane, 60)
        local.up(own_lane.settings)
        produce(own_lane, 2000, 100)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert own_lane.count("market_tick") == 100
    open_epoch(own_lane)
    with own_lane.running("processor"):
        until(lambda: own_lane.count("market_tick") == 200, "the new records")
    assert ids(own_lane) == [(1, 100, 1000, 1099), (2, 100, 2000, 2099)]
    assert balances(own_lane) == [(1, 100, 0, 0), (2, 100, 0, 0)]


@pytest.mark.faults
def test_a_processor_that_has_read_a_log_to_its_end_goes_on_after_the_broker_was_killed(own_lane: Lane) -> None:
    produce(own_lane, 1000, 50)
    with own_lane.running("processor"):
        until(lambda: own_lane.consumed() == 50, "50 offsets consumed")
        broker = find(own_lane.settings.home, "kafka")
        assert broker is not None
        broker.kill()
        broker.wait(60)
        local.up(own_lane.settings)
        produce(own_lane, 2000, 50)
        until(lambda: own_lane.consumed() == 100, "100 offsets consumed", 120)
    assert ids(own_lane) == [(1, 100, 1000, 2049)]
    assert balances(own_lane) == [(1, 100, 0, 0)]


@pytest.mark.faults
def test_a_tail_that_was_seen_and_lost_before_anybody_read_it_ends_the_epoch_and_is_counted(own_lane: Lane) -> None:
    produce(own_lane, 1000, 100)
    with own_lane.running("processor"):
        until(lambda: own_lane.consumed() == 100, "100 offsets consumed")
    # As a processor leaves it that saw 140 records and was ended after the first 100 of them.
    own_lane.execute("update realtime.consumer_offset set log_end_offset = 140 where topic = 'market_tick'")
    with own_lane.running("processor") as process:
        said, _ = process.communicate(timeout=90)
    assert process.returncode == 1, said
    assert "its tail was lost unread" in said
    open_epoch(own_lane)
    produce(own_lane, 2000, 50)
    with own_lane.running("processor"):
        until(lambda: own_lane.count("market_tick") == 150, "the new records")
    assert balances(own_lane) == [(1, 140, 40, 0), (2, 50, 0, 0)]
