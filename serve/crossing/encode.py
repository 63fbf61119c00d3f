"""Batches of Arrow as the formats of an answer."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import msgspec
import pyarrow as pa

from serve.crossing.ticks import EPOCH, TIME
from serve.crossing.union import Batches
from serve.formats import ARROW, CSV, JSON, Format
from serve.spool import Sink, Spool

# Types whose values lie side by side in memory, as `struct` calls them.
_FIXED: dict[pa.DataType, Any] = {pa.float64(): "d", pa.int64(): "q", pa.int16(): "h", TIME: "q"}
RAW = "attributes"  # text that is JSON already


def shaped(batches: Batches, schema: pa.Schema, constants: Mapping[str, str]) -> Batches:
    """The columns of an answer in their order; `constants` are those that are the same in every row."""
    for batch in batches:
        columns = [
            pa.repeat(pa.scalar(constants[name], pa.string()), batch.num_rows)
            if name in constants
            else batch.column(name).cast(schema.field(name).type)
            for name in schema.names
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def writer(form: Format, spool: Spool, schema: pa.Schema) -> Callable[[Batches], int]:
    """What writes batches of a schema into a spool in a format, and counts their rows."""
    if form is ARROW:
        return lambda batches: _write(pa.ipc.new_stream(Sink(spool), schema), batches)
    if form is CSV:
        from pyarrow.csv import CSVWriter

        text = pa.schema([field.with_type(pa.string()) if field.type == TIME else field for field in schema])
        return lambda batches: _write(CSVWriter(Sink(spool), text), map(_written_out, batches))
    return lambda batches: _write_json(spool, batches, is_array=form is JSON)


def _written_out(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times as every other answer has them: Arrow's own text has a space in the place of the T."""
    from pyarrow.compute import strftime

    columns = [strftime(one, "%Y-%m-%dT%H:%M:%SZ") if one.type == TIME else one for one in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _write(writer: Any, batches: Batches) -> int:
    rows = 0
    with writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _write_json(spool: Spool, batches: Batches, *, is_array: bool) -> int:
    """One object a line; as an array, a comma before each line but the first."""
    encoder, rows = msgspec.json.Encoder(), 0
    for batch in batches:
        if not batch.num_rows:
            continue
        if is_array:
            spool.write(b",\n" if rows else b"[")
            spool.write(b",\n".join(map(encoder.encode, _objects(batch))))
        else:
            spool.write(encoder.encode_lines(list(_objects(batch))))
        rows += batch.num_rows
    if is_array:
        spool.write(b"]" if rows else b"[]")
    return rows


def _objects(batch: pa.RecordBatch) -> Iterator[msgspec.Struct]:
    """A row each; to ask Arrow for them value by value takes four times as long as all the rest."""
    columns = [
        _raw(column) if name == RAW else values(column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return map(_row(tuple(batch.schema.names)), *columns)


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows as objects."""
    for row in zip(*map(values, batch.columns), strict=True):
        yield dict(zip(batch.schema.names, row, strict=True))


@cache
def _row(names: tuple[str, ...]) -> type[msgspec.Struct]:
    return msgspec.defstruct("Row", names, gc=False)  # no value of it can hold the row, so no cycle


def _raw(column: pa.Array) -> list[msgspec.Raw | None]:
    return [None if text is None else msgspec.Raw(text.encode()) for text in column.to_pylist()]


def values(column: pa.Array) -> list[Any]:
    """A column's values as objects, those that are often the same made once; times are of UTC."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_boolean(kind):
        encoded = column.dictionary_encode()
        words = [*encoded.dictionary.to_pylist(), None]
        return [words[index] for index in values(encoded.indices.fill_null(-1).cast(pa.int64()))]
    if column.null_count or kind not in _FIXED:
        return column.to_pylist()  # type: ignore[no-any-return]
    held = memoryview(column.buffers()[1]).cast(_FIXED[kind])[column.offset : column.offset + len(column)].tolist()
    return [EPOCH + timedelta(microseconds=value) for value in held] if kind == TIME else held
