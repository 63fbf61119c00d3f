"""The union of what both databases hold of a range: two ordered streams of Arrow batches become one, each row once.

A row's identity is its place in its log. Whatever has none is the warehouse's alone. Both copies of a row have the same
values, as promotion compares them by checksum, so that they have the same place in the order: a repeat is next to its
first copy, and neither side has to be held whole.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

IDENTITY = ("log_epoch", "kafka_partition", "kafka_offset")
_SIDE = "_side"
Batches = Iterator[pa.RecordBatch]
Key = tuple[tuple[bool, Any], ...]  # of each column: whether it is null, which comes last, and its value


@dataclass(frozen=True)
class Order:
    """The columns that rows are ordered by, as Postgres orders them (text by its bytes); `identity` is among them."""

    columns: tuple[str, ...]
    identity: tuple[str, ...] = IDENTITY

    def key(self, batch: pa.RecordBatch, row: int) -> Key:
        """The place of a row in the order."""
        return tuple((value is None, value) for value in (_scalar(batch, name, row) for name in self.columns))


def _scalar(batch: pa.RecordBatch, name: str, row: int) -> Any:
    scalar = batch.column(name)[row]
    return scalar.value if pa.types.is_timestamp(scalar.type) else scalar.as_py()


class _Stream:
    """The rest of one side."""

    def __init__(self, batches: Batches, order: Order) -> None:
        self._batches, self._order = batches, order
        self.batch: pa.RecordBatch | None = None
        self._advance()

    def _advance(self) -> None:
        self.batch = next((batch for batch in self._batches if batch.num_rows), None)

    def last(self) -> Key:
        assert self.batch is not None
        return self._order.key(self.batch, self.batch.num_rows - 1)

    def take(self, until: Key) -> pa.RecordBatch:
        """The rows of this batch up to and with a place in the order."""
        assert self.batch is not None
        batch = self.batch
        count = bisect_right(range(batch.num_rows), until, key=lambda row: self._order.key(batch, row))
        self.batch = batch.slice(count)
        if count == batch.num_rows:
            self._advance()
        return batch.slice(0, count)

    def rest(self) -> Batches:
        while self.batch is not None:
            yield self.batch
            self._advance()


def union(realtime: Batches, warehouse: Batches, order: Order) -> Batches:
    """Both sides in one order, of rows that both have realtime's copy."""
    ours, theirs = _Stream(realtime, order), _Stream(warehouse, order)
    while ours.batch is not None and theirs.batch is not None:
        until = min(ours.last(), theirs.last())
        yield from _merged([ours.take(until), theirs.take(until)], order)
    yield from ours.rest()
    yield from theirs.rest()


def _merged(sides: Sequence[pa.RecordBatch], order: Order) -> Batches:
    """The rows of the same stretch of both sides, the repeats left out."""
    there = [batch for batch in sides if batch.num_rows]
    if len(there) < 2:
        yield from there
        return
    tables = [
        pa.Table.from_batches([batch]).append_column(_SIDE, pa.repeat(pa.scalar(number, pa.int8()), batch.num_rows))
        for number, batch in enumerate(sides)
    ]
    both = pa.concat_tables(tables)
    sort_keys = [(name, "ascending") for name in (*order.columns, _SIDE)]
    ordered = both.take(pc.sort_indices(both, sort_keys=sort_keys)).combine_chunks()
    kept = pa.concat_arrays([pa.array([True]), pc.invert(_is_repeat(ordered, order))])
    yield from ordered.filter(kept).drop_columns([_SIDE]).combine_chunks().to_batches()


def _is_repeat(ordered: pa.Table, order: Order) -> pa.BooleanArray:
    """Of each row but the first, whether it has the identity of the one before; one without any is no repeat."""
    repeats = None
    for name in order.identity:
        column = ordered.column(name).chunk(0)
        same = pc.fill_null(pc.equal(column[1:], column[:-1]), fill_value=False)
        repeats = same if repeats is None else pc.and_(repeats, same)
    return repeats


def first(batches: Batches, count: int) -> Batches:
    """The first rows."""
    for batch in batches:
        if count <= 0:
            return
        yield batch.slice(0, count)
        count -= batch.num_rows
