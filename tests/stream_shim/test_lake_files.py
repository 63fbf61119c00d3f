"""A destination of kind `lake` writes many polls into a file, by size and by age, and loses none of them to a kill."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from kafka import TopicPartition

from stream_shim.destinations.entries import parse_destinations
from stream_shim.destinations.lake import LakeDestination
from stream_shim.processor.counts import Counts, committed_of
from stream_shim.processor.handover import Handover
from stream_shim.processor.segments import Segment
from tests.conftest import Stack
from tests.stream_shim.conftest import Lane, tick, until
from tests.stream_shim.test_replay_source import log_of, recorded
from tidemark.errors import ConfigurationError
from tidemark.lake import lake_url
from tidemark.settings import Settings


def files_of(settings: Settings, path: str) -> dict[str, list[int]]:
    """The offsets in each file, by its name."""
    folder = Path(lake_url(settings).removeprefix("file://")) / path
    return {
        file.name: [json.loads(line)["offset"] for line in gzip.decompress(file.read_bytes()).splitlines()]
        for file in sorted(folder.rglob("*.gz"))
    }


def polls(lake: LakeDestination, offsets: range) -> list[bool]:
    """A poll a record: whether it had files written."""
    said = []
    for number in offsets:
        lake.commit(lake.prepare([Segment(log_of("t"), number, number + 1, [recorded(number, 1000)], number + 1)]))
        said.append(lake.write(all_of_it=False) is not None)
    return said


def test_a_file_is_written_once_it_is_large_or_old_and_has_every_record_of_its_polls(stack: Stack) -> None:
    by_size = LakeDestination(stack.settings, "by-size", roll_seconds=3600, roll_bytes=1)
    assert polls(by_size, range(3)) == [True, True, True]
    (line_bytes,) = {len(line) for _, lines in by_size.prepare([segment(3)]) for line in lines}
    larger = LakeDestination(stack.settings, "larger", roll_seconds=3600, roll_bytes=10 * line_bytes)
    assert polls(larger, range(25)) == [number % 10 == 9 for number in range(25)]
    assert list(files_of(stack.settings, "larger").values()) == [list(range(10)), list(range(10, 20))]
    written = larger.write(all_of_it=True)
    assert written is not None
    assert (written.rows, larger.write(all_of_it=False)) == ({"market_tick": 5}, None)
    aged = LakeDestination(stack.settings, "aged", roll_seconds=0, roll_bytes=10**9)
    assert polls(aged, range(3)) == [True, True, True]
    assert [len(found) for found in files_of(stack.settings, "aged").values()] == [1, 1, 1]


def segment(number: int) -> Segment:
    return Segment(log_of("t"), number, number + 1, [recorded(number, 1000)], number + 1)


def test_days_and_logs_have_files_of_their_own_and_what_was_read_again_takes_no_name_of_another(stack: Stack) -> None:
    lake, day_ms = LakeDestination(stack.settings, "apart"), 86_400_000
    for topic_id, number, time_ms in (("a", 5, 0), ("a", 6, day_ms), ("b", 5, 0), ("a", 7, 0), ("a", 4, 0)):
        record = recorded(number, time_ms)
        lake.commit(lake.prepare([Segment(log_of(topic_id), number, number + 1, [record], 9)]))
    lake.write(all_of_it=True)
    assert sorted(files_of(stack.settings, "apart").values()) == [[4], [5], [5, 7], [6]]


def test_the_position_is_moved_by_a_written_file_alone_and_an_end_writes_what_was_gathered(stack: Stack) -> None:
    lake, counts, partition = (
        LakeDestination(stack.settings, "ended"),
        Counts("ended"),
        TopicPartition("market_tick", 0),
    )
    handover = Handover(lake, counts)
    handover.start()
    for number in range(3):
        segments = [segment(number)]
        assert handover.put(lake.prepare(segments), committed_of(segments))
    until(lambda: not handover._queue.unfinished_tasks, "all three gathered")
    assert (counts.positions, files_of(stack.settings, "ended")) == ({}, {})
    handover.end()
    assert (counts.positions, list(files_of(stack.settings, "ended").values())) == ({partition: 3}, [[0, 1, 2]])


def test_a_kill_before_a_file_is_written_has_its_records_read_again(lane: Lane, tmp_path: Path) -> None:
    path = tmp_path / "destinations.yml"
    path.write_text("rolled: {kind: lake, topics: [market_tick], path: rolled, roll_seconds: 2}\n")
    files = {"TIDEMARK_DESTINATIONS_FILE": str(path)}
    log = lane.settings.home / "logs" / "processor-rolled.log"
    lane.produce("market_tick", [tick(number) for number in range(30)])
    with lane.running("processor", "rolled", **files) as process:
        until(lambda: log.exists() and "reads market_tick" in log.read_text(), "the start")
        process.kill()
    lane.produce("market_tick", [tick(number) for number in range(30, 60)])
    with lane.running("processor", "rolled", **files):
        until(lambda: sum(map(len, files_of(lane.settings, "rolled").values())) >= 60, "every record")
    found = files_of(lane.settings, "rolled")
    assert Counter(offset for offsets in found.values() for offset in offsets) == Counter(range(60))
    assert len(found) <= 2


@pytest.mark.parametrize("keys", ["kind: lake, roll_mb: 0", "kind: lake, roll_seconds: 0", "kind: kafka, roll_mb: 1"])
def test_a_roll_that_is_none_or_of_another_kind_is_refused_by_its_key(keys: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="roll_"):
        parse_destinations(f"name: {{{keys}, topics: [market_tick]}}\n", tmp_path / "destinations.yml")
