"""The buffer: makes the topics that topics.yml describes, and tells them apart by Kafka's own id."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stream_shim.buffer.entries import TopicEntry
from tidemark.access.kafka_rights import GROUP_PREFIX
from tidemark.errors import ConfigurationError, StackError
from tidemark.home_kind import home_kind
from tidemark.kafka import UNKNOWN_TOPIC, admin, lacking_on_topics, refused
from tidemark.settings import Settings

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

MANAGER = "stream_manager"  # the role that makes the topics; connectors and processors find them there
DAY_MS = 86_400_000
# A foreign producer's record may be larger than a row may be: it is taken, and quarantined with its payload.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024


def topic_configuration(settings: Settings, entry: TopicEntry) -> dict[str, str]:
    """Whose clock stamps arrival, and how long records stay: a live topic's broker, a replay's event and for ever."""
    live = home_kind(settings) == "live"
    retention_ms = (settings.keep_days + 1 + entry.grace_days) * DAY_MS if live else -1
    return {
        "message.timestamp.type": "LogAppendTime" if live else "CreateTime",
        "retention.ms": str(retention_ms),
        "cleanup.policy": "delete",
        # As it came: for another codec the broker inflates a batch in its heap, and 120 MB of zeros end it.
        "compression.type": "producer",
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }


def ensure_topics(settings: Settings, entries: dict[str, TopicEntry]) -> list[str]:
    """Create the topics that are missing, and return their names; bring the others' settings to what the file says.

    Doing it twice, or twice at once, changes nothing. ConfigurationError where a topic has more partitions than wanted.
    """
    from kafka.errors import TopicAuthorizationFailedError

    client = admin(settings, MANAGER)
    try:
        described = client.describe_topics(list(entries))
        if lacking := lacking_on_topics(MANAGER, described):
            raise refused(settings, MANAGER, lacking)
        missing = [topic["name"] for topic in described if topic["error_code"] == UNKNOWN_TOPIC]
        for topic in missing:
            try:
                _create(client, topic, entries[topic], topic_configuration(settings, entries[topic]))
            except TopicAuthorizationFailedError:
                raise refused(settings, MANAGER, [f"CREATE on the topic {topic}"]) from None
        for topic in set(entries) - set(missing):
            _adjust(client, topic, entries[topic], topic_configuration(settings, entries[topic]))
        return missing
    finally:
        client.close()


def _create(client: "KafkaAdminClient", topic: str, entry: TopicEntry, configuration: dict[str, str]) -> None:
    from kafka.errors import TopicAlreadyExistsError

    new = {
        "num_partitions": entry.partitions,
        "replication_factor": entry.replication,
        "configs": configuration,
    }
    try:
        client.create_topics({topic: new}, wait_for_metadata=True)
    except TopicAlreadyExistsError:
        return  # another process was first


def _adjust(client: "KafkaAdminClient", topic: str, entry: TopicEntry, configuration: dict[str, str]) -> None:
    from kafka.admin import ConfigResource

    (found,) = client.describe_topics([topic])
    partitions = len(found["partitions"])
    if partitions > entry.partitions:
        raise ConfigurationError(
            f"{topic}: expected {entry.partitions} partitions as topics.yml says, received {partitions}: "
            "partitions may grow, never shrink"
        )
    if partitions < entry.partitions:
        client.create_partitions({topic: entry.partitions})
    resource = ConfigResource("topic", topic)
    now = client.describe_configs([resource])["topic"][topic]
    changed = {key: value for key, value in configuration.items() if now.get(key, {}).get("value", value) != value}
    if changed:
        client.alter_configs([ConfigResource("topic", topic, changed)])


def _described(settings: Settings, topics: Sequence[str], role: str) -> list[dict[str, Any]]:
    """Topics as one role sees them; StackError where it may not do on one what it needs to.

    Without a right Kafka's client shows a topic without partitions, or gives no record of it, and raises nothing.
    """
    client = admin(settings, role)
    try:
        described: list[dict[str, Any]] = client.describe_topics(list(topics))
    finally:
        client.close()
    if lacking := lacking_on_topics(role, described):
        raise refused(settings, role, lacking)
    return described


def require_topics(settings: Settings, topics: Sequence[str], role: str) -> None:
    """StackError where a topic is missing, or where the role may not do on one what it needs to."""
    described = _described(settings, topics, role)
    if missing := sorted(topic["name"] for topic in described if topic["error_code"] == UNKNOWN_TOPIC):
        raise StackError(
            f"expected the topics {', '.join(missing)} in Kafka, found none: `tidemark stream run` makes them"
        )


def topic_ids(settings: Settings, topics: Sequence[str], role: str) -> dict[str, str]:
    """Kafka's own id of each topic, as one role sees it: it changes when a topic is made again."""
    return {found["name"]: str(found["topic_id"]) for found in _described(settings, topics, role)}


def partitions_of(settings: Settings, topic: str, role: str) -> list[int]:
    """The numbers of a topic's partitions."""
    (found,) = _described(settings, [topic], role)
    return sorted(partition["partition_index"] for partition in found["partitions"])


def forget_group(settings: Settings, destination: str) -> None:
    """Delete the consumer group of a destination with its offsets. StackError where it is still running, or unknown."""
    group, client = f"{GROUP_PREFIX}{destination}", admin(settings, MANAGER)
    try:
        found = client.delete_groups([group])[group]
    finally:
        client.close()
    if found != "OK":
        raise StackError(
            f"{destination}: expected a destination that once ran and that nobody runs now, received {found}"
        )
