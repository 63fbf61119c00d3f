"""What `tidemark stream epoch` does: looks at the log and at what was stored, and opens the next epoch if asked to."""

from typing import Any

from psycopg import Connection, sql

from stream_shim.buffer.topics import partitions_of, topic_ids
from stream_shim.config import read_topics
from stream_shim.destinations.postgres import Table
from stream_shim.processor.epochs import LogState, Position, Step, is_marked, open_next_epoch, plan_next_epoch
from stream_shim.processor.records import Record
from stream_shim.repairs.rebuild import REPAIRER, KafkaLog
from tidemark import connections
from tidemark.categories import CATEGORIES, table_columns
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.settings import Settings


def next_epoch(settings: Settings, topic: str, opening: bool) -> tuple[int | None, list[Step]]:
    """(the new epoch's number, or None where it was not asked for; what it means for each partition)."""
    if topic not in CATEGORIES:
        raise ConfigurationError(f"expected a topic of {', '.join(CATEGORIES)}, received {topic!r}")
    topic_id = topic_ids(settings, [topic], REPAIRER)[topic]
    logs = {partition: KafkaLog(settings, topic, partition) for partition in partitions_of(settings, topic, REPAIRER)}
    states = {partition: LogState(topic_id, log.start, log.end) for partition, log in logs.items()}
    table = Table(topic, read_topics(settings.topics_file)[topic])
    try:
        with connections.connect(settings, "realtime", "promoter") as connection:
            steps = plan_next_epoch(connection, topic, states, Tail(connection, table, logs))
            if opening:
                _require_a_reason(connection, topic, topic_id, steps)
            return (open_next_epoch(connection, topic, topic_id, steps) if opening else None), steps
    finally:
        for log in logs.values():
            log.close()


def _require_a_reason(connection: Connection, topic: str, topic_id: str, steps: list[Step]) -> None:
    """An epoch that nothing asks for would only be one more: TidemarkError where the log is the one that was read."""
    here = connection.execute(
        "select topic_id, kafka_partition, next_offset from realtime.log_epoch join realtime.consumer_offset "
        "using (topic, log_epoch) where topic = %s and closed_at is null",
        (topic,),
    ).fetchall()
    stored = {partition: next_offset for _, partition, next_offset in here}
    same_topic = all(of_the_epoch == topic_id for of_the_epoch, *_ in here)
    if same_topic and not any(step.lost or step.first_offset != stored.get(step.partition) for step in steps):
        raise TidemarkError(
            f"{topic}: expected a log that cannot be read on, it is the one that was read: run the lane"
        )


class Tail:
    """Compares the records of a topic's partitions with what was stored of them."""

    def __init__(self, connection: Connection[Any], table: Table, logs: dict[int, KafkaLog]) -> None:
        self._connection, self._table, self._logs = connection, table, logs

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
        identity = "log_epoch = %s and kafka_partition = %s and kafka_offset = %s"
        name = sql.Identifier("realtime", self._table.topic)
        if not self._connection.execute(
            sql.SQL("select from {} where " + identity).format(name), where
        ).rowcount:  # fmt: skip
            return True
        rows = self._table.map_records([record], where[0], where[1]).rows
        columns = table_columns(self._table.topic)
        same = sql.SQL(" and ").join(
            sql.SQL("{} = %s::{}").format(sql.Identifier(column), sql.SQL(kind)) for column, kind in columns.items()
        )
        return bool(rows) and bool(
            self._connection.execute(sql.SQL("select from {} where {}").format(name, same), rows[0]).rowcount
        )

    def _agrees_with_quarantine(self, record: Record, where: tuple[int, int, int]) -> bool:
        """False where another record stands in quarantine there."""
        found = self._connection.execute(
            "select payload, received_at from realtime.quarantine "
            "where topic = %s and log_epoch = %s and kafka_partition = %s and kafka_offset = %s",
            (self._table.topic, *where),
        ).fetchone()
        if found is None:
            return True
        payload, received_at = found
        return bool(payload == record.value) and round(received_at.timestamp() * 1000) == record.timestamp
