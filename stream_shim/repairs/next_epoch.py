"""What `tidemark stream epoch` does: looks at the log and at what was stored, and opens the next epoch if asked to."""

from typing import Any

from psycopg import Connection

from realtime import quarantined, repairs
from realtime.epochs import Step, open_next_epoch, plan_next_epoch, require_a_reason
from realtime.positions import LogState, Position
from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.topics import partitions_of, topic_ids
from stream_shim.processor.mapping import Mapper, build_mapper
from stream_shim.processor.records import Record, is_marked
from stream_shim.repairs.rebuild import REPAIRER, KafkaLog
from tidemark import connections
from tidemark.categories import CATEGORIES
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings


def next_epoch(settings: Settings, topic: str, opening: bool) -> tuple[int | None, list[Step]]:
    """(the new epoch's number, or None where it was not asked for; what it means for each partition)."""
    if topic not in CATEGORIES:
        raise ConfigurationError(f"expected a topic of {', '.join(CATEGORIES)}, received {topic!r}")
    topic_id = topic_ids(settings, [topic], REPAIRER)[topic]
    logs = {partition: KafkaLog(settings, topic, partition) for partition in partitions_of(settings, topic, REPAIRER)}
    states = {partition: LogState(topic_id, log.start, log.end) for partition, log in logs.items()}
    mapper = build_mapper(topic, read_topics(settings.topics_file)[topic].mapping)
    try:
        with connections.connect(settings, "realtime", "promoter") as connection:
            steps = plan_next_epoch(connection, topic, states, Tail(connection, topic, mapper, logs))
            if opening:
                require_a_reason(connection, topic, topic_id, steps)
            return (open_next_epoch(connection, topic, topic_id, steps) if opening else None), steps
    finally:
        for log in logs.values():
            log.close()


class Tail:
    """Compares the records of a topic's partitions with what was stored of them."""

    def __init__(self, connection: Connection[Any], topic: str, mapper: Mapper, logs: dict[int, KafkaLog]) -> None:
        self._connection, self._topic, self._mapper, self._logs = connection, topic, mapper, logs

    def is_as_read(self, partition: int, position: Position) -> bool:
        """Whether the record that was taken last still stands under its offset, by its mark."""
        log, mark = self._logs[partition], position.mark
        if mark is None:
            return True
        chunk = log.chunk_at(mark.offset) if log.start <= mark.offset < log.end else None
        marked = None if chunk is None else is_marked(chunk, mark)
        return not log.was_cut_below(position.next_offset, mark.leader_epoch) if marked is None else marked

    def is_stored(self, partition: int, offset: int, position: Position) -> bool:
        """Whether the record at an offset is the one that was stored under it. What was promoted counts as stored."""
        chunk = self._logs[partition].chunk_at(offset)
        if chunk is None:
            return True
        if position.mark is not None and chunk.leader_epoch > position.mark.leader_epoch:
            return False  # written by a later leader than all that was read
        record = chunk.records[0]
        where = (position.log_epoch, partition, offset)
        return self._agrees_with_its_row(record, where) and self._agrees_with_quarantine(record, where)

    def _agrees_with_its_row(self, record: Record, where: tuple[int, int, int]) -> bool:
        """False where a row stands there that is not this record's."""
        if not repairs.is_there(self._connection, self._topic, *where):
            return True
        mapped = self._mapper([record], where[0], where[1]).rows
        return bool(mapped) and repairs.is_same(self._connection, self._topic, mapped[0])

    def _agrees_with_quarantine(self, record: Record, where: tuple[int, int, int]) -> bool:
        """False where another record stands in quarantine there."""
        found = quarantined.at(self._connection, self._topic, *where)
        if found is None:
            return True
        return found.payload == record.value and found.timestamp == record.timestamp
