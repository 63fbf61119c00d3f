"""Where a publisher's records go: into Kafka, or wherever else who tries a source wants to see them."""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Protocol

from kafka.partitioner.abc import Partitioner
from kafka.partitioner.default import murmur2

from stream_shim.buffer.encoding import Encoded
from stream_shim.buffer.topics import MAX_MESSAGE_BYTES
from tidemark.kafka import kafka_client
from tidemark.settings import Settings

CONNECTOR = "connector"  # the role of every connector: it may write to the topics, and nothing else
FLUSH_SECONDS = 30
LAST_SECONDS = 1.5  # for what is on its way at the end: a broker that is gone keeps nobody for longer


class Sink(Protocol):
    """Takes records. Each is answered by one call: `taken` with what took it, or `refused` with the error."""

    def put(self, record: Encoded, taken: Callable[[Any], None], refused: Callable[[BaseException], None]) -> None:
        """Take one; may block."""

    def flush(self) -> None:
        """Wait until each is answered."""

    def close(self) -> None:
        """Wait a while for what has no answer yet, and let go of what is open."""


@lru_cache(maxsize=100_000)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


class ByKey(Partitioner):  # type: ignore[misc]
    """The partition that every Kafka client takes for a key; its hash, which is slow in Python, is made once."""

    def partition(  # noqa: PLR0917 - kafka-python's own signature
        self, topic: str, key: Any, serialized_key: bytes, value: Any, serialized_value: Any, cluster: Any
    ) -> int:
        return _hash(serialized_key) % len(cluster.partitions_for_topic(topic))


class KafkaSink:
    """The topics: a record is taken when every replica has it."""

    def __init__(self, settings: Settings, source: str) -> None:
        from kafka import KafkaProducer

        self._producer = KafkaProducer(
            **kafka_client(settings, CONNECTOR),
            client_id=f"tidemark-connector-{source}",
            acks="all",
            enable_idempotence=True,
            partitioner=ByKey(),
            linger_ms=20,
            batch_size=128 * 1024,
            compression_type="lz4",
            max_request_size=MAX_MESSAGE_BYTES,
        )

    def put(self, record: Encoded, taken: Callable[[Any], None], refused: Callable[[BaseException], None]) -> None:
        """Queue it; blocks while the buffer is full."""
        topic, key, value, time_ms = record
        self._producer.send(topic, value, key, timestamp_ms=time_ms).add_callback(taken).add_errback(refused)

    def flush(self) -> None:
        """Wait for Kafka's answers."""
        self._producer.flush(timeout=FLUSH_SECONDS)

    def close(self) -> None:
        """Close the connection; what is not answered by then is answered no more."""
        from kafka.errors import KafkaTimeoutError

        with suppress(KafkaTimeoutError):
            self._producer.close(timeout=LAST_SECONDS)
