"""Whether a day is over for good: its time is up, and the consumer has passed all that its topic held."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_chain, wait_fixed

from flows.errors import NotClosed
from realtime import positions
from tidemark.connections import connect
from tidemark.home_kind import home_kind
from tidemark.kafka import ANSWER_MS, kafka_client, lacking_on_topics, reachable_kafka, refused
from tidemark.kafka import admin as kafka_admin
from tidemark.output import utc
from tidemark.settings import Settings

# A live topic never stands still: its end is read once, and the consumer gets this long to pass it.
PASSING_SECONDS = (0.1, 0.2, 0.5, 1, 2)
CLOSER = "promoter"  # the role, of both servers


@dataclass(frozen=True)
class LogEnd:
    """What Kafka held of one topic at one moment: its id, and each partition's end offset (exclusive)."""

    topic_id: str
    offsets: Mapping[int, int]


def log_ends(settings: Settings, topics: list[str]) -> dict[str, LogEnd]:
    """The log's end of each topic that Kafka has; StackError where no broker answers.

    These are high watermarks, beyond any open transaction: a consumer that has passed them has seen it all.
    """
    from kafka import KafkaConsumer, TopicPartition

    with reachable_kafka(settings, CLOSER), closing(kafka_admin(settings, CLOSER)) as admin:
        described = admin.describe_topics(topics)
        if lacking := lacking_on_topics(CLOSER, described):
            raise refused(settings, CLOSER, lacking)
        with closing(KafkaConsumer(**kafka_client(settings, CLOSER), enable_auto_commit=False)) as consumer:
            there = [topic for topic in described if not topic["error_code"]]
            return {topic["name"]: _log_end(consumer, topic, TopicPartition) for topic in there}


def _log_end(consumer: Any, topic: dict[str, Any], topic_partition: Any) -> LogEnd:
    partitions = [topic_partition(topic["name"], p["partition_index"]) for p in topic["partitions"]]
    ends = consumer.end_offsets(partitions, timeout_ms=ANSWER_MS)
    return LogEnd(str(topic["topic_id"]), {partition.partition: end for partition, end in ends.items()})


def check_day_over(settings: Settings, day: date, now: datetime) -> None:
    """NotClosed unless `now`, the moment at which ends are read, is far enough behind the day's end.

    In a replay the day ended when its session did: the log's end is the day's, whatever the clock.
    """
    over = datetime.combine(day, time(), UTC) + timedelta(days=1, minutes=settings.close_grace_minutes)
    if home_kind(settings) == "live" and now < over:
        raise NotClosed(f"{day} is not over: expected a time after {utc(over)}, it is {utc(now)}")


def await_consumer(settings: Settings, topic: str, end: LogEnd | None) -> None:
    """Return once the consumer has passed `end`; NotClosed, saying where it is, when it does not.

    `end` is None where Kafka has no such topic: well where nothing was ever consumed from it.
    """
    for attempt in Retrying(
        retry=retry_if_exception_type(NotClosed),
        wait=wait_chain(*map(wait_fixed, PASSING_SECONDS)),
        stop=stop_after_attempt(len(PASSING_SECONDS) + 1),
        reraise=True,
    ):
        with attempt:
            _check_passed(settings, topic, end)


def _check_passed(settings: Settings, topic: str, end: LogEnd | None) -> None:
    with connect(settings, "realtime", "promoter") as connection:
        epoch = positions.newest_epoch(connection, topic)
        reaches = [] if epoch is None else positions.reaches(connection, topic, epoch.log_epoch)
    if end is None and epoch is not None:
        raise NotClosed(f"expected the topic {topic} in Kafka, found none: run `tidemark up`")
    if end is None:
        return
    if epoch is not None and epoch.topic_id != end.topic_id:
        raise NotClosed(
            f"{topic}: Kafka's topic was made again since epoch {epoch.log_epoch}; open its next epoch first"
        )
    read = {reach.partition: reach.position.next_offset for reach in reaches}
    for partition, offset in end.offsets.items():
        position = read.get(partition, 0)
        if position < offset:
            raise NotClosed(
                f"{topic} partition {partition}: expected a consumer past offset {offset}, it is at "
                f"{position}: is `tidemark stream run` running?"
            )
