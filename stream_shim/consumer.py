"""The Kafka consumer of a destination's processors: what is set otherwise than kafka-python does, and why."""

from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from stream_shim.records import use_chunks
from tidemark import connections
from tidemark.settings import Settings

CHUNKS_PER_POLL = 64
FETCH_BYTES = 1024 * 1024


def open_consumer(settings: Settings, destination: str) -> KafkaConsumer:
    """A member of the destination's group, whose `poll` returns Chunks (records.py)."""
    consumer = KafkaConsumer(
        bootstrap_servers=connections.kafka_bootstrap(settings),
        group_id=f"tidemark-{destination}",
        client_id=f"tidemark-processor-{destination}",
        enable_auto_commit=False,
        auto_offset_reset="none",  # `latest` and `earliest` both skip records without a word
        isolation_level="read_committed",
        partition_assignment_strategy=[CooperativeStickyAssignor],
        max_poll_records=CHUNKS_PER_POLL,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=4 * FETCH_BYTES,
        session_timeout_ms=10_000,
        heartbeat_interval_ms=2_000,
        metadata_max_age_ms=5_000,  # so soon are new partitions seen, and topics that were not there yet
    )
    use_chunks(consumer)
    remember_rejoins(consumer)
    return consumer


def remember_rejoins(consumer: KafkaConsumer) -> None:
    """Let the consumer take up the answer of a rejoin that it began because a topic has other partitions than before.

    kafka-python 3.0 forgets that it waits for one once it has made the new assignment: an answer that comes after
    `poll` has returned is never read, and the member, without a heartbeat, is out of the group for good. Java's client
    had the same fault, and this is its remedy (KAFKA-9815).
    """
    coordinator = consumer._coordinator
    need_rejoin = coordinator.need_rejoin

    def need_rejoin_until_done() -> bool:
        if needed := need_rejoin():
            coordinator.request_rejoin()  # stays until the rejoin is complete
        return bool(needed)

    coordinator.need_rejoin = need_rejoin_until_done


def topic_id(consumer: KafkaConsumer, topic: str) -> str | None:
    """Kafka's own id of the topic, as of the consumer's last metadata; None before it has any."""
    found = consumer._cluster.topic_id(topic)
    return None if found is None else str(found)
