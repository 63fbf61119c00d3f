"""Topics filled with simulated ticks, as connectors fill them: acknowledged, idempotent, lz4."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from bench.stack import Stack
from bench.ticks import Tick, key, tick
from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.topics import MAX_MESSAGE_BYTES, ensure_topics, topic_configuration
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import admin, kafka_client

TOPIC = "market_tick"
# A symbol that one record alone has: a reader sees by the index, at once, when the table has come so far.
BEGUN, DONE = "~begun", "~done"


def begun_at(records: int) -> int:
    """The number of the record that marks the begin: a start is not measured."""
    return records // 20


def marked(number: int, records: int, whole: bool) -> Tick:
    """The tick of a number; two of them are marks."""
    symbol = {begun_at(records): BEGUN, records - 1: DONE}.get(number)
    one = tick(number, whole=whole)
    return one if symbol is None else one._replace(symbol=symbol)


@contextlib.contextmanager
def producer(stack: Stack, **options: Any) -> Iterator[Any]:
    """kafka-python's producer as a connector has it, flushed when the block ends."""
    from kafka import KafkaProducer

    settings = {
        **kafka_client(stack.settings, KAFKA_ADMINISTRATOR), "acks": "all", "enable_idempotence": True,
        "linger_ms": 20, "batch_size": 128 * 1024, "compression_type": "lz4", "max_request_size": MAX_MESSAGE_BYTES,
    }  # fmt: skip
    client = KafkaProducer(**settings | options)
    try:
        yield client
        client.flush()
    finally:
        client.close()


def make_topics(stack: Stack, *peers: str) -> None:
    """The lane's topics, and one partition for each topic of a peer, with the same configuration."""
    topics = read_topics(stack.settings.topics_file)
    ensure_topics(stack.settings, topics)
    configuration = topic_configuration(stack.settings, topics[TOPIC])
    client = admin(stack.settings, KAFKA_ADMINISTRATOR)
    try:
        for peer in peers:
            client.create_topics(
                {peer: {"num_partitions": 1, "replication_factor": 1, "configs": configuration}},
                wait_for_metadata=True,
            )
    finally:
        client.close()


def fill(stack: Stack, topic: str, records: int, whole: bool, encode: Callable[[Tick], bytes]) -> None:
    """Put marked ticks into partition 0."""
    with producer(stack) as client:
        for number in range(records):
            one = marked(number, records, whole)
            client.send(topic, encode(one), key(one), partition=0)
