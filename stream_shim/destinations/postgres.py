"""Kind `postgres`: the database `realtime`, rows and positions in one transaction, exactly once.

How they are written is the database's own matter: realtime/writer.py.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial

from realtime.partitions import days_after_today
from realtime.positions import LogState, Move, Position
from realtime.rows import Row, lines
from realtime.writer import Batch, Piece, Refused, Writer
from stream_shim.processor.destination import NotTaken, TopicAndPartition, Written
from stream_shim.processor.records import Record
from stream_shim.processor.segments import Segment
from tidemark.settings import Settings


@contextmanager
def _expected(what: str) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise NotTaken(f"expected the database realtime to {what}, received {error}") from error


class PostgresDestination:
    """One processor's way into `realtime`."""

    def __init__(self, settings: Settings) -> None:
        self._writer = Writer(settings)
        self._made_until: date | None = None

    def positions(self, logs: dict[TopicAndPartition, LogState]) -> dict[TopicAndPartition, Position]:
        """Where to read each partition on, by the offsets stored with the rows. EpochEnded, or NotTaken."""
        with _expected("take rows"):
            return self._writer.positions(logs)

    def prepare(self, segments: list[Segment]) -> Batch:
        """Map and serialize: no I/O."""
        batch = Batch()
        for segment in segments:
            log, mapped = segment.log, segment.rows()
            move = Move(
                log.topic, log.partition, log.log_epoch, segment.from_offset, segment.next_offset,
                segment.empty, segment.log_end, segment.mark,
            )  # fmt: skip
            text = lines(log.topic, mapped.rows, mapped.plain) if mapped.rows else b""
            piece = Piece(move, text, len(mapped.rows), mapped.rejects, partial(_again, segment))
            batch.add(piece, mapped.rows)
        return batch

    def commit(self, batch: Batch) -> Written:
        """All of the batch in one transaction. Fenced: another consumer is ahead. NotTaken: no rows are taken now."""
        with _expected("take rows"):
            rejects = self._writer.write(batch)
        rows = Counter({topic: -rejected for topic, rejected in rejects.items()})
        for piece in batch.pieces:
            rows[piece.move.topic] += piece.row_count + len(piece.rejects)
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


def _again(segment: Segment) -> tuple[list[Row], list[Record]]:
    mapped = segment.rows()
    return mapped.rows, mapped.records
