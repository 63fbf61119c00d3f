"""The database `realtime`: records become rows by the topic mapping, and rows and positions commit together.

How they are written, exactly once, is the database's own matter: realtime/writer.py.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from realtime.partitions import days_after_today
from realtime.positions import LogState, Move, Position
from realtime.writer import Batch, Refused, Writer
from stream_shim.buffer.entries import TopicEntry
from stream_shim.processor.destination import NotTaken, Segment, TopicAndPartition, Written
from stream_shim.processor.mapping import build_mapper
from tidemark.settings import Settings


@contextmanager
def _expected(what: str) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise NotTaken(f"expected the database realtime to {what}, received {error}") from error


class PostgresDestination:
    """One processor's way into `realtime`."""

    def __init__(self, settings: Settings, topics: dict[str, TopicEntry]) -> None:
        self._writer = Writer(settings)
        self._mappers = {topic: build_mapper(topic, entry.mapping) for topic, entry in topics.items()}
        self._epochs: dict[TopicAndPartition, int] = {}
        self._made_until: date | None = None

    def positions(self, logs: dict[TopicAndPartition, LogState]) -> dict[TopicAndPartition, Position]:
        """Where to read each partition on, by the offsets stored with the rows. EpochEnded, or NotTaken."""
        with _expected("take rows"):
            found = self._writer.positions(logs)
        self._epochs |= {where: position.log_epoch for where, position in found.items()}
        return found

    def prepare(self, segments: list[Segment]) -> Batch:
        """Map and serialize: no I/O."""
        batch = Batch()
        for segment in segments:
            log_epoch = self._epochs[segment.topic, segment.partition]
            mapped = self._mappers[segment.topic](segment.records, log_epoch, segment.partition)
            move = Move(
                segment.topic, segment.partition, log_epoch, segment.from_offset, segment.next_offset,
                segment.empty, segment.log_end, segment.mark,
            )  # fmt: skip
            batch.add(move, mapped.rows, mapped.records, mapped.plain, mapped.rejects)
        return batch

    def commit(self, batch: Batch) -> Written:
        """All of the batch in one transaction. Fenced: another consumer is ahead. NotTaken: no rows are taken now."""
        with _expected("take rows"):
            rejects = self._writer.write(batch)
        rows = Counter({topic: -rejected for topic, rejected in rejects.items()})
        for piece in batch.pieces:
            rows[piece.move.topic] += len(piece.rows) + len(piece.rejects)
        return Written(dict(rows), rejects)

    def keep_up(self) -> None:
        """Make the partitions of today and the days ahead."""
        with _expected("make partitions"):
            self._made_until = self._writer.ensure_ahead()

    def headroom_days(self) -> int | None:
        """How many days after today have a partition, as far as is known here; None before they were first made."""
        return None if self._made_until is None else days_after_today(self._made_until)

    def close(self) -> None:
        """Give the connection back."""
        self._writer.close()
