"""CSV of Postgres as an Arrow stream. Loaded with the first answer that asks for it, as pyarrow.csv takes a while."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from serve.formats import Output
from serve.problems import Problem
from serve.spool import Sink, Spool

BLOCK = 1 << 20  # bytes of CSV that become a batch
_TYPES = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "timestamp without time zone": pa.timestamp("us"),
}
NUMERIC = "numeric"


class _Kept:
    """A spool's file that a reader does not close."""

    closed = False

    def __init__(self, spool: Spool) -> None:
        spool.file.seek(0)
        self.read = spool.file.read

    def close(self) -> None:
        """Nothing: the spool is closed by whoever made it."""


def arrow_of(rows: Spool, outputs: Sequence[Output], count: int) -> Spool:
    """An Arrow stream of the same rows; the CSV is closed. Problem 406 where Arrow has no such value (`infinity`).

    Numerics are decimals that hold every value of the answer exactly, or text where none can.
    """
    schema = _schema(rows, outputs, count)
    stream = rows.another()
    try:
        with pa.ipc.new_stream(Sink(stream), schema) as writer:
            for batch in _batches(rows, {field.name: _read_as(field.type) for field in schema}) if count else ():
                writer.write_batch(batch.cast(schema))
    except pa.ArrowInvalid as error:
        stream.close()
        said = str(error).splitlines()[0]
        raise Problem(
            406, "no such value in Arrow", f"expected values that Arrow has, received {said}: ask for JSON"
        ) from None
    except BaseException:
        stream.close()
        raise
    rows.close()
    return stream


def _schema(rows: Spool, outputs: Sequence[Output], count: int) -> pa.Schema:
    numerics = [each.name for each in outputs if each.type == NUMERIC]
    decimals = _decimals(rows, numerics) if numerics and count else dict.fromkeys(numerics, pa.decimal128(38, 0))
    return pa.schema([(each.name, decimals.get(each.name) or _TYPES.get(each.type, pa.string())) for each in outputs])


def _decimals(rows: Spool, names: list[str]) -> dict[str, pa.DataType]:
    """The decimal that holds each column's every value."""
    most = dict.fromkeys(names, (0, 0))  # digits before and behind the point
    texts: set[str] = set()
    for batch in _batches(rows, dict.fromkeys(names, pa.string()), names):
        for name in names:
            column = batch.column(name)
            if pc.any(pc.match_substring_regex(column, "[^-0-9.]")).as_py():  # NaN, Infinity
                texts.add(name)
            length, point = pc.utf8_length(column), pc.find_substring(column, ".")
            behind = pc.if_else(pc.equal(point, -1), 0, pc.subtract(pc.subtract(length, point), 1))
            before = pc.if_else(pc.equal(point, -1), length, point)
            whole, scale = pc.max(before).as_py() or 0, pc.max(behind).as_py() or 0
            most[name] = (max(most[name][0], whole), max(most[name][1], scale))
    return {name: pa.string() if name in texts else _decimal(*most[name]) for name in names}


def _decimal(before: int, behind: int) -> pa.DataType:
    if before + behind <= 38:
        return pa.decimal128(38, behind)
    return pa.decimal256(76, behind) if before + behind <= 76 else pa.string()


def _read_as(kind: pa.DataType) -> pa.DataType:
    """Arrow's reader of CSV makes no decimal of more than 38 digits."""
    return pa.string() if pa.types.is_decimal256(kind) else kind


def _batches(rows: Spool, types: dict[str, pa.DataType], names: list[str] | None = None) -> Iterable[pa.RecordBatch]:
    return csv.open_csv(  # type: ignore[no-any-return]
        pa.PythonFile(_Kept(rows), mode="r"),
        read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),
        # An empty line is a row: of one column that has no value.
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=types,
            include_columns=names,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["true"],
            false_values=["false"],
        ),
    )
