"""What the consumer hands over: whole record batches, decoded in one pass.

kafka-python makes three objects and some fifteen calls of each record, which is three quarters of the time that the
lane needs for a row. `use_chunks` puts a decoder of ours in the place that the fetcher has for it: everything else of
the consumer (sessions, CRC, compression, aborted transactions, positions) stays kafka-python's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka.consumer.fetcher import Fetcher, IsolationLevel
from kafka.errors import CorruptRecordError

if TYPE_CHECKING:
    from kafka import KafkaConsumer

CREATE_TIME, LOG_APPEND_TIME = 0, 1


class Record(NamedTuple):
    """One record: `timestamp` in milliseconds since 1970 UTC, by the clock that `Chunk.timestamp_type` names."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """The records of one batch of one partition, in order; `offset` is the last one's."""

    records: list[Record]
    offset: int
    timestamp_type: int


def decode_batch(batch: Any, from_offset: int) -> Chunk:
    """Decode a batch of message format v2 (kafka.record.default_records), from `from_offset` on.

    A varint is read in place: nearly all of them have one or two bytes. Raises CorruptRecordError where the bytes are
    not what the header promised.
    """
    batch._maybe_uncompress()
    data, position = bytes(batch._buffer), batch._pos
    base, first, stamp = batch.base_offset, batch.first_timestamp, batch.max_timestamp
    append_time = batch.timestamp_type == LOG_APPEND_TIME
    records = []
    try:
        for _ in range(batch.records_count):
            length, position = _varint(data, position)
            end = position + length
            delta, position = _varint(data, position + 1)  # past the record's attributes, which are unused
            offset, position = _varint(data, position)
            size, position = _varint(data, position)
            key = None if size < 0 else data[position : position + size]
            position += max(size, 0)
            size, position = _varint(data, position)
            value = None if size < 0 else data[position : position + size]
            if position + max(size, 0) > end:
                raise CorruptRecordError(f"expected a value within its record, at offset {base + offset}")
            position = end  # past the headers: nothing of the lane reads them
            if base + offset >= from_offset:
                records.append(Record(base + offset, stamp if append_time else first + delta, key, value))
    except IndexError:
        raise CorruptRecordError(f"expected {batch.records_count} records at offset {base}, the batch ends") from None
    return Chunk(records, batch.last_offset, batch.timestamp_type)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    byte = data[position]
    position += 1
    if byte < 128:
        return (byte >> 1) ^ -(byte & 1), position
    value, shift = byte & 127, 7
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (value >> 1) ^ -(value & 1), position
        shift += 7


class ChunkedPartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The fetcher's reader of one partition's response, giving Chunks instead of records."""

    def _unpack_records(self, tp: Any, records: Any, *_deserializers: Any) -> Iterator[Chunk]:
        while (batch := records.next_batch()) is not None:
            if not batch.validate_crc():
                raise CorruptRecordError(
                    f"expected a sound batch of {tp} at offset {batch.base_offset}, its CRC is wrong"
                )
            self.leader_epoch = batch.leader_epoch
            self.next_fetch_offset = batch.next_offset
            if self._holds_records(batch):
                chunk = decode_batch(batch, self.fetch_offset)
                self.records_read += len(chunk.records)
                self.bytes_read += batch.size_in_bytes
                yield chunk
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
    """Let `consumer.poll` return lists of Chunk; `max_poll_records` then counts chunks."""
    consumer._fetcher.PartitionRecords = ChunkedPartitionRecords
