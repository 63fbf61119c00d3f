"""What `tidemark stream epoch` does: looks at the log and at what was stored, and opens the next epoch if asked to."""

from psycopg import Connection, sql

from stream_shim.buffer.topics import partitions_of, topic_ids
from stream_shim.processor.epochs import LogState, Step, open_next_epoch, plan_next_epoch
from stream_shim.repairs.rebuild import REPAIRER, KafkaLog
from tidemark import connections
from tidemark.categories import CATEGORIES
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.settings import Settings


def next_epoch(settings: Settings, topic: str, opening: bool) -> tuple[int | None, list[Step]]:
    """(the new epoch's number, or None where it was not asked for; what it means for each partition)."""
    if topic not in CATEGORIES:
        raise ConfigurationError(f"expected a topic of {', '.join(CATEGORIES)}, received {topic!r}")
    topic_id = topic_ids(settings, [topic], REPAIRER)[topic]
    logs = {partition: KafkaLog(settings, topic, partition) for partition in partitions_of(settings, topic, REPAIRER)}
    states = {partition: LogState(topic_id, log.start, log.end) for partition, log in logs.items()}
    try:
        with connections.connect(settings, "realtime", "promoter") as connection:

            def is_stored(partition: int, offset: int) -> bool:
                record = next((r for records in logs[partition].read(offset, offset + 1) for r in records), None)
                return record is None or _is_stored(connection, topic, partition, offset, record.timestamp)

            steps = plan_next_epoch(connection, topic, states, is_stored)
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


def _is_stored(connection: Connection, topic: str, partition: int, offset: int, timestamp_ms: int) -> bool:
    """Whether what is stored under the offset is the record with this time. What was promoted counts as stored."""
    statement = sql.SQL(
        "select received_at from realtime.{} where kafka_partition = %(partition)s and kafka_offset = %(offset)s "
        "and log_epoch = (select max(log_epoch) from realtime.log_epoch where topic = %(topic)s) "
        "union all select received_at from realtime.quarantine where topic = %(topic)s "
        "and kafka_partition = %(partition)s and kafka_offset = %(offset)s "
        "and log_epoch = (select max(log_epoch) from realtime.log_epoch where topic = %(topic)s)"
    ).format(sql.Identifier(topic))
    found = connection.execute(statement, {"topic": topic, "partition": partition, "offset": offset}).fetchone()
    return found is None or round(found[0].timestamp() * 1000) == timestamp_ms
