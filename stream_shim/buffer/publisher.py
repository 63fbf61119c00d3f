"""The way into the buffer: one record a datum, acknowledged by every replica, and a count for each outcome."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from kafka.errors import AuthorizationError

from stream_shim.buffer.encoding import Datum, Unsendable, encode
from stream_shim.buffer.health import Health
from stream_shim.buffer.rejects import Rejects
from stream_shim.buffer.sink import KafkaSink, Sink
from stream_shim.reports import report_path, write_process_report
from tidemark.categories import CATEGORIES
from tidemark.errors import TidemarkError
from tidemark.settings import Settings
from tidemark.state_file import StateFile, Unreadable, read_whole

log = logging.getLogger("tidemark.connector")

RATE_REPORTS = 60  # one each second


class Publisher(Health):
    """Publishes the data of one source. A datum that is no record is counted and kept, never sent."""

    def __init__(self, settings: Settings, source: str, sink: Sink | None = None) -> None:
        """Into Kafka, unless another `sink` is given."""
        super().__init__(source)
        self.sent: Counter[str] = Counter()  # acknowledged, by topic
        self.rejected: Counter[str] = Counter()  # by reason
        self.without_value = 0  # records whose value the source left empty
        self.errors = 0  # not acknowledged
        self._put = 0  # handed to the sink
        self._refusal: BaseException | None = None  # the right that Kafka says is missing: nothing more is sent
        self._ids_file = StateFile(settings.home / "cursors" / f"{source}.ids.json", log)
        # by symbol, where the venue's trade ids are sequential: kept, so that what a restart misses is counted too
        self.last_ids = self._kept_ids()
        self.last_message_at = 0.0
        self._is_first = True  # the next record is the first since the source was connected
        self._answered_from, self._flushed_at = 0.0, 0.0  # the first answer and the last flush since `begin`
        self.has_answered = False  # all requests of a polled source, once, since `begin`
        self.started_at = time.time()
        self._minute: deque[tuple[float, int]] = deque(maxlen=RATE_REPORTS)  # when, and how many were sent by then
        self._report = StateFile(report_path(settings, "connector", source), log)
        self._rejects = Rejects(settings, source)
        self._is_kept = sink is None  # else whoever tries the source shows its rejects
        self._acknowledged = {topic: self._on_sent(topic) for topic in CATEGORIES}
        self._sink = sink or KafkaSink(settings, source)

    def _kept_ids(self) -> dict[str, int]:
        try:
            return read_whole(self._ids_file.path, dict[str, int]) or {}
        except Unreadable as error:
            log.warning(
                "%s: expected the last trade ids in %s, received %s: what this restart misses is not counted",
                self.source, self._ids_file.path, error,
            )  # fmt: skip
            return {}

    def expect_first(self) -> None:
        """The source is connected again: its first record is worth a line in the log."""
        self._is_first = True

    def begin(self) -> None:
        """The source is connected from the start."""
        self.expect_first()
        self._answered_from, self._flushed_at, self.has_answered = 0.0, 0.0, False

    @property
    def answered_seconds(self) -> float:
        """For how long the source gave data, or answers without news, since `begin`."""
        return max(self.last_message_at, self._flushed_at) - self._answered_from if self._answered_from else 0.0

    def answer(self) -> None:
        """One round of a polled source, noted for this session too."""
        super().answer()
        self.has_answered = True

    def send(self, datum: Datum) -> bool:
        """Queue one datum, and say whether it is a record; blocks while the buffer is full."""
        if self._refusal is not None:
            raise self._refusal
        try:
            record = encode(datum)
        except Unsendable as why:
            self.reject(str(why), datum.whole)
            return False
        self.last_message_at = time.time()
        if self._is_first:
            self._is_first = False
            self._answered_from = self._answered_from or self.last_message_at
            log.info("%s: connected, its first record came", self.source)
        self._put += 1
        self._sink.put(record, self._acknowledged[datum.topic], self._on_error)
        return True

    def reject(self, reason: str, raw: Any) -> None:
        """Count a message that is no record, and keep it whole in the source's rejects file."""
        self.rejected[reason] += 1
        self._rejects.keep(reason, raw)
        shown = f"; `tidemark sources rejects {self.source}` shows it" if self._is_kept else ""
        log.warning("%s: not sent, %s%s", self.source, reason, shown)

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
        self._flushed_at = time.time()
        self._answered_from = self._answered_from or self._flushed_at
        self._sink.flush()
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
            "rejects_dropped": self._rejects.dropped,
            "without_value": self.without_value,
            "errors": self.errors,
            **self.troubles(),
            "records_per_second": self._rate(),
            "last_message_at": self.last_message_at,
        }

    def _rate(self) -> float:
        """Records a second that Kafka acknowledged during the last minute of reports."""
        self._minute.append((time.monotonic(), self.sent.total()))
        (first, before), (last, now) = self._minute[0], self._minute[-1]
        return round((now - before) / (last - first), 2) if last > first else 0.0

    def write_report(self) -> None:
        """Keep the counts where the state folder's other parts find them."""
        write_process_report(self._report, self.report())
        if self.last_ids:
            self._ids_file.write(self.last_ids)

    def close(self) -> None:
        """Send what is left, write the report, and go. What Kafka does not acknowledge soon is counted."""
        try:
            self._sink.close()
            if unanswered := self._put - sum(self.sent.values()) - self.errors:
                log.error("%s: expected Kafka to acknowledge every record, %s had no answer", self.source, unanswered)
        finally:
            self.write_report()
            self._rejects.close()
