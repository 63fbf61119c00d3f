"""Rows of a range from both sides, in order, a page at a time; each page keeps the rule by itself."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa
from psycopg.sql import Composable

from serve import cursors
from serve.crossing.sides import Snapshot
from serve.crossing.union import Batches, Key, Order, first, union
from serve.parameters import CONTROL, FIRST
from serve.spool import Sink, Spool
from tidemark.connections import Database


def keep(batches: Batches, spool: Spool) -> None:
    """Write batches into a spool, as `kept` reads them; nothing where there is none."""
    writer = None
    for batch in batches:
        writer = writer or pa.ipc.new_stream(Sink(spool), batch.schema)
        writer.write_batch(batch)
    if writer:
        writer.close()


def kept(spool: Spool) -> Generator[pa.RecordBatch, None, None]:
    """The batches of a spool, one in memory at a time."""
    if spool.size:
        spool.file.seek(0)
        with pa.ipc.open_stream(spool.file) as reader:
            yield from reader


Check = Callable[[Snapshot], None]


@dataclass(frozen=True)
class Rows:
    """A page of rows, as rule.Question asks for it.

    `realtime` and `warehouse` have the same columns, are ordered by `order`, and give at most one row beyond `limit`.
    `write` is given the batches of the page and takes all of them. `check` is asked of the warehouse first.
    """

    topics: tuple[str, ...]
    relations: dict[Database, tuple[str, ...]]
    realtime: Composable
    warehouse: Composable
    order: Order
    limit: int
    new_spool: Callable[[], Spool]
    write: Callable[[Batches], None]
    check: Check | None = None

    def hold(self, realtime: Snapshot) -> Spool:
        """realtime's rows of the page, in a spool."""
        spool = self.new_spool()
        try:
            keep(realtime.batches(self.realtime), spool)
        except BaseException:
            spool.close()
            raise
        return spool

    def join(self, held: Spool, warehouse: Snapshot) -> Key | None:
        """Write the page; the place of its last row where more rows follow."""
        if self.check:
            self.check(warehouse)
        with closing(kept(held)) as ours, closing(warehouse.batches(self.warehouse)) as theirs:
            return self._written(union(ours, theirs, self.order))

    def alone(self, held: Spool) -> Key | None:
        """The same of realtime's rows."""
        with closing(kept(held)) as ours:
            return self._written(ours)

    def _written(self, rows: Batches) -> Key | None:
        page = _Page(first(rows, self.limit + 1), self)
        self.write(iter(page))
        return page.last if page.is_full else None

    def release(self, held: Spool) -> None:
        """Close the spool."""
        held.close()


class _Page:
    """The rows up to the limit; what is beyond it says that more follow."""

    def __init__(self, batches: Batches, asked: Rows) -> None:
        self._batches, self._asked = batches, asked
        self.last: Key | None = None
        self.is_full = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        left = self._asked.limit
        for batch in self._batches:
            if batch.num_rows > left:
                self.is_full = True
            part = batch.slice(0, left)
            left -= part.num_rows
            if part.num_rows:
                self.last = self._asked.order.key(part, part.num_rows - 1)
                yield part


def cursor(place: Key) -> str:
    """The cursor of what comes after a place in the order."""
    return cursors.encode([value for _, value in place])


def place_of(word: str, kinds: tuple[type, ...]) -> Key:
    """The place that a cursor stands for: a time in microseconds since 1970, then values of these kinds or none."""
    values = cursors.decode(word)
    if len(values) != len(kinds) or values[0] is None:
        raise cursors.refused(word)
    if not all(value is None or _is_of(kind, value) for value, kind in zip(values, kinds, strict=True)):
        raise cursors.refused(word)
    try:
        FIRST + timedelta(microseconds=values[0])
    except OverflowError:
        raise cursors.refused(word) from None
    return tuple((value is None, value) for value in values)


def _is_of(kind: type, value: Any) -> bool:
    if kind is str:
        return isinstance(value, str) and not CONTROL.search(value)
    return type(value) is int and abs(value) < 1 << 62
