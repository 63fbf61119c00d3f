"""Batches of Arrow as the formats of an answer."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pyarrow as pa

from serve.crossing.union import Batches
from serve.formats import ARROW, CSV, JSON, Format
from serve.spool import Sink, Spool

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

        return lambda batches: _write(CSVWriter(Sink(spool), schema), batches)
    return lambda batches: _write_json(spool, batches, is_array=form is JSON)


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
        if is_array:
            spool.write(b",\n" if rows else b"[")
            spool.write(b",\n".join(map(encoder.encode, _objects(batch))))
        else:
            spool.write(encoder.encode_lines(list(_objects(batch))))
        rows += batch.num_rows
    if is_array:
        spool.write(b"]" if rows else b"[]")
    return rows


def _objects(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    for row in batch.to_pylist():
        if row.get(RAW) is not None:
            row[RAW] = msgspec.Raw(row[RAW].encode())
        yield row
