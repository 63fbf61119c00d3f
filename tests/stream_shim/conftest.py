"""What the lane's tests share: fresh topics, records put there as anyone may, and the lane's own processes."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import psutil
import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import UnknownTopicOrPartitionError

from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.topics import ensure_topics
from tests.conftest import Stack
from tidemark.categories import CATEGORIES
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client
from tidemark.settings import Settings

MOST_SECONDS = 120.0  # a machine that is busy otherwise is no failure, and a limit costs nothing where it is not met


def suspend(process: psutil.Process) -> None:
    """It stands when this returns: what is sent to one that does not yet would end it as if it ran."""
    process.suspend()
    until(lambda: process.status() == psutil.STATUS_STOPPED, "the process to stand")


def until(condition: Callable[[], Any], what: str, seconds: float = MOST_SECONDS) -> Any:
    """Wait until `condition` gives something true, and return it; fail, saying `what` was expected, when time is up.

    It asks less often as it waits: to ask takes time of the processors that what is awaited needs, a login most of all.
    """
    deadline, never, pause = time.monotonic() + seconds, threading.Event(), 0.03
    while not (found := condition()):
        assert time.monotonic() < deadline, f"expected {what} within {seconds} s"
        never.wait(pause)
        pause = min(pause * 1.15, 0.15)
    return found


def tick(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A record of market_tick as a connector sends it."""
    return {
        "source_system": "test", "symbol": "BTC/USDT", "timestamp": "2024-08-08T12:00:00.123456Z",
        "price": 60000.5 + number, "size": 0.25, "attributes": {"id": str(number)}, **changes,
    }  # fmt: skip


@dataclass(frozen=True)
class Lane:
    """The session's stack with empty tables and new, empty topics."""

    stack: Stack

    @property
    def settings(self) -> Settings:
        return self.stack.settings

    def produce(self, topic: str, values: Sequence[bytes | dict[str, Any] | None], **producer: Any) -> None:
        """Put records into partition 0, each acknowledged; a dict is encoded as JSON."""
        kafka = KafkaProducer(**kafka_client(self.settings, KAFKA_ADMINISTRATOR), linger_ms=5, **producer)
        for value in values:
            body = msgspec.json.encode(value) if isinstance(value, dict) else value
            kafka.send(topic, body, b"key", partition=0)
        kafka.flush()
        kafka.close()

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query on `realtime`, as the owner."""
        with psycopg.connect(self.stack.dsn("realtime")) as connection:
            return connection.execute(statement, parameters).fetchall()

    def execute(self, statement: str, *parameters: Any) -> None:
        """Change something in `realtime`, as the owner."""
        with psycopg.connect(self.stack.dsn("realtime")) as connection:
            connection.execute(statement, parameters)

    def count(self, table: str) -> int:
        return int(self.query(f"select count(*) from realtime.{table}")[0][0])

    def end_offset(self, topic: str) -> int:
        consumer = KafkaConsumer(**kafka_client(self.settings, KAFKA_ADMINISTRATOR))
        try:
            return int(consumer.end_offsets([TopicPartition(topic, 0)])[TopicPartition(topic, 0)])
        finally:
            consumer.close()

    def consumed(self, topic: str = "market_tick") -> int:
        found = self.query(
            "select coalesce(sum(next_offset - first_offset), 0) from realtime.consumer_offset where topic = %s", topic
        )
        return int(found[0][0])

    def until_consumed(self, least: int, seconds: float = MOST_SECONDS) -> None:
        """Wait until at least so many offsets of market_tick are consumed."""
        until(lambda: self.consumed() >= least, f"{least} offsets consumed", seconds)

    def unbalanced(self) -> list[tuple[Any, ...]]:
        """The conservation law, counted here once more: every partition whose offsets are not all accounted for."""
        return self.query(
            """
            select o.topic, o.kafka_partition, o.next_offset - o.first_offset - o.empty_offsets as consumed, r.found
            from realtime.consumer_offset as o
            cross join lateral (
                select
                    (select count(*) from realtime.market_tick where o.topic = 'market_tick'
                        and log_epoch = o.log_epoch and kafka_partition = o.kafka_partition)
                    + (select count(*) from realtime.order_book_l2 where o.topic = 'order_book_l2'
                        and log_epoch = o.log_epoch and kafka_partition = o.kafka_partition)
                    + (select count(*) from realtime.quarantine as q where q.topic = o.topic
                        and q.log_epoch = o.log_epoch and q.kafka_partition = o.kafka_partition) as found
            ) as r
            where o.topic in ('market_tick', 'order_book_l2')
                and o.next_offset - o.first_offset - o.empty_offsets != r.found
            """
        )

    def doubled(self) -> list[tuple[Any, ...]]:
        """Identities that more than one row has."""
        return self.query(
            "select log_epoch, kafka_partition, kafka_offset, count(*) from realtime.market_tick "
            "group by 1, 2, 3 having count(*) > 1"
        )

    @contextmanager
    def running(self, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
        """`tidemark stream ARGUMENTS` as a process, ended by SIGTERM when the block is left."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tidemark.cli", "stream", *arguments], env=self.stack.environ | environ,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
            print(said)  # pytest shows it where the test fails


@pytest.fixture
def lane(clean_realtime: Stack) -> Lane:
    """Empty tables and new topics: the session's stack, as if it had just begun."""
    settings = clean_realtime.settings
    client = KafkaAdminClient(**kafka_client(settings, KAFKA_ADMINISTRATOR))
    for topic in set(client.list_topics()) & set(CATEGORIES):
        client.delete_topics([topic])
    lane = Lane(clean_realtime)
    try:
        until(lambda: not set(client.list_topics()) & set(CATEGORIES), "the old topics to be gone")
        until(lambda: made(settings), "new topics")
    finally:
        client.close()
    return lane


def made(settings: Settings) -> bool:
    """Whether the topics are there; one that was deleted a moment ago is not yet gone."""
    try:
        ensure_topics(settings, read_topics(settings.topics_file))
    except UnknownTopicOrPartitionError:
        return False
    return True
