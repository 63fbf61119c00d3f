"""The way into the buffer: one record a datum, acknowledged by every replica, and a count for each outcome."""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from logging.handlers import RotatingFileHandler
from typing import Any, NamedTuple

import msgspec
from kafka.errors import AuthorizationError
from kafka.partitioner.abc import Partitioner
from kafka.partitioner.default import murmur2

from stream_shim.buffer.topics import MAX_MESSAGE_BYTES
from stream_shim.running.reports import report_path, write_report
from tidemark.categories import CATEGORIES, key_fields, required_fields
from tidemark.errors import TidemarkError
from tidemark.kafka import kafka_client
from tidemark.settings import Settings

log = logging.getLogger("tidemark.connector")

CONNECTOR = "connector"  # the role of every connector: it may write to the topics, and nothing else
REJECTS_BYTES, REJECTS_FILES = 10 * 1024 * 1024, 3
FLUSH_SECONDS = 30
MAX_RECORD_BYTES = MAX_MESSAGE_BYTES - 64 * 1024  # room for the key and for what Kafka adds


class Datum(NamedTuple):
    """What a parser makes of a message: the category's fields under their names, and all the rest in `attributes`.

    `time_ms` is the event's own time in milliseconds since 1970 UTC, which a replay's topics keep as the record's time.
    """

    topic: str
    fields: dict[str, Any]
    attributes: dict[str, Any]
    time_ms: int


def missing_fields(datum: Datum) -> list[str]:
    """The required fields that a datum lacks."""
    return [name for name in required_fields(datum.topic) if datum.fields.get(name) is None]


@lru_cache(maxsize=100_000)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


class ByKey(Partitioner):  # type: ignore[misc]
    """The partition that every Kafka client takes for a key; its hash, which is slow in Python, is made once."""

    def partition(  # noqa: PLR0917 - kafka-python's own signature
        self, topic: str, key: Any, serialized_key: bytes, value: Any, serialized_value: Any, cluster: Any
    ) -> int:
        return _hash(serialized_key) % len(cluster.partitions_for_topic(topic))


class Publisher:
    """Publishes the data of one source. A datum that lacks a required field is counted and kept, never sent."""

    def __init__(self, settings: Settings, source: str) -> None:
        from kafka import KafkaProducer

        self.source = source
        self.sent: Counter[str] = Counter()  # acknowledged, by topic
        self.rejected: Counter[str] = Counter()  # by reason
        self.errors = 0  # not acknowledged
        self._refusal: BaseException | None = None  # the right that Kafka says is missing: nothing more is sent
        self.source_errors = 0  # times the source was lost, and connected again
        self.gaps: Counter[str] = Counter()  # by symbol: trades or books that are missing
        self.silences: Counter[str] = Counter()  # by symbol: times that nothing came
        self._ids_file = settings.home / "cursors" / f"{source}.ids.json"
        # by symbol, where the venue's trade ids are sequential: kept, so that what a restart misses is counted too
        self.last_ids: dict[str, int] = json.loads(self._ids_file.read_text()) if self._ids_file.exists() else {}
        self.last_message_at = 0.0
        self._is_first = True  # the next record is the first since the source was connected
        self.started_at = time.time()
        self._report = report_path(settings, "connector", source)
        self._rejects = _rejects_log(settings, source)
        self._encode = msgspec.json.Encoder().encode
        self._acknowledged = {topic: self._on_sent(topic) for topic in CATEGORIES}
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

    def expect_first(self) -> None:
        """The source is connected again: its first record is worth a line in the log."""
        self._is_first = True

    def send(self, datum: Datum) -> None:
        """Queue one datum; blocks while the buffer is full. The key orders: source_system and symbol or publisher."""
        if self._refusal is not None:
            raise self._refusal
        topic, fields, attributes, time_ms = datum
        if None in map(fields.get, required_fields(topic)):
            self.reject(f"missing {', '.join(missing_fields(datum))}", {**fields, "attributes": attributes})
            return
        self.last_message_at = time.time()
        if self._is_first:
            self._is_first = False
            log.info("%s: connected, its first record came", self.source)
        try:
            value = self._encode({**fields, "attributes": attributes})
        except (UnicodeEncodeError, TypeError, ValueError) as error:
            self.reject(f"not encodable, {type(error).__name__}", fields)
            return
        if len(value) > MAX_RECORD_BYTES:
            self.reject("too large for the topic", fields)
            return
        system, name = key_fields(topic)
        key = f"{fields[system]}|{fields[name]}".encode()
        future = self._producer.send(topic, value, key, timestamp_ms=time_ms)
        future.add_callback(self._acknowledged[topic]).add_errback(self._on_error)

    def reject(self, reason: str, raw: Any) -> None:
        """Count a message that is no datum, and keep it in the source's rejects file."""
        self.rejected[reason] += 1
        self._rejects.info(json.dumps({"reason": reason, "raw": raw}, default=str))
        log.warning("%s: not sent, %s; the message is in the source's rejects file", self.source, reason)

    def _on_sent(self, topic: str) -> Callable[[Any], None]:
        def count(_metadata: Any) -> None:
            self.sent[topic] += 1

        return count

    def _on_error(self, error: BaseException) -> None:
        self.errors += 1
        if isinstance(error, AuthorizationError):
            self._refusal = error
        log.error("%s: expected Kafka to take a record, received %s", self.source, error)

    def flush(self) -> None:
        """Wait until Kafka has acknowledged all that was sent; TidemarkError where it refused some."""
        self._producer.flush(timeout=FLUSH_SECONDS)
        if self._refusal is not None:
            raise self._refusal
        if self.errors:
            raise TidemarkError(f"{self.source}: expected Kafka to acknowledge every record, it refused {self.errors}")

    def report(self) -> dict[str, Any]:
        """The counts so far; they are also in the state folder, as run/connector-NAME.json."""
        return {
            "source": self.source,
            "started_at": self.started_at,
            "sent": dict(self.sent),
            "rejected": dict(self.rejected),
            "errors": self.errors,
            "source_errors": self.source_errors,
            "gaps": dict(self.gaps),
            "silences": dict(self.silences),
            "last_message_at": self.last_message_at,
        }

    def write_report(self) -> None:
        """Keep the counts where the state folder's other parts find them."""
        write_report(self._report, self.report())
        if self.last_ids:
            write_report(self._ids_file, self.last_ids)

    def close(self) -> None:
        """Send what is left, write the report, and go."""
        try:
            self._producer.flush(timeout=FLUSH_SECONDS)
        finally:
            self._producer.close(timeout=5)
            self.write_report()
            for handler in self._rejects.handlers:
                handler.close()


def _rejects_log(settings: Settings, source: str) -> logging.Logger:
    folder = settings.home / "rejects"
    folder.mkdir(parents=True, exist_ok=True)
    rejects = logging.Logger(f"tidemark.rejects.{source}")
    handler = RotatingFileHandler(
        folder / f"{source}.jsonl", maxBytes=REJECTS_BYTES, backupCount=REJECTS_FILES, delay=True
    )
    handler.setFormatter(logging.Formatter("%(message)s"))
    rejects.addHandler(handler)
    return rejects
