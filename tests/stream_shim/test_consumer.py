"""The consumer's group: a rejoin is finished whenever its answer comes."""

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, TopicPartition

from stream_shim.processor.consumer import open_consumer
from tests.stream_shim.conftest import Lane, until
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client


class AtStart(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads each partition from its first offset on."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        for partition in assigned:
            self._consumer.seek(partition, 0)

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        pass


def test_partitions_that_are_added_arrive_though_the_groups_answer_comes_after_the_poll(lane: Lane) -> None:
    consumer = open_consumer(lane.settings, "test")
    client = KafkaAdminClient(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR))

    def assigned(timeout_ms: int) -> int:
        consumer.poll(timeout_ms=timeout_ms)
        return len(consumer.assignment())

    def made() -> bool:
        consumer.poll(timeout_ms=1)
        return len((consumer._coordinator._assignment_snapshot or {}).get("market_tick", ())) == 3

    try:
        consumer.subscribe(["market_tick"], listener=AtStart(consumer))
        until(lambda: assigned(200) == 1, "the topic's partition")
        client.create_partitions({"market_tick": 3})
        until(made, "the group's leader, which the consumer is, to have made the new assignment")
        until(lambda: assigned(200) == 3, "the partitions that were added")
    finally:
        client.delete_topics(["market_tick"])  # who comes next expects one partition
        client.close()
        consumer.close()
