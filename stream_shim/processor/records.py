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
    """The records of one batch of one partition, in order; `offset` is the last one's.

    `leader_epoch` and `crc` are the batch's own: no other batch of a log has both.
    """

    records: list[Record]
    offset: int
    timestamp_type: int
    leader_epoch: int = -1
    crc: int = 0

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


def decode_batch(batch: Any, from_offset: int) -> Chunk:  # noqa: PLR0912 - its branches stand where calls would be slow
    """Decode a batch of message format v2 (kafka.record.default_records), from `from_offset` on.

    Varints are read in place, since a call for each is what makes kafka-python slow: a lone byte below 128 is one,
    and nearly all others have two. Raises CorruptRecordError where the bytes are not what the header promised.
    """
    batch._maybe_uncompress()
    data, at = bytes(batch._buffer), batch._pos
    base, first, stamp = batch.base_offset, batch.first_timestamp, batch.max_timestamp
    append_time = batch.timestamp_type == LOG_APPEND_TIME
    records: list[Record] = []
    keep = records.append
    try:
        for _ in range(batch.records_count):
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
            if at > end or end > len(data):
                raise CorruptRecordError(f"expected a record within its length, at offset {offset}")
            at = end  # past the headers: nothing of the lane reads them
            if offset >= from_offset:
                time = stamp if append_time else first + ((delta >> 1) ^ -(delta & 1))
                keep(_record(Record, (offset, time, key, value)))
    except IndexError:
        raise CorruptRecordError(f"expected {batch.records_count} records at offset {base}, the batch ends") from None
    return Chunk(records, batch.last_offset, batch.timestamp_type, batch.leader_epoch, batch.crc)


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


class ChunkedPartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The fetcher's reader of one partition's response, giving Chunks instead of records."""

    def _unpack_records(self, tp: Any, records: Any, *_deserializers: Any) -> Iterator[Chunk]:
        while (batch := records.next_batch()) is not None:
            if not batch.validate_crc():
                raise CorruptRecordError(
                    f"expected a sound batch of {tp} at offset {batch.base_offset}, its CRC is wrong"
                )
            chunk = decode_batch(batch, self.fetch_offset) if self._holds_records(batch) else None
            # Not before it is decoded: a batch that raises here must not count as read.
            self.leader_epoch, self.next_fetch_offset = batch.leader_epoch, batch.next_offset
            if chunk is not None:
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
