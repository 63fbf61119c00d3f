"""The processor of one destination: reads its topics in a consumer group, hands them on in order, a batch at a time.

Two threads: this one polls Kafka and prepares (decode, map, serialize), the writer commits (handover.py). The position
is the destination's, stored with what it wrote, and Kafka's own committed offsets are for the lag tools that people
have; only of a destination that keeps no position are they read back.
"""

import contextlib
import logging
import sys
import threading
import time
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import LogTruncationError, OffsetOutOfRangeError, RetriableError

from realtime.positions import EpochEnded, Fenced, LogState, Position, check_log
from stream_shim.processor.asking import ANSWER_SECONDS, Asking
from stream_shim.processor.consumer import check_clock, is_member, made_again, open_consumer
from stream_shim.processor.counts import Counts, committed_of
from stream_shim.processor.destination import Destination, KeepsPositions, NotTaken, PreparesDays
from stream_shim.processor.handover import Handover
from stream_shim.processor.mapping import Mapper
from stream_shim.processor.placing import (
    Logs,
    Places,
    ask_logs,
    committed_position,
    note_commit,
    same_topics,
    to_commit,
)
from stream_shim.processor.progress import ENDED_SECONDS, SHOWN_SECONDS, OpenTransactions, Progress
from stream_shim.processor.records import Chunk
from stream_shim.processor.segments import Log, Segment, segments_of
from tidemark.errors import StackError
from tidemark.home_kind import home_kind
from tidemark.kafka import ANSWER_MS
from tidemark.settings import Settings

log = logging.getLogger("tidemark.processor")

UPKEEP_SECONDS = 600
UPKEEP_RETRY_SECONDS = 5
LAG_SECONDS = 5
# After so long without a fetch, a topic made again meanwhile may be read on at the old offset, unseen: its id is asked.
STALE_SECONDS = 0.3
# The writer asks Postgres, waits, and asks again: with Python's own 5 ms it would wait that long for its next turn.
SWITCH_SECONDS = 0.00005


class Processor(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs until `stop` is set; `report` gives its counts at any moment."""

    def __init__(self, settings: Settings, name: str, destination: Destination, mappers: dict[str, Mapper]) -> None:
        """`mappers`: the mapping of each topic that the destination wants."""
        self.name = name
        self._counts = Counts(name)
        self._settings, self._home_kind = settings, home_kind(settings)
        self._destination = destination
        self._consumer = open_consumer(settings, name)
        self._mappers = mappers
        self._consumer.subscribe(list(mappers), listener=self)
        self._unplaced: set[TopicPartition] = set()  # assigned, not yet at the stored position
        self._topic_ids: dict[str, str] = {}  # Kafka's own, of the logs that are read
        self._places = Places(name, self._consumer)
        self._logs: dict[TopicPartition, Log] = {}  # that are read
        self._accounted: dict[TopicPartition, int] = {}  # per partition, the next offset to hand on
        self._in_kafka: dict[TopicPartition, int] = {}  # per partition, what Kafka was told last
        self._handover = Handover(destination, self._counts)
        self._next_upkeep = self._next_look = self._polled_at = 0.0
        self._asking, self._progress, self._transactions = Asking(), Progress(), OpenTransactions()

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
            self._in_kafka.pop(partition, None)
        self._places.leave(revoked)
        self._counts.leave(revoked)

    def run(self, stop: threading.Event) -> None:
        """Poll, prepare, hand over, until `stop`; then wait for what is on its way. Raises what the writer met."""
        sys.setswitchinterval(SWITCH_SECONDS)
        self._handover.start()
        try:
            while not stop.is_set():
                self._raise_failure(stop)
                self._keep_up(stop)
                try:
                    self._place(stop)
                    self._look_at_ends()
                    segments = self._segments(self._poll())
                except (OffsetOutOfRangeError, LogTruncationError) as error:
                    self._places.cut(getattr(error, "divergent_offsets", ()), self._accounted)
                    log.warning("%s: expected the log to hold what comes next, received %s", self.name, error)
                    self._place_anew()
                    continue
                except RetriableError as error:
                    self._place_anew()  # what had come is not handed on, and must not count as read
                    self._pause(stop, "Kafka", f"expected Kafka to answer, received {error}")
                    continue
                self._counts.answers("Kafka")
                if segments:
                    self._counts.see_read(self._accounted)
                    self._hand_over(segments, stop)
                self._commit_to_kafka()
                self._progress.look(is_member(self._consumer), self._unplaced, self._accounted, self._counts.ends)
        finally:
            self._shut_down()
        self._raise_failure(stop)

    def _poll(self) -> dict[TopicPartition, list[Chunk]]:
        """What has come. Where the log is not the one that was read, its partitions are to be placed anew."""
        chunks: dict[TopicPartition, list[Chunk]] = self._consumer.poll(timeout_ms=200)
        if self._places.reconnected():
            log.info("%s: Kafka was reconnected; what was taken last is compared", self.name)
            self._place_anew()
            return {}
        stale = time.monotonic() - self._polled_at > STALE_SECONDS
        self._polled_at = time.monotonic()
        if others := made_again(self._settings, self._consumer, self._topic_ids, ask=bool(chunks) and stale):
            log.warning("%s: expected the topics that were read, %s was made again", self.name, ", ".join(others))
            self.on_partitions_assigned([p for p in self._consumer.assignment() if p.topic in others])
        return chunks

    def _place_anew(self) -> None:
        """Read on from the destination's stored positions, whatever the consumer has come to."""
        self.on_partitions_assigned(list(self._consumer.assignment()))

    def _keep_up(self, stop: threading.Event) -> None:
        """Let the destination prepare for the days ahead, now and then; what it cannot do is tried again, and shows."""
        if isinstance(self._destination, PreparesDays) and time.monotonic() >= self._next_upkeep:
            try:
                self._asking.ask(self._destination.keep_up, self._stay_in_the_group, stop)
                self._next_upkeep = time.monotonic() + UPKEEP_SECONDS
            except NotTaken as error:
                log.warning("%s: %s", self.name, error)
                self._next_upkeep = time.monotonic() + UPKEEP_RETRY_SECONDS

    def _place(self, stop: threading.Event) -> None:
        """Bring newly assigned partitions to the destination's stored positions."""
        partitions = sorted(self._unplaced & self._consumer.assignment())
        if not partitions:
            return
        self._settle(stop)
        logs = ask_logs(self._settings, self._consumer, partitions)
        self._topic_ids |= {p.topic: log.topic_id for p, log in logs.items()}
        try:
            positions = self._ask_positions(logs, stop)
        except NotTaken as error:
            self._pause(stop, "destination", str(error))
            return
        except EpochEnded:
            if same_topics(logs, ask_logs(self._settings, self._consumer, partitions)):
                raise
            return  # made again in between: what was asked of Kafka is older than what is stored
        self._counts.answers("destination")
        partitions = [p for p in partitions if p in self._consumer.assignment()]  # the group may have changed meanwhile
        # Again, after the positions: another processor may have moved one beyond what was the end.
        later = ask_logs(self._settings, self._consumer, partitions)
        if not same_topics(logs, later):
            return
        for partition in partitions:
            self._place_one(partition, positions.get((partition.topic, partition.partition)), later[partition])
        self._consumer.resume(*partitions)
        self._unplaced.difference_update(partitions)

    def _ask_positions(self, logs: Logs, stop: threading.Event) -> dict[tuple[str, int], Position]:
        """Those that the destination keeps: else Kafka's committed one counts, or the log's start."""
        destination = self._destination
        if not isinstance(destination, KeepsPositions):
            return {}
        asked = {(p.topic, p.partition): log for p, log in logs.items()}
        return self._asking.ask(lambda: destination.positions(asked), self._stay_in_the_group, stop)

    def _place_one(self, partition: TopicPartition, stored: Position | None, there: LogState) -> None:
        if stored is not None:
            check_log(partition.topic, partition.partition, stored, there)
        position = stored or committed_position(self._consumer, self.name, partition, there)
        self._places.place(partition, position, there)
        mapper = self._mappers[partition.topic]
        self._logs[partition] = Log(partition.topic, partition.partition, there.topic_id, position.log_epoch, mapper)
        self._accounted[partition] = position.next_offset
        self._counts.place(partition, position, there.end)
        epoch = "" if stored is None else f" of epoch {position.log_epoch}"
        log.info("%s: reads %s, partition %s, from offset %s%s", self.name, *partition, position.next_offset, epoch)

    def _settle(self, stop: threading.Event) -> None:
        """Wait until the writer has committed all that it was given, so that the stored positions are the latest."""
        while not self._handover.settle() and not stop.is_set():
            self._stay_in_the_group()
            stop.wait(0.02)

    def _segments(self, chunks: dict[TopicPartition, list[Chunk]]) -> list[Segment]:
        """What moved since the last poll: records, and offsets that held none."""
        segments = []
        for partition, accounted in list(self._accounted.items()):
            if partition in self._unplaced or partition not in self._consumer.assignment():
                continue
            here = self._places.compared(partition, chunks.get(partition, ()))
            for chunk in here:
                check_clock(self._home_kind, partition.topic, chunk)
            position = self._consumer.position(partition)
            self._places.check_end(partition, position, self._consumer.highwater(partition))
            if position > accounted:
                end = self._consumer.highwater(partition) or position
                segments += segments_of(self._logs[partition], accounted, position, here, end)
                self._accounted[partition] = position
        return segments

    def _hand_over(self, segments: list[Segment], stop: threading.Event) -> None:
        prepared = self._destination.prepare(segments)
        committed, told_at = committed_of(segments), time.monotonic()
        while not stop.is_set() and self._handover.failure is None:
            if self._handover.put(prepared, committed):
                return
            self._stay_in_the_group()
            if time.monotonic() - told_at > ANSWER_SECONDS:
                told_at = time.monotonic()
                self._counts.wait("destination", f"expected a commit every {ANSWER_SECONDS:g} s, none has ended yet")

    def _stay_in_the_group(self) -> None:
        """A poll that returns nothing: the group counts polls, not heartbeats alone. An error comes again."""
        self._progress.wait()
        self._consumer.pause(*self._consumer.assignment())
        unread: dict[TopicPartition, list[Chunk]] = {}
        with contextlib.suppress(RetriableError, OffsetOutOfRangeError, LogTruncationError):
            unread = self._consumer.poll(timeout_ms=0)
            self._look_at_ends()
        assert not unread, "expected nothing of partitions that are paused"  # it would count as empty offsets
        placed = [p for p in self._consumer.assignment() if p not in self._unplaced]
        self._consumer.resume(*placed)

    def _look_at_ends(self) -> None:
        """Ask where the logs end, now and then: a lag is seen although nothing is read."""
        if time.monotonic() >= self._next_look and self._accounted:
            self._next_look = time.monotonic() + LAG_SECONDS
            ends = self._consumer.end_offsets(list(self._accounted), timeout_ms=ANSWER_MS)
            self._counts.see_ends(ends)
            self._transactions.look(self._consumer, self._accounted, ends)

    def _commit_to_kafka(self) -> None:
        """Tell Kafka what the destination holds: for the lag tools, and for a destination that keeps no position."""
        held = {p: o for p, o in list(self._counts.positions.items()) if p in self._accounted}
        news = {p: to_commit(o, self._counts.marks.get(p)) for p, o in held.items() if self._in_kafka.get(p) != o}
        if news:
            self._in_kafka |= held
            self._consumer.commit_async(news, callback=note_commit)

    def _pause(self, stop: threading.Event, whom: str, why: str) -> None:
        seconds = self._counts.wait(whom, why)
        self._progress.wait()
        log.warning("%s: %s; nothing was committed, trying again in %s s", self.name, why, seconds)
        stop.wait(seconds)

    def report(self) -> dict[str, Any]:
        """The counts so far, as metrics and alerts read them."""
        seconds, why = self._progress.still()
        destination = self._destination
        headroom = destination.headroom_days() if isinstance(destination, PreparesDays) else None
        shown = (why if seconds > SHOWN_SECONDS else "", self._transactions.said())
        return self._counts.report(headroom, shown) | {"still_seconds": seconds}

    def end_if_still(self) -> str:
        """Let `run` raise where nothing has moved for too long: why, or nothing. It may hang, and never come to it."""
        seconds, why = self._progress.still()
        if seconds <= ENDED_SECONDS:
            return ""
        self._handover.failure = self._handover.failure or StackError(
            f"{why}. It ends, to begin anew as another member"
        )
        return why

    def _raise_failure(self, stop: threading.Event) -> None:
        """A fence means: read the stored positions again. Anything else ends the processor."""
        failure, self._handover.failure = self._handover.failure, None
        if isinstance(failure, Fenced):
            self._counts.fences += 1
            log.warning("%s: %s", self.name, failure)
            self._settle(stop)
            self._handover.failure = None
            self._place_anew()
        elif failure is not None:
            raise failure

    def _shut_down(self) -> None:
        self._handover.end()
        self._commit_to_kafka()
        self._consumer.close(autocommit=False, timeout_ms=1000)
        self._destination.close()
