"""What each part may do in Kafka: the one table of it. `tidemark up` brings the local broker to it.

Only the four topics and the consumer groups of Tidemark are named. In Kafka READ, WRITE and ALTER imply DESCRIBE, and
ALTER_CONFIGS implies DESCRIBE_CONFIGS; an idempotent producer needs no more than WRITE.
"""

from dataclasses import dataclass

SHOWING = ("READ", "WRITE", "ALTER", "DESCRIBE")  # who has none of these does not see that a topic is there
GROUP_PREFIX = "tidemark-"  # of every consumer group: a destination's name follows


@dataclass(frozen=True)
class Rights:
    """Operations, by Kafka's names, on every topic of a category and on every consumer group of Tidemark."""

    topics: tuple[str, ...]
    groups: tuple[str, ...] = ()


RIGHTS: dict[str, Rights] = {
    "connector": Rights(topics=("WRITE",)),
    # The processor of a destination.
    "stream_writer": Rights(topics=("READ",), groups=("READ",)),
    # `stream run` makes the topics and brings their settings to topics.yml; `stream forget` deletes a group's offsets.
    "stream_manager": Rights(topics=("CREATE", "ALTER", "ALTER_CONFIGS"), groups=("DELETE",)),
    # Closing a day asks for the log's end, `stream rebuild` and `stream epoch` read it again.
    "promoter": Rights(topics=("READ",)),
    # `catalog publish` shows the topics; `doctor` compares the logs' ends with what the groups have committed.
    "catalog_reader": Rights(topics=("DESCRIBE", "DESCRIBE_CONFIGS"), groups=("DESCRIBE",)),
}
