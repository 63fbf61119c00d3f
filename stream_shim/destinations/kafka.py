"""Kind `kafka`: the same topics on another cluster, keys and times as they were, at least once."""

from kafka import KafkaProducer
from kafka.errors import KafkaError

from realtime.positions import LogState, Position
from stream_shim.destinations.entries import DestinationEntry
from stream_shim.processor.destination import NotTaken, Segment, TopicAndPartition, Written
from tidemark.kafka import client_options

FLUSH_SECONDS = 30


class KafkaDestination:
    """Another cluster. The position is what the group commits to the first one, after the second has the records."""

    def __init__(self, name: str, entry: DestinationEntry) -> None:
        self._name, self._prefix, self._bootstrap = name, entry.prefix, entry.bootstrap
        self._options = client_options(entry.bootstrap, entry.security(name))
        self._producer: KafkaProducer | None = None

    def positions(self, logs: dict[TopicAndPartition, LogState]) -> dict[TopicAndPartition, Position]:
        """None of its own: the processor goes on from what is committed to Kafka."""
        return {}

    def prepare(self, segments: list[Segment]) -> list[Segment]:
        """Nothing to serialize: the records go on as they came."""
        return segments

    def commit(self, prepared: list[Segment]) -> Written:
        """Send, and wait until the other cluster has acknowledged all."""
        written = Written({}, {})
        futures = []
        try:
            if self._producer is None:
                self._producer = KafkaProducer(
                    **self._options, client_id=f"tidemark-{self._name}", acks="all",
                    linger_ms=20, compression_type="lz4", max_request_size=8 * 1024 * 1024,
                )  # fmt: skip
            for segment in prepared:
                for record in segment.records:
                    topic = self._prefix + segment.topic
                    futures.append(self._producer.send(topic, record.value, record.key, timestamp_ms=record.timestamp))
                written.rows[segment.topic] = written.rows.get(segment.topic, 0) + len(segment.records)
            self._producer.flush(timeout=FLUSH_SECONDS)
            for future in futures:
                future.get(timeout=FLUSH_SECONDS)
        except KafkaError as error:
            raise NotTaken(f"expected the cluster at {self._bootstrap} to take records, received {error!r}") from error
        return written

    def keep_up(self) -> None:
        """It has nothing to prepare."""

    def headroom_days(self) -> None:
        """It has no partitions to run out of."""

    def close(self) -> None:
        """Leave the other cluster."""
        if self._producer is not None:
            self._producer.close(timeout=2)
