"""The processor of one destination: reads its topics in a consumer group, hands them on in order, a batch at a time.

Two threads: this one polls Kafka and prepares (decode, map, serialize), the writer commits; at most two batches wait
between them, so memory is bounded whatever the backlog. The position is the destination's, stored with what it wrote:
Kafka's own committed offsets are for the lag tools that people have, and are never read back.
"""

import logging
import queue
import sys
import threading
import time
from collections import Counter
from typing import Any

from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.errors import LogTruncationError, OffsetOutOfRangeError, RetriableError

from stream_shim.buffer.topics import ensure_topics, topic_ids
from stream_shim.config import DestinationEntry, TopicEntry
from stream_shim.destinations import Destination, Fenced, NotTaken, Segment, open_destination
from stream_shim.processor.consumer import check_clock, open_consumer, topic_id
from stream_shim.processor.epochs import LogState
from stream_shim.processor.records import Chunk
from tidemark import connections
from tidemark.settings import Settings

log = logging.getLogger("tidemark.processor")

BATCHES_AHEAD = 2
RETRY_SECONDS = (0.2, 0.5, 1, 2, 5)
UPKEEP_SECONDS = 600
# The writer asks Postgres, waits, and asks again: with Python's own 5 ms it would wait that long for its next turn.
SWITCH_SECONDS = 0.00005


class Processor(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs until `stop` is set; `report` gives its counts at any moment."""

    def __init__(self, settings: Settings, name: str, entry: DestinationEntry, topics: dict[str, TopicEntry]) -> None:
        self.name = name
        self.rows: Counter[str] = Counter()
        self.rejects: Counter[str] = Counter()
        self.waits = self.fences = self.batches = 0
        self.batch_seconds = 0.0
        self.started_at = time.time()
        self._next_upkeep = 0.0
        self._waiting_for: dict[str, str] = {}  # whom, and what it said
        self._lag: dict[
            TopicPartition, tuple[int, float]
        ] = {}  # records behind, and the newest committed record's time
        self._settings, self._home_kind = settings, connections.home_kind(settings)
        ensure_topics(settings, topics)
        self._destination: Destination = open_destination(settings, name, entry, topics)
        self._topics = entry.topics
        self._consumer = open_consumer(settings, name)
        self._consumer.subscribe(entry.topics, listener=self)
        self._unplaced: set[TopicPartition] = set()  # assigned, not yet at the stored position
        self._topic_ids: dict[str, str] = {}  # Kafka's own, of the logs that are read
        self._accounted: dict[TopicPartition, int] = {}  # per partition, the next offset to hand on
        self._queue: queue.Queue[tuple[Any, dict[TopicPartition, int]]] = queue.Queue(BATCHES_AHEAD)
        self._to_commit: dict[TopicPartition, int] = {}
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._writer = threading.Thread(target=self._write_batches, name="writer", daemon=True)

    # The two listener methods run on the consumer's own thread and must not wait: they only note what changed.

    def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Hold the new partitions at a place that is not read, until the main loop has put them where they belong."""
        for partition in assigned:
            self._consumer.seek(partition, 0)
        self._consumer.pause(*assigned)
        self._unplaced.update(assigned)

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """What is on its way for them may still be committed: the fence keeps it from being doubled."""
        self._unplaced.difference_update(revoked)
        for partition in revoked:
            self._accounted.pop(partition, None)
            self._lag.pop(partition, None)

    def run(self, stop: threading.Event) -> None:
        """Poll, prepare, hand over, until `stop`; then wait for what is on its way. Raises what the writer met."""
        sys.setswitchinterval(SWITCH_SECONDS)
        self._writer.start()
        try:
            while not stop.is_set():
                self._raise_failure()
                self._keep_up()
                try:
                    self._place(stop)
                    chunks = self._poll()
                except RetriableError as error:
                    self._wait(stop, "Kafka", 1, f"expected Kafka to answer, received {error}")
                    continue
                self._waiting_for.pop("Kafka", None)
                segments = self._segments(chunks)
                if segments:
                    self._hand_over(segments, stop)
                self._commit_to_kafka()
        finally:
            self._shut_down()
        self._raise_failure()

    def _poll(self) -> dict[TopicPartition, list[Chunk]]:
        """What has come. Where the log is not the one that was read, its partitions are to be placed anew."""
        try:
            chunks: dict[TopicPartition, list[Chunk]] = self._consumer.poll(timeout_ms=200)
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            log.warning("%s: expected the log to hold what comes next, received %s", self.name, error)
            self.on_partitions_assigned(list(self._consumer.assignment()))
            return {}
        known = {topic: topic_id(self._consumer, topic) for topic in self._topic_ids}
        others = {topic for topic, there in known.items() if there not in (None, self._topic_ids[topic])}
        if others:
            log.warning("%s: expected the topics that were read, %s was made again", self.name, ", ".join(others))
            self.on_partitions_assigned([p for p in self._consumer.assignment() if p.topic in others])
        return chunks

    def _keep_up(self) -> None:
        """Let the destination prepare for the days ahead, now and then; what it cannot do is tried again, and shows."""
        if time.monotonic() >= self._next_upkeep:
            try:
                self._destination.keep_up()
                self._next_upkeep = time.monotonic() + UPKEEP_SECONDS
            except NotTaken as error:
                log.warning("%s: %s", self.name, error)
                self._next_upkeep = time.monotonic() + RETRY_SECONDS[-1]

    def _place(self, stop: threading.Event) -> None:
        """Bring newly assigned partitions to the destination's stored positions."""
        partitions = sorted(self._unplaced & self._consumer.assignment())
        if not partitions:
            return
        self._settle(stop)
        ids = topic_ids(self._settings, sorted({partition.topic for partition in partitions}))
        self._topic_ids |= ids
        starts, ends = self._consumer.beginning_offsets(partitions), self._consumer.end_offsets(partitions)
        logs = {(p.topic, p.partition): LogState(ids[p.topic], starts[p], ends[p]) for p in partitions}
        try:
            positions = self._destination.positions(logs)
        except NotTaken as error:
            self._wait(stop, "destination", 0, str(error))
            return
        for partition in partitions:
            position = positions.get((partition.topic, partition.partition))
            offset = self._committed(partition, starts[partition]) if position is None else position.next_offset
            self._consumer.seek(partition, offset)
            self._accounted[partition] = offset
            epoch = "" if position is None else f" of epoch {position.log_epoch}"
            log.info("%s: reads %s, partition %s, from offset %s%s", self.name, *partition, offset, epoch)
        self._consumer.resume(*partitions)
        self._unplaced.difference_update(partitions)

    def _committed(self, partition: TopicPartition, start: int) -> int:
        """For a destination that keeps no position: Kafka's, else the log's start."""
        committed = self._consumer.committed(partition)
        return start if committed is None else int(committed)

    def _settle(self, stop: threading.Event) -> None:
        """Wait until the writer has committed all that it was given, so that the stored positions are the latest."""
        while self._queue.unfinished_tasks and not stop.is_set() and self._failure is None:
            self._stay_in_the_group()
            stop.wait(0.02)

    def _segments(self, chunks: dict[TopicPartition, list[Chunk]]) -> list[Segment]:
        """What moved since the last poll: records, and offsets that held none."""
        segments = []
        for partition, accounted in list(self._accounted.items()):
            if partition in self._unplaced or partition not in self._consumer.assignment():
                continue
            records = [record for chunk in chunks.get(partition, ()) for record in chunk.records]
            for chunk in chunks.get(partition, ()):
                check_clock(self._home_kind, partition.topic, chunk)
            position = self._consumer.position(partition)
            if position > accounted:
                end = self._consumer.highwater(partition) or position
                segments.append(Segment(partition.topic, partition.partition, accounted, position, records, end))
                self._accounted[partition] = position
                if records:
                    self._lag[partition] = (max(end - position, 0), records[-1].timestamp / 1000)
        return segments

    def _hand_over(self, segments: list[Segment], stop: threading.Event) -> None:
        prepared = self._destination.prepare(segments)
        offsets = {TopicPartition(s.topic, s.partition): s.next_offset for s in segments}
        while not stop.is_set() and self._failure is None:
            try:
                self._queue.put((prepared, offsets), timeout=1)
                return
            except queue.Full:
                self._stay_in_the_group()

    def _stay_in_the_group(self) -> None:
        """A poll that returns nothing: the group counts polls, not heartbeats alone."""
        self._consumer.pause(*self._consumer.assignment())
        unread = self._consumer.poll(timeout_ms=0)
        assert not unread, "expected nothing of partitions that are paused"  # it would count as empty offsets
        placed = [p for p in self._consumer.assignment() if p not in self._unplaced]
        self._consumer.resume(*placed)

    def _commit_to_kafka(self) -> None:
        offsets, self._to_commit = self._to_commit, {}
        mine = {p: OffsetAndMetadata(o, "", -1) for p, o in offsets.items() if p in self._accounted}
        if mine:
            self._consumer.commit_async(mine, callback=_note_commit)

    def _write_batches(self) -> None:
        """The writer's thread."""
        while True:
            prepared, offsets = self._queue.get()
            try:
                if not self._stopping.is_set() and self._failure is None:
                    self._write(prepared, offsets)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the main thread raises it
                self._failure = failure
            finally:
                self._queue.task_done()

    def _write(self, prepared: Any, offsets: dict[TopicPartition, int]) -> None:
        tries = 0
        while not self._stopping.is_set():
            try:
                started = time.monotonic()
                written = self._destination.commit(prepared)
                self.batch_seconds += time.monotonic() - started
                self.batches += 1
                self.rows.update(written.rows)
                self.rejects.update(written.rejects)
                self._waiting_for.pop("destination", None)
                self._to_commit = {**self._to_commit, **offsets}
                return
            except NotTaken as error:
                self._wait(self._stopping, "destination", tries, str(error))
                tries += 1

    def _wait(self, stop: threading.Event, whom: str, tries: int, why: str) -> None:
        self.waits += 1
        self._waiting_for[whom] = why
        seconds = RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)]
        log.warning("%s: %s; nothing was committed, trying again in %s s", self.name, why, seconds)
        stop.wait(seconds)

    def report(self) -> dict[str, Any]:
        """The counts so far, as metrics and alerts read them."""
        lag_records: Counter[str] = Counter()
        lag_seconds: dict[str, float] = {}
        for partition, (behind, newest) in list(self._lag.items()):
            lag_records[partition.topic] += behind
            age = time.time() - newest if behind else 0.0
            lag_seconds[partition.topic] = max(lag_seconds.get(partition.topic, 0.0), age)
        return {
            "destination": self.name,
            "started_at": self.started_at,
            "rows": dict(self.rows),
            "rejects": dict(self.rejects),
            "batches": self.batches,
            "batch_seconds": self.batch_seconds,
            "waits": self.waits,
            "fences": self.fences,
            "waiting_for": "; ".join(list(self._waiting_for.values())),
            "lag_records": dict(lag_records),
            "lag_seconds": lag_seconds,
            "headroom_days": self._destination.headroom_days(),
        }

    def _raise_failure(self) -> None:
        """A fence means: read the stored positions again. Anything else ends the processor."""
        failure, self._failure = self._failure, None
        if isinstance(failure, Fenced):
            self.fences += 1
            log.warning("%s: %s", self.name, failure)
            self._settle(self._stopping)
            self._failure = None
            self.on_partitions_assigned(list(self._consumer.assignment()))
        elif failure is not None:
            raise failure

    def _shut_down(self) -> None:
        """What was handed over is committed if that takes less than three seconds; else it stays unread."""
        deadline = time.monotonic() + 3
        while self._queue.unfinished_tasks and time.monotonic() < deadline and self._failure is None:
            time.sleep(0.02)
        self._stopping.set()
        self._commit_to_kafka()
        self._consumer.close(autocommit=False, timeout_ms=1000)
        self._destination.close()


def _note_commit(offsets: Any, error: Any) -> None:
    if error is not None and isinstance(error, Exception):
        log.info("Kafka kept no offsets for the lag tools: %s", error)
