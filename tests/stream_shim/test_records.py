"""The decoder of record batches gives what kafka-python's own does."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from stream_shim.processor.records import ChunkedPartitionRecords, decode_batch

GZIP, LZ4, ZSTD = 1, 3, 4
one_record = st.tuples(
    st.integers(0, 2**41),
    st.none() | st.binary(max_size=300),
    st.none() | st.binary(max_size=20_000),
    st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=2),
)


def built(
    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]], codec: int = 0
) -> bytes:
    builder = MemoryRecordsBuilder(2, codec, 1 << 24)
    for timestamp, key, value, headers in records:
        builder.append(timestamp, key, value, headers)
    builder.close()
    return bytes(builder.buffer())


@given(st.lists(one_record, min_size=1, max_size=5), st.sampled_from([0, GZIP, LZ4, ZSTD]))
def test_a_batch_decodes_as_kafka_python_decodes_it(records: list[Any], codec: int) -> None:
    raw = built(records, codec)
    expected = [(r.offset, r.timestamp, r.key, r.value) for r in MemoryRecords(raw).next_batch()]
    assert [tuple(r) for r in decode_batch(MemoryRecords(raw).next_batch(), 0).records] == expected


def test_records_before_the_wanted_offset_are_left_out() -> None:
    raw = built([(0, None, str(number).encode(), []) for number in range(5)])
    assert [r.offset for r in decode_batch(MemoryRecords(raw).next_batch(), 3).records] == [3, 4]


def test_a_batch_that_ends_early_is_corrupt() -> None:
    batch = MemoryRecords(built([(0, None, b"x" * 50, []), (0, None, b"y" * 50, [])])).next_batch()
    batch._buffer = batch._buffer[:-60]
    with pytest.raises(CorruptRecordError):
        decode_batch(batch, 0)


def test_a_batch_that_cannot_be_decoded_does_not_count_as_read() -> None:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    for number in range(5):
        builder.append(number, 0, b"k", b"v", [])
    good = bytes(builder.build())
    bad = bytearray(good)
    struct.pack_into(">q", bad, 0, 5)  # the batch's first offset
    bad[61] = 0x7E  # the first record claims to be longer than it is, in a batch whose sum is right
    struct.pack_into(">I", bad, 17, calc_crc32c(memoryview(bad)[21:]))
    read = ChunkedPartitionRecords(0, TopicPartition("market_tick", 0), MemoryRecords(good + bytes(bad)))
    assert [chunk.offset for chunk in read.take(64)] == [4]
    assert read.next_fetch_offset == 5
    with pytest.raises(CorruptRecordError):
        read.take(64)
