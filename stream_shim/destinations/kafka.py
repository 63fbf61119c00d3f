"""Kind `kafka`: the same topics on another cluster, keys and times as they were, at least once."""

import logging

from kafka import KafkaProducer
from kafka.errors import KafkaError

from stream_shim.destinations.entries import DestinationEntry
from stream_shim.processor.destination import NotTaken, Written
from stream_shim.processor.segments import Segment
from tidemark.kafka import client_options

log = logging.getLogger("tidemark.processor")

FLUSH_SECONDS = 30


class KafkaDestination:
    """Another cluster. The position is what the group commits to the first one, after the second has the records."""

    def __init__(self, name: str, entry: DestinationEntry) -> None:
        self._name, self._prefix, self._bootstrap = name, entry.prefix, entry.bootstrap
        self._options = client_options(entry.bootstrap, entry.security(name))
        self._producer: KafkaProducer | None = None

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
                topic, whole = segment.log.topic, [record for record in segment.records if not record.missing]
                for record in whole:
                    there = self._prefix + topic
                    futures.append(self._producer.send(there, record.value, record.key, timestamp_ms=record.timestamp))
                written.rows[topic] = written.rows.get(topic, 0) + len(whole)
                written.rejects[topic] = written.rejects.get(topic, 0) + len(segment.records) - len(whole)
                if too_large := [record.offset for record in segment.records if record.missing]:
                    log.error(
                        "%s: expected records of %s, partition %s, that fit into memory, received larger ones at the "
                        "offsets %s: they are not sent on", self._name, topic, segment.log.partition, too_large,
                    )  # fmt: skip
            self._producer.flush(timeout=FLUSH_SECONDS)
            for future in futures:
                future.get(timeout=FLUSH_SECONDS)
        except KafkaError as error:
            raise NotTaken(f"expected the cluster at {self._bootstrap} to take records, received {error!r}") from error
        return written

    def close(self) -> None:
        """Leave the other cluster."""
        if self._producer is not None:
            self._producer.close(timeout=2)
