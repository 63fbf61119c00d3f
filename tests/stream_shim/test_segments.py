"""What moved in a partition, as a destination gets it: no offset left out, none twice, one leader epoch each."""

from stream_shim.processor.mapping import build_mapper
from stream_shim.processor.records import LOG_APPEND_TIME, Chunk, Record
from stream_shim.processor.segments import Log, segments_of
from tidemark.categories import required_fields

TOPIC = "market_tick"
LOG = Log(TOPIC, 3, "id", 1, build_mapper(TOPIC, {name: name for name in required_fields(TOPIC)}))


def chunk(leader_epoch: int, *offsets: int) -> Chunk:
    records = [Record(offset, 1_000 + offset, None, b"{}") for offset in offsets]
    return Chunk(records, offsets[-1] if offsets else 0, LOG_APPEND_TIME, leader_epoch, 7 * leader_epoch)


def test_records_of_two_leader_epochs_are_two_segments_that_meet() -> None:
    first, second = segments_of(LOG, 10, 20, [chunk(0, 11, 12), chunk(0, 13), chunk(2, 16, 17)], 30)
    assert (first.from_offset, first.next_offset, [r.offset for r in first.records]) == (10, 16, [11, 12, 13])
    assert (second.from_offset, second.next_offset, [r.offset for r in second.records]) == (16, 20, [16, 17])
    assert first.mark is not None
    assert second.mark is not None
    assert (first.mark.offset, first.mark.leader_epoch, first.mark.crc) == (13, 0, 0)
    assert (second.mark.offset, second.mark.leader_epoch, second.mark.crc) == (17, 2, 14)
    assert first.empty + second.empty == 5


def test_offsets_that_held_no_record_are_one_segment_without_a_mark() -> None:
    (segment,) = segments_of(LOG, 10, 14, [chunk(0), chunk(1)], 14)
    assert (segment.from_offset, segment.next_offset, segment.records, segment.mark) == (10, 14, [], None)
    assert segment.empty == 4
