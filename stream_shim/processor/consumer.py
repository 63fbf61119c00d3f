"""The Kafka consumer of a destination's processors: what is set otherwise than kafka-python does, and why."""

from kafka import KafkaConsumer
from kafka.coordinator.base import MemberState

from stream_shim.buffer.topics import topic_ids
from stream_shim.processor.assignor import EachTopicShared
from stream_shim.processor.records import CREATE_TIME, LOG_APPEND_TIME, Chunk, use_chunks
from tidemark.access.kafka_rights import GROUP_PREFIX
from tidemark.errors import StackError
from tidemark.home_kind import HomeKind
from tidemark.kafka import kafka_client
from tidemark.settings import Settings

PROCESSOR = "stream_writer"  # the role of every processor
# Of the records that one poll gives, about; their rows take some times that, and four polls are on their way at most.
POLL_WEIGHT = 6 * 1024 * 1024
# A member that lives and joins no rebalance keeps all the others out of it for so long, by default five minutes.
MOST_BETWEEN_POLLS_MS = 30_000
FETCH_BYTES = 1024 * 1024


def open_consumer(settings: Settings, destination: str) -> KafkaConsumer:
    """A member of the destination's group, whose `poll` returns Chunks (records.py)."""
    consumer = KafkaConsumer(
        **kafka_client(settings, PROCESSOR),
        group_id=f"{GROUP_PREFIX}{destination}",
        client_id=f"tidemark-processor-{destination}",
        enable_auto_commit=False,
        auto_offset_reset="none",  # `latest` and `earliest` both skip records without a word
        isolation_level="read_committed",
        partition_assignment_strategy=[EachTopicShared],
        max_poll_records=POLL_WEIGHT,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=4 * FETCH_BYTES,
        session_timeout_ms=10_000,
        max_poll_interval_ms=MOST_BETWEEN_POLLS_MS,
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


def is_member(consumer: KafkaConsumer) -> bool:
    """Whether the group has let us in, and no rebalance is under way."""
    coordinator = consumer._coordinator
    return coordinator.state is MemberState.STABLE and not coordinator.rejoin_needed


def made_again(settings: Settings, consumer: KafkaConsumer, read: dict[str, str], ask: bool) -> set[str]:
    """Of the topics that are read, by Kafka's own id: those of another id now.

    By the consumer's last metadata, which may be older than what was fetched, or where `ask` says so by Kafka itself.
    """
    known: dict[str, str | None]
    if ask:
        known = {**topic_ids(settings, sorted(read), PROCESSOR)}
    else:
        known = {topic: None if (there := consumer._cluster.topic_id(topic)) is None else str(there) for topic in read}
    return {topic for topic, there in known.items() if there not in (None, read[topic])}


def check_clock(kind: HomeKind, topic: str, chunk: Chunk) -> None:
    """StackError where the records' clock is not that of the state folder: a replay's are stamped by their source."""
    expected = CREATE_TIME if kind == "replay" else LOG_APPEND_TIME
    if chunk.timestamp_type != expected:
        names = {CREATE_TIME: "CreateTime", LOG_APPEND_TIME: "LogAppendTime"}
        raise StackError(
            f"{topic}: expected records stamped {names[expected]}, as the state folder is marked {kind}, "
            f"received {names[chunk.timestamp_type]}: a replay and live topics never share a state folder"
        )
