"""The decoder of record batches gives what kafka-python's own does."""

import struct
from collections.abc import Callable
from typing import Any

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from stream_shim.processor.inflating import inflating
from stream_shim.processor.records import (
    LARGEST_RECORD_BYTES,
    WINDOW_BYTES,
    ChunkedPartitionRecords,
    Record,
    chunks_of,
)

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


def decoded(raw: bytes, from_offset: int = 0) -> list[Record]:
    return [record for chunk in chunks_of(MemoryRecords(raw).next_batch(), from_offset) for record in chunk.records]


@given(st.lists(one_record, min_size=1, max_size=5), st.sampled_from([0, GZIP, LZ4, ZSTD]))
def test_a_batch_decodes_as_kafka_python_decodes_it(records: list[Any], codec: int) -> None:
    raw = built(records, codec)
    expected = [(r.offset, r.timestamp, r.key, r.value) for r in MemoryRecords(raw).next_batch()]
    assert [tuple(r)[:4] for r in decoded(raw)] == expected


def test_records_before_the_wanted_offset_are_left_out() -> None:
    raw = built([(0, None, str(number).encode(), []) for number in range(5)])
    assert [r.offset for r in decoded(raw, 3)] == [3, 4]


def test_a_batch_that_ends_early_is_corrupt() -> None:
    batch = MemoryRecords(built([(0, None, b"x" * 50, []), (0, None, b"y" * 50, [])])).next_batch()
    batch._buffer = batch._buffer[:-60]
    with pytest.raises(CorruptRecordError):
        list(chunks_of(batch, 0))


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


@pytest.mark.parametrize("codec", [0, GZIP, LZ4, ZSTD])
@pytest.mark.parametrize("size", [7, WINDOW_BYTES // 3, WINDOW_BYTES - 9, 3 * WINDOW_BYTES])
def test_a_batch_of_many_windows_gives_every_record_once(codec: int, size: int) -> None:
    raw = built([(number, b"%d" % number, b"v" * size, []) for number in range(15)], codec)
    chunks = list(chunks_of(MemoryRecords(raw).next_batch(), 2))
    assert [(r.offset, r.key, r.value) for c in chunks for r in c.records] == [
        (number, b"%d" % number, b"v" * size) for number in range(2, 15)
    ]
    assert chunks[-1].offset == 14
    assert all(chunk.weight < max(4 * WINDOW_BYTES, 3 * size) for chunk in chunks)


def test_of_a_record_larger_than_any_may_be_its_begin_is_kept_and_what_follows_is_read() -> None:
    raw = built([(1, b"a", b"1", []), (2, b"b", b"x" * 3 * LARGEST_RECORD_BYTES, []), (3, b"c", b"3", [])], ZSTD)
    first, large, last = decoded(raw)
    assert (first.value, last.value, last.offset, first.missing, last.missing) == (b"1", b"3", 2, 0, 0)
    assert (large.offset, large.timestamp, large.key) == (1, 2, b"b")
    assert large.value is not None
    assert set(large.value) == {ord("x")}
    assert len(large.value) + large.missing == 3 * LARGEST_RECORD_BYTES
    assert len(large.value) < 2 * LARGEST_RECORD_BYTES


def test_a_poll_takes_no_more_than_its_weight_and_goes_on_within_a_batch() -> None:
    raw = built([(0, None, b"v" * WINDOW_BYTES, []) for _ in range(10)], LZ4)
    read = ChunkedPartitionRecords(0, TopicPartition("market_tick", 0), MemoryRecords(raw))
    taken = []
    while read:
        chunks = read.take(2 * WINDOW_BYTES)
        assert len(chunks) <= 2
        taken += [record.offset for chunk in chunks for record in chunk.records]
        assert read.next_fetch_offset == len(taken)
        read.taken = 0
    assert taken == list(range(10))


def snappy_of_java(data: bytes) -> bytes:
    blocks = (bytes(cramjam.snappy.compress_raw(data[at : at + 32_768])) for at in range(0, len(data), 32_768))
    return b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + b"".join(struct.pack(">i", len(b)) + b for b in blocks)


@pytest.mark.parametrize("packed", [snappy_of_java, lambda data: bytes(cramjam.snappy.compress_raw(data))])
def test_snappy_is_read_as_java_and_as_others_write_it(packed: Callable[[bytes], bytes]) -> None:
    plain = b"".join(b"%d," % number for number in range(50_000))
    read, found = inflating(2, packed(plain)), b""
    while piece := read(10_000):
        assert len(piece) <= 10_000
        found += piece
    assert found == plain


@pytest.mark.parametrize("codec", [GZIP, 2, LZ4, ZSTD])
@pytest.mark.parametrize("data", [b"", b"no codec's bytes at all", b"\xff" * 40])
def test_bytes_of_no_codec_are_corrupt_and_not_a_fault_of_a_library(codec: int, data: bytes) -> None:
    with pytest.raises(CorruptRecordError):
        if not inflating(codec, data)(10):
            raise CorruptRecordError  # the batch ends before its first record
