"""The replay kind: what a lake destination has written goes into the topics again."""

import json
import time
from collections import Counter

import pytest

from stream_shim.connectors.entries import SourceEntry
from stream_shim.destinations.lake import LakeDestination
from stream_shim.processor.mapping import build_mapper
from stream_shim.processor.records import Record
from stream_shim.processor.segments import Log, Segment
from tests.conftest import Stack
from tests.stream_shim.conftest import tick, until
from tests.stream_shim.connecting import Wire, entry_of


@pytest.fixture
def wire(stack: Stack) -> Wire:
    return Wire(stack.settings)


def log_of(topic_id: str) -> Log:
    return Log("market_tick", 0, topic_id, 0, build_mapper("market_tick", {}))


def archive(stack: Stack, path: str, files: list[list[Record]]) -> None:
    """Write the records of market_tick as a lake destination does, a segment a file."""
    lake = LakeDestination(stack.settings, path)
    segments = [
        Segment(log_of("Xt0p1cId"), records[0].offset, records[-1].offset + 1, records, records[-1].offset + 1)
        for records in files
    ]
    for segment in segments:
        lake.commit(lake.prepare([segment]))
        lake.write(all_of_it=True)


def recorded(number: int, time_ms: int) -> Record:
    return Record(number, time_ms, b"key", json.dumps(tick(number, exotic="kept")).encode())


def replay(wire: Wire, name: str, path: str, speed: float) -> SourceEntry:
    body = {"kind": "replay", "path": path, "topics": ["market_tick"], "speed": speed}
    return entry_of(wire.settings, json.dumps({name: body}))


def test_what_was_archived_is_replayed_once_and_says_that_it_is_a_replay(wire: Wire, stack: Stack) -> None:
    first = [recorded(number, 1000 + number) for number in range(100)]
    again = [recorded(number, 1000 + number) for number in range(90, 150)]  # a crash has put ten of them into two files
    poison = [Record(150, 1200, None, None), Record(151, 1200, None, b"\xff"), Record(152, 1200, b"k", b"[1]")]
    archive(stack, "replayed", [first, again, poison])
    entry = replay(wire, "replayed", "replayed", 0)
    with wire.connected(entry) as publisher:
        until(lambda: publisher.sent["market_tick"] == 150 and publisher.rejected, "every tick")
        until(lambda: sum(publisher.rejected.values()) == 3, "every poison record, counted")
    archive(stack, "replayed", [[recorded(number, 2000 + number) for number in range(200, 210)]])
    with wire.connected(entry) as publisher:
        until(lambda: publisher.sent["market_tick"] == 10, "what was archived since")
    sent = wire.records("market_tick")
    assert Counter(one["attributes"]["id"] for one in sent) == Counter(str(n) for n in [*range(150), *range(200, 210)])
    expected = tick(7) | {"source_system": "replayed"}
    expected["attributes"] |= {"replayed_from": "test", "exotic": "kept"}
    assert sent[7] == expected


def test_a_folder_of_any_name_is_replayed(wire: Wire, stack: Stack) -> None:
    path = "archive [v1] *?{a,b}!"
    archive(stack, path, [[recorded(number, 1000 + number) for number in range(10)]])
    with wire.connected(replay(wire, "awkward", path, 0)) as publisher:
        until(lambda: publisher.sent["market_tick"] == 10, "every tick")


def test_a_late_record_of_an_earlier_day_and_a_topic_made_again_are_replayed_too(wire: Wire, stack: Stack) -> None:
    day_ms = 86_400_000
    late = [recorded(0, 1000), recorded(1, day_ms), recorded(2, 2000)]
    archive(stack, "late", [late, [recorded(3, 3000)]])
    lake = LakeDestination(stack.settings, "late")
    lake.commit(lake.prepare([Segment(log_of("Made-again"), 0, 1, [recorded(4, 4000)._replace(offset=0)], 1)]))
    lake.write(all_of_it=True)
    with wire.connected(replay(wire, "late", "late", 0)) as publisher:
        until(lambda: publisher.sent["market_tick"] == 5, "all five")
    assert [one["attributes"]["id"] for one in wire.records("market_tick")] == ["0", "2", "3", "4", "1"]


@pytest.mark.parametrize("speed", [1, 1000])
def test_a_replay_keeps_the_pace_of_the_session_or_a_multiple_of_it(wire: Wire, stack: Stack, speed: int) -> None:
    """A second of the session at its own pace, or 1,000 s of it, for which nobody here waits, at 1,000 times it."""
    path = f"pace{speed}"
    archive(stack, path, [[recorded(number, 5000 + number * 10 * speed) for number in range(101)]])
    began = time.time()
    with wire.connected(replay(wire, path, path, speed)) as publisher:
        until(lambda: publisher.sent["market_tick"] == 101, "every tick")
    assert publisher.last_message_at - began >= 1


def test_a_folder_without_files_is_an_error_that_names_it(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    with wire.connected(replay(wire, "nothing", "no-such-folder", 0)) as publisher:
        until(lambda: publisher.source_errors, "the error, counted")
    assert "expected files of a lake destination in" in caplog.text
    assert "no-such-folder" in caplog.text
