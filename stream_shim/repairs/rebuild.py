"""Fills a day of `realtime` again from the buffer: the same records, the same identities.

For a day whose rows were damaged or deleted: whoever reads it sees the old rows or the new ones, and never a hole. It
is the one part of the lane that deletes rows, so it runs as the role that owns the tables.
"""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from time import monotonic
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import LogTruncationError
from psycopg import Connection

from realtime import partitions, positions, rows
from realtime.partitions import TopicDay
from realtime.positions import Reach
from realtime.quarantine import REFUSED, Reject, keep_rejects, known_rejects
from realtime.repairs import Span, delete_of_day, hold_trims_off, take_turn
from realtime.rows import day_of
from realtime.trim import has_left
from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.topics import topic_ids
from stream_shim.processor.consumer import POLL_WEIGHT
from stream_shim.processor.mapping import Mapper, build_mapper
from stream_shim.processor.records import Chunk, Record, use_chunks
from tidemark import connections
from tidemark.categories import CATEGORIES
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.kafka import ANSWER_MS, kafka_client
from tidemark.settings import Settings

REPAIRER = "promoter"  # the role of both servers that reads a log again
Report = dict[str, Any]
SILENCE_SECONDS = 30


def rebuild_day(settings: Settings, topic: str, day: date) -> list[Report]:
    """Per partition of the topic's current epoch: rows that stood there, and rows that stand there now."""
    if topic not in CATEGORIES:
        raise ConfigurationError(f"expected a topic of {', '.join(CATEGORIES)}, received {topic!r}")
    if day > (today := datetime.now(UTC).date()):
        raise ConfigurationError(f"expected a day up to today, {today} (UTC), received {day}: it has no records yet")
    mapper = build_mapper(topic, read_topics(settings.topics_file)[topic].mapping)
    with connections.connect(settings, "realtime", "promoter") as connection:
        hold_trims_off(connection, topic)  # first of all: what is found out below stays so until the rows are there
        take_turn(connection, topic)
        if has_left(connection, topic, day):
            raise TidemarkError(
                f"{topic}, {day}: expected a day of realtime, its rows are in the warehouse: it was promoted"
            )
        stored = positions.reaches(connection, topic, _current_epoch(connection, settings, topic))
        partitions.ensure(connection, [(topic, day)])
        reports = [_rebuild_partition(connection, settings, mapper, (topic, day), reach) for reach in stored]
        if not any(report["rows_before"] or report["rows_now"] for report in reports):
            connection.rollback()  # a day that nobody sent anything on keeps no partition
        return reports


def _current_epoch(connection: Connection[Any], settings: Settings, topic: str) -> int:
    epoch = positions.newest_epoch(connection, topic)
    if epoch is None or topic_ids(settings, [topic], REPAIRER).get(topic) != epoch.topic_id:
        raise TidemarkError(f"{topic}: expected the log that was read into realtime, it was made again or never read")
    return epoch.log_epoch


def _rebuild_partition(
    connection: Connection[Any], settings: Settings, mapper: Mapper, topic_day: TopicDay, reach: Reach
) -> Report:
    """Delete the day's rows that the log still holds, and write them again from it."""
    topic, day = topic_day
    end = reach.position.next_offset
    with closing(KafkaLog(settings, topic, reach.partition)) as log:
        if log.end < end:
            raise TidemarkError(f"{topic}, partition {reach.partition}: expected {end} offsets, the log was cut short")
        span = Span(reach.position.log_epoch, reach.partition, max(reach.first_offset, log.start), end)
        before = delete_of_day(connection, topic, day, span)
        now = 0
        with connection.cursor() as cursor:
            for records in log.read(span.low, span.high):
                now += _copy(cursor, topic, mapper, [r for r in records if day_of(r.timestamp) == day], span)
    return {"topic": topic, "partition": reach.partition, "rows_before": before, "rows_now": now}


def _copy(cursor: Any, topic: str, mapper: Mapper, records: list[Record], span: Span) -> int:
    """Rows of the records; those that are no rows are in quarantine already, or go there now."""
    held = known_rejects(cursor, topic, span.log_epoch, span.partition, [record.offset for record in records])
    mapped = mapper([r for r in records if r.offset not in held], span.log_epoch, span.partition)
    refused = rows.copy_by_halves(cursor, topic, mapped.rows)
    rejects = mapped.rejects + [Reject(mapped.records[at], REFUSED, detail) for at, detail in refused.items()]
    rows.note_feeds(cursor, rows.feeds_of(topic, mapped.rows))
    keep_rejects(cursor, topic, span.log_epoch, span.partition, rejects)
    return len(mapped.rows) - len(refused)


class KafkaLog:
    """One partition's log, read by offsets, outside of any group."""

    def __init__(self, settings: Settings, topic: str, partition: int) -> None:
        self._partition = TopicPartition(topic, partition)
        self._consumer = KafkaConsumer(
            **kafka_client(settings, REPAIRER), auto_offset_reset="none", enable_auto_commit=False,
            isolation_level="read_committed", max_poll_records=POLL_WEIGHT,
        )  # fmt: skip
        use_chunks(self._consumer)
        self._consumer.assign([self._partition])
        # By another consumer: for this one a log ends where a transaction is open, and the rest would count as lost.
        with closing(KafkaConsumer(**kafka_client(settings, REPAIRER), enable_auto_commit=False)) as asking:
            self.start: int = asking.beginning_offsets([self._partition], timeout_ms=ANSWER_MS)[self._partition]
            self.end: int = asking.end_offsets([self._partition], timeout_ms=ANSWER_MS)[self._partition]

    def chunk_at(self, offset: int) -> Chunk | None:
        """The batch that holds a record at `offset`, from that record on; None where there is none."""
        found = next((chunk for chunk in self.chunks(offset, offset + 1) if chunk.records), None)
        return found if found is not None and found.records[0].offset == offset else None

    def was_cut_below(self, offset: int, leader_epoch: int) -> bool:
        """Whether the broker says that its log, as it was in this leader epoch, does not reach to `offset`."""
        state = self._consumer._subscription.assignment[self._partition]
        self._consumer.seek(self._partition, offset)
        state.seek(OffsetAndMetadata(offset, "", leader_epoch))
        try:
            self._consumer.poll(timeout_ms=500)
            while state.awaiting_validation:
                self._consumer.poll(timeout_ms=500)
        except LogTruncationError:
            return True
        return False

    def read(self, low: int, high: int) -> Iterator[list[Record]]:
        """The records from offset `low` up to `high`, some at a time."""
        for chunk in self.chunks(low, high):
            yield [record for record in chunk.records if record.offset < high]

    def chunks(self, low: int, high: int) -> Iterator[Chunk]:
        """The batches that hold the records from offset `low` up to `high`, and what else the last one holds."""
        if low >= high:
            return
        self._consumer.seek(self._partition, low)
        heard_at, position = monotonic(), low
        while position < high:
            yield from self._consumer.poll(timeout_ms=500).get(self._partition, ())
            if (now_at := self._consumer.position(self._partition)) > position:
                heard_at, position = monotonic(), now_at
            elif monotonic() - heard_at > SILENCE_SECONDS:
                raise TidemarkError(f"{self._partition.topic}: expected offset {position} of the log, received nothing")

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()
