"""A source's connector as the lane runs it, from a test: its entry connected, and what the topics got of it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition

from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors.entries import SourceEntry, read_sources
from stream_shim.running.runner import connect_until
from tests.stream_shim.conftest import made, until
from tidemark.categories import CATEGORIES
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client
from tidemark.settings import Settings


def entry_of(settings: Settings, text: str) -> SourceEntry:
    """The one entry of a sources file that says `text`."""
    path = settings.home / "sources-of-a-test.yml"
    path.write_text(text)
    (entry,) = read_sources(path).values()
    return entry


@dataclass
class Wire:
    """The topics from where they ended when the test began."""

    settings: Settings
    start: dict[TopicPartition, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        until(lambda: made(self.settings), "the topics")
        with self._consumer() as consumer:
            self.start = consumer.end_offsets([TopicPartition(topic, 0) for topic in CATEGORIES])

    @contextmanager
    def _consumer(self) -> Iterator[KafkaConsumer]:
        consumer = KafkaConsumer(**kafka_client(self.settings, KAFKA_ADMINISTRATOR))
        try:
            yield consumer
        finally:
            consumer.close()

    def raw(self, topic: str, last: int = 10**9) -> list[Any]:
        """Every record (key, value, timestamp) that the topic got since, or the `last` ones of them."""
        partition, found = TopicPartition(topic, 0), []
        with self._consumer() as consumer:
            consumer.assign([partition])
            end = consumer.end_offsets([partition])[partition]
            consumer.seek(partition, max(self.start[partition], end - last))
            while consumer.position(partition) < end:
                for records in consumer.poll(timeout_ms=1000, max_records=10_000).values():
                    found += records
        return found

    def records(self, topic: str, last: int = 10**9) -> list[dict[str, Any]]:
        """The same, decoded."""
        return [msgspec.json.decode(record.value) for record in self.raw(topic, last)]

    @contextmanager
    def connected(self, entry: SourceEntry) -> Iterator[Publisher]:
        """The entry's connector, in a thread, connected again whenever it is lost, until the block is left."""
        publisher = Publisher(self.settings, entry.name)
        stop, began = asyncio.Event(), threading.Event()
        loops: list[asyncio.AbstractEventLoop] = []
        failures: list[BaseException] = []

        async def main() -> None:
            loops.append(asyncio.get_running_loop())
            began.set()
            await connect_until(stop, entry, publisher, self.settings)

        def work() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:  # noqa: BLE001 (it is raised in the test's thread)
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        began.wait()
        try:
            yield publisher
        finally:
            if thread.is_alive():
                loops[0].call_soon_threadsafe(stop.set)
            thread.join(timeout=60)
            publisher.close()
        assert not failures, failures
