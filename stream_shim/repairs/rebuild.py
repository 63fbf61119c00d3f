"""Fills a day of `realtime` again from the buffer: the same records, the same identities.

For a day whose rows were damaged or deleted: whoever reads it sees the old rows or the new ones, and never a hole. It
is the one part of the lane that deletes rows, so it runs as the role that owns the tables.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Any, NamedTuple

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import LogTruncationError
from psycopg import Connection, sql

from stream_shim.buffer.topics import topic_ids
from stream_shim.config import read_topics
from stream_shim.destinations.postgres import Table, copy_by_halves, feeds_of, note_feeds, quarantine
from stream_shim.processor.consumer import KAFKA_MS, POLL_WEIGHT
from stream_shim.processor.records import Chunk, Record, use_chunks
from tidemark import connections, turns
from tidemark.categories import CATEGORIES
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.kafka import kafka_client
from tidemark.settings import Settings

REPAIRER = "promoter"  # the role of both servers that reads a log again
Report = dict[str, Any]
SILENCE_SECONDS = 30
WAIT_SECONDS = 60.0  # for another rebuild, or a retry of quarantine


class Piece(NamedTuple):
    """A partition's offsets from `low` up to `high` that were read and are still in the log."""

    log_epoch: int
    partition: int
    low: int
    high: int


def rebuild_day(settings: Settings, topic: str, day: date) -> list[Report]:
    """Per partition of the topic's current epoch: rows that stood there, and rows that stand there now."""
    if topic not in CATEGORIES:
        raise ConfigurationError(f"expected a topic of {', '.join(CATEGORIES)}, received {topic!r}")
    if day > (today := datetime.now(UTC).date()):
        raise ConfigurationError(f"expected a day up to today, {today} (UTC), received {day}: it has no records yet")
    table = Table(topic, read_topics(settings.topics_file)[topic])
    with connections.connect(settings, "realtime", "promoter") as connection:
        # First of all a lock that a trim waits for: what is found out below stays so until the rows are there.
        connection.execute(sql.SQL("lock table realtime.{} in row exclusive mode").format(sql.Identifier(topic)))
        turns.take(connection, turn_name(topic), WAIT_SECONDS)
        _refuse_a_promoted_day(connection, topic, day)
        log_epoch = _current_epoch(connection, settings, topic)
        stored = connection.execute(
            "select kafka_partition, first_offset, next_offset from realtime.consumer_offset "
            "where topic = %s and log_epoch = %s order by kafka_partition",
            (topic, log_epoch),
        ).fetchall()
        connection.execute("select realtime.ensure_partition(%s, %s)", (topic, day))
        reports = []
        for partition, first, end in stored:
            log = KafkaLog(settings, topic, partition)
            try:
                if log.end < end:
                    raise TidemarkError(
                        f"{topic}, partition {partition}: expected {end} offsets, the log was cut short"
                    )
                piece = Piece(log_epoch, partition, max(first, log.start), end)
                reports.append(_rebuild_piece(connection, table, day, piece, log))
            finally:
                log.close()
        if not any(report["rows_before"] or report["rows_now"] for report in reports):
            connection.rollback()  # a day that nobody sent anything on keeps no partition
        return reports


def turn_name(topic: str) -> str:
    """What two rebuilds, or a rebuild and a retry of quarantine, take in turn. A processor only adds later rows."""
    return f"rebuild {topic}"


def _refuse_a_promoted_day(connection: Connection[Any], topic: str, day: date) -> None:
    promoted = connection.execute(
        "select promotion_id from realtime.trimmed where topic = %s and day = %s", (topic, day)
    ).fetchone()
    if promoted is not None:
        raise TidemarkError(
            f"{topic}, {day}: expected a day of realtime, its rows are in the warehouse: it was promoted"
        )


def _current_epoch(connection: Connection[Any], settings: Settings, topic: str) -> int:
    found = connection.execute(
        "select log_epoch, topic_id from realtime.log_epoch where topic = %s order by log_epoch desc limit 1", (topic,)
    ).fetchone()
    if found is None or topic_ids(settings, [topic], REPAIRER).get(topic) != found[1]:
        raise TidemarkError(f"{topic}: expected the log that was read into realtime, it was made again or never read")
    return int(found[0])


def _rebuild_piece(connection: Connection[Any], table: Table, day: date, piece: Piece, log: "KafkaLog") -> Report:
    begins = datetime.combine(day, time(), UTC)
    ends = begins + timedelta(days=1)
    before = connection.execute(
        sql.SQL(
            "delete from realtime.{} where log_epoch = %s and kafka_partition = %s and kafka_offset >= %s "
            "and kafka_offset < %s and received_at >= %s and received_at < %s"
        ).format(sql.Identifier(table.topic)),
        (*piece, begins, ends),
    ).rowcount
    rows = 0
    with connection.cursor() as cursor:
        for records in log.read(piece.low, piece.high):
            rows += _copy(cursor, table, [r for r in records if begins <= _time(r) < ends], piece)
    return {"topic": table.topic, "partition": piece.partition, "rows_before": before, "rows_now": rows}


def _copy(cursor: Any, table: Table, records: list[Record], piece: Piece) -> int:
    """Rows of the records; those that are no rows are in quarantine already, or go there now."""
    known = cursor.execute(
        "select kafka_offset from realtime.quarantine "
        "where topic = %s and log_epoch = %s and kafka_partition = %s and kafka_offset = any(%s)",
        (table.topic, piece.log_epoch, piece.partition, [record.offset for record in records]),
    ).fetchall()
    held = {offset for (offset,) in known}
    mapped = table.map_records([r for r in records if r.offset not in held], piece.log_epoch, piece.partition)
    rejects = mapped.rejects + copy_by_halves(cursor, table, mapped)
    note_feeds(cursor, feeds_of(table.topic, mapped.rows))
    quarantine(cursor, table.topic, piece.log_epoch, piece.partition, rejects)
    return len(mapped.rows) + len(mapped.rejects) - len(rejects)


def _time(record: Record) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


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
        self.start: int = self._consumer.beginning_offsets([self._partition], timeout_ms=KAFKA_MS)[self._partition]
        self.end: int = self._consumer.end_offsets([self._partition], timeout_ms=KAFKA_MS)[self._partition]

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
