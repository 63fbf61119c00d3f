"""What the consumer hands over: whole record batches, decoded in one pass.

kafka-python makes three objects and some fifteen calls of each record, which is three quarters of the time that the
lane needs for a row. `use_chunks` puts a decoder of ours in the place that the fetcher has for it: everything else of
the consumer (sessions, CRC, compression, aborted transactions, positions) stays kafka-python's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError

from realtime.positions import Mark
from stream_shim.buffer.topics import MAX_MESSAGE_BYTES
from stream_shim.processor.inflating import Read, inflating

if TYPE_CHECKING:
    from kafka import KafkaConsumer

CREATE_TIME, LOG_APPEND_TIME = 0, 1
WINDOW_BYTES = 256 * 1024  # so much of a batch is inflated at a time, and more where a record is longer
LARGEST_RECORD_BYTES = MAX_MESSAGE_BYTES  # what a topic takes as it is; a compressed record may be of any length
RECORD_WEIGHT = 64  # that a record counts for beside its bytes: many small ones take memory as well


class Record(NamedTuple):
    """One record: `timestamp` in milliseconds since 1970 UTC, by the clock that `Chunk.timestamp_type` names.

    `missing`: how many bytes at its end were left out, as it has more than LARGEST_RECORD_BYTES; it stays in Kafka.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one batch of one partition, in order; `offset` is the last one's, or the batch's own last.

    `leader_epoch` and `crc` are the batch's own: no other batch of a log has both. `weight` is about how many bytes of
    memory the records take.
    """

    records: list[Record]
    offset: int
    timestamp_type: int
    leader_epoch: int = -1
    crc: int = 0
    weight: int = 0

    def from_offset(self, offset: int) -> "Chunk":
        """The same batch without the records below `offset`."""
        return replace(self, records=[record for record in self.records if record.offset >= offset])


def mark_of(chunks: Sequence[Chunk]) -> Mark | None:
    """The mark of the last record of one partition's chunks; None where they hold none."""
    for chunk in reversed(chunks):
        if chunk.records:
            last = chunk.records[-1]
            return Mark(last.offset, chunk.leader_epoch, chunk.crc, last.timestamp)
    return None


def is_marked(chunk: Chunk, mark: Mark) -> bool | None:
    """Whether the chunk, read from the mark's offset on, begins with the marked record; None: no record is there."""
    if not chunk.records or chunk.records[0].offset != mark.offset:
        return None
    return (chunk.leader_epoch, chunk.crc, chunk.records[0].timestamp) == mark[1:]


_record = tuple.__new__  # a third of what Record(..) takes


def chunks_of(batch: Any, from_offset: int) -> Iterator[Chunk]:
    """Decode a batch of message format v2 (kafka.record.default_records), from `from_offset` on, a window at a time.

    The last chunk, of most batches the only one, counts as far as the batch's own last offset. Raises
    CorruptRecordError where the bytes are not what the header promised.
    """
    read = inflating(batch.compression_type, bytes(memoryview(batch._buffer)[batch._pos :]))
    left, data = batch.records_count, read(WINDOW_BYTES)
    while left:
        records, seen, end = decode_records(batch, data, left, from_offset)
        if not seen and (length := _length(data)) > LARGEST_RECORD_BYTES and len(data) > LARGEST_RECORD_BYTES:
            first = _beginning(batch, data)
            records, seen, end = [first] if first.offset >= from_offset else [], 1, len(data)
            _skip(read, length - len(data))
        left -= seen
        if records or not left:
            last = records[-1].offset if left else batch.last_offset
            weight = end + RECORD_WEIGHT * len(records)
            yield Chunk(records, last, batch.timestamp_type, batch.leader_epoch, batch.crc, weight)
        if left:
            rest = len(data) - end
            more = read(max(WINDOW_BYTES, min(rest, LARGEST_RECORD_BYTES + 1 - rest)))
            if not more:
                raise CorruptRecordError(
                    f"expected {batch.records_count} records at offset {batch.base_offset}, {left} are not there"
                )
            data = data[end:] + more


def decode_records(batch: Any, data: bytes, most: int, from_offset: int) -> tuple[list[Record], int, int]:  # noqa: PLR0912 - its branches stand where calls would be slow
    """(records from `from_offset` on, how many stand whole in `data`, where the next begins): at most so many.

    Varints are read in place, since a call for each is what makes kafka-python slow: a lone byte below 128 is one,
    and nearly all others have two.
    """
    base, first, stamp = batch.base_offset, batch.first_timestamp, batch.max_timestamp
    append_time = batch.timestamp_type == LOG_APPEND_TIME
    records: list[Record] = []
    keep, limit, at, seen = records.append, len(data), 0, 0
    try:
        while seen < most:
            start = at
            if (length := data[at]) < 128:
                at += 1
            elif (second := data[at + 1]) < 128:
                length, at = length & 127 | second << 7, at + 2
            else:
                length, at = _varint(data, at)
            end = at + (length >> 1)
            at += 1  # past the record's attributes, which are unused
            if (delta := data[at]) < 128:
                at += 1
            else:
                delta, at = _varint(data, at)
            if (offset := data[at]) < 128:
                at += 1
            elif (second := data[at + 1]) < 128:
                offset, at = offset & 127 | second << 7, at + 2
            else:
                offset, at = _varint(data, at)
            offset = base + (offset >> 1)
            if (size := data[at]) < 128:
                at += 1
            else:
                size, at = _varint(data, at)
            key = None if size & 1 else data[at : (at := at + (size >> 1))]
            if (size := data[at]) < 128:
                at += 1
            elif (second := data[at + 1]) < 128:
                size, at = size & 127 | second << 7, at + 2
            else:
                size, at = _varint(data, at)
            value = None if size & 1 else data[at : (at := at + (size >> 1))]
            if at > end:
                raise CorruptRecordError(f"expected a record within its length, at offset {offset}")
            if end > limit:
                return records, seen, start
            at, seen = end, seen + 1  # past the headers: nothing of the lane reads them
            if offset >= from_offset:
                time = stamp if append_time else first + ((delta >> 1) ^ -(delta & 1))
                keep(_record(Record, (offset, time, key, value, 0)))
    except IndexError:
        return records, seen, start
    return records, seen, at


def _length(data: bytes) -> int:
    """How many bytes the record at the begin of `data` takes, its length's own too; 0 where that is not whole."""
    try:
        length, at = _number(data, 0)
    except IndexError:
        return 0
    return at + (length >> 1)


def _beginning(batch: Any, data: bytes) -> Record:
    """The record at the begin of `data`, which holds only the begin of it: no value where its key alone is longer."""
    at = _number(data, 0)[1] + 1
    delta, at = _number(data, at)
    offset, at = _number(data, at)
    parts: list[bytes | None] = []
    for _ in ("key", "value"):
        size, at = _number(data, at) if at < len(data) else (1, at)
        parts.append(None if size & 1 else data[at : at + (size >> 1)])
        at += size >> 1
    is_append_time = batch.timestamp_type == LOG_APPEND_TIME
    time = batch.max_timestamp if is_append_time else batch.first_timestamp + ((delta >> 1) ^ -(delta & 1))
    return Record(batch.base_offset + (offset >> 1), time, parts[0], parts[1], max(0, at - len(data)))


def _skip(read: Read, size: int) -> None:
    while size > 0:
        passed = len(read(min(size, WINDOW_BYTES)))
        if not passed:
            raise CorruptRecordError(f"expected {size} bytes more of a record, the batch ends")
        size -= passed


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(the number, still in zigzag form: its lowest bit is its sign; where it ends)."""
    value, shift = data[at] & 127, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The same of a number of any length, also of one byte."""
    return (data[at], at + 1) if data[at] < 128 else _varint(data, at)


class ChunkedPartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The fetcher's reader of one partition's response, giving Chunks instead of records."""

    taken = 0  # the weight of what was taken last

    def take(self, most: int | None = None) -> list[Chunk]:
        """Chunks until their weight is `most`; at least one, where there is one."""
        self._maybe_raise_next_inline_exception()
        chunks: list[Chunk] = []
        try:
            for chunk in self.record_iterator:
                chunks.append(chunk)
                self.taken += chunk.weight
                if most is not None and self.taken >= most:
                    break
        except Exception as error:  # whatever it is, it is raised: now, or by the next call, after what came before it
            if not chunks:
                raise
            self._next_inline_exception = error  # the next call raises it
        return chunks

    def _unpack_records(self, tp: Any, records: Any, *_deserializers: Any) -> Iterator[Chunk]:
        while (batch := records.next_batch()) is not None:
            if not batch.validate_crc():
                raise CorruptRecordError(
                    f"expected a sound batch of {tp} at offset {batch.base_offset}, its CRC is wrong"
                )
            for chunk in chunks_of(batch, self.fetch_offset) if self._holds_records(batch) else ():
                # Not before it is decoded: a batch that raises here must not count as read.
                self.leader_epoch, self.next_fetch_offset = batch.leader_epoch, chunk.offset + 1
                self.records_read += len(chunk.records)
                yield chunk
            self.leader_epoch, self.next_fetch_offset = batch.leader_epoch, batch.next_offset
            self.bytes_read += batch.size_in_bytes
        self.drain()

    def _holds_records(self, batch: Any) -> bool:
        """False for a transaction's marker and for the records of an aborted one."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return False
        return not batch.is_control_batch


def use_chunks(consumer: "KafkaConsumer") -> None:
    """Let `consumer.poll` return lists of Chunk; `max_poll_records` then counts their weight, over all partitions."""
    fetcher = consumer._fetcher
    fetcher.PartitionRecords = ChunkedPartitionRecords
    append = fetcher._append

    def append_by_weight(drained: Any, part: ChunkedPartitionRecords, most: int, update_offsets: bool) -> int:
        part.taken = 0
        append(drained, part, most, update_offsets)
        return part.taken

    fetcher._append = append_by_weight
