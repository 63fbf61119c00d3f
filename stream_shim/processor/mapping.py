"""The topic mapping: what becomes of a record's fields. Pure: the same bytes give the same row or the same reject.

A record is decoded straight into its category's columns, and the object `attributes` is never opened: its bytes go to
the table as they came. A flat record of a foreign producer, whose extra fields stand beside the category's, takes the
slow path, and ends as the same row.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta, Raw

from realtime.quarantine import Reject
from realtime.rows import EPOCH, LEAST_TIMESTAMP, MOST_TIMESTAMP, Row, received_at
from stream_shim.processor.records import Record
from tidemark.categories import CATEGORIES, required_fields

MAX_VALUE_BYTES = 1024 * 1024
# In jsonb a number of few bytes may stand for a hundred thousand digits; many of them are more text than Postgres can
# make. A shorter value cannot hold so many.
LONG_VALUE_BYTES = 8 * 1024
# A venue's clock that is ahead of arrival by more is wrong: its tick would be the last price until that day comes.
MOST_AHEAD = timedelta(days=1)

Columns = list[Sequence[Any]]  # the values of many rows, as far as `attributes`
RowType = Any  # a msgspec Struct with the topic's columns and `attributes`, under their names on the wire


@dataclass(slots=True)
class Mapped:
    """Rows, the records that they came from, and rejects, in order. `plain`: no value holds what COPY escapes."""

    rows: list[Row] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    plain: bool = True


Mapper = Callable[[list[Record], int, int], Mapped]

# What msgspec says of a record, and the word by which quarantine counts it.
_REASONS = (
    ("missing required field", "missing_field"),
    ("RFC3339", "invalid_timestamp"),
    ("timezone", "invalid_timestamp"),
    ("out of range", "not_finite"),
    ("enum value", "invalid_value"),
    (">= 1", "invalid_value"),
    ("<= ", "invalid_value"),
    ("length", "invalid_value"),
    ("Expected", "wrong_type"),
)
_ESCAPED = (b"\\", b"\n", b"\t", b"\r")  # JSON holds a backslash, or white space that is no blank, only as such
_HUGE_EXPONENT = re.compile(rb"[0-9][eE][+-]?[0-9]{4}")
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)  # a text of JSON: letters and digits in it are no number
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Unmappable(ValueError):
    """Why a record is no row; args are (reason, detail)."""


_FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, Unmappable)


def build_row_type(topic: str, mapping: dict[str, str]) -> RowType:
    """The row's type: the columns of the topic's category, under the wire names of its mapping."""
    hints = get_type_hints(CATEGORIES[topic], include_extras=True)
    fields = [
        (name, Annotated[datetime, Meta(tz=True)] if hints[name] is datetime else hints[name])
        for name in required_fields(topic)
    ]
    return msgspec.defstruct(
        topic,
        [*fields, ("attributes", Raw, Raw(b"{}"))],
        rename=mapping,
        forbid_unknown_fields=True,
        gc=False,
    )


def build_mapper(topic: str, mapping: dict[str, str]) -> Mapper:
    """A function from (records, log epoch, partition) to what becomes of them."""
    row_type = build_row_type(topic, mapping)
    decode, astuple = msgspec.json.Decoder(row_type).decode, msgspec.structs.astuple
    times_at = [at for at, name in enumerate(required_fields(topic)) if _is_time(topic, name)]

    def map_all(values: list[bytes]) -> Columns:
        """The columns of records that are all as they should be; any error means that one of them is not."""
        *values_of, raws = zip(*map(astuple, map(decode, values)), strict=True)
        columns: Columns = list(values_of)
        for at in times_at:
            columns[at] = _in_utc(columns[at])
        attributes = [str(raw, "utf-8") for raw in raws]
        if not all(text[0] == "{" for text in attributes):
            attributes = ["{}" if text == "null" else text for text in attributes]
            if not all(text[0] == "{" for text in attributes):
                raise Unmappable("wrong_type", "expected `attributes` to be an object")
        return [*columns, attributes]

    def map_each(mapped: Mapped) -> Columns:
        """The same, a record at a time: those that are no rows leave `mapped.records` and become rejects."""
        rows, records, mapped.records = [], mapped.records, []
        for record in records:
            try:
                _check_timestamp(record.timestamp)
                _check_whole(record)
                row = _map_one(row_type, mapping, map_all, record.value)
                _check_not_ahead([row[at] for at in times_at], record.timestamp)
                rows.append(row)
                mapped.records.append(record)
            except Unmappable as why:
                mapped.rejects.append(Reject(record, *why.args))
        return list(zip(*rows, strict=True))

    def map_records(records: list[Record], log_epoch: int, partition: int) -> Mapped:
        if not records:
            return Mapped()
        values = [record.value or b"" for record in records]
        joined = b"".join(values)
        plain = not any(character in joined for character in _ESCAPED)
        mapped = Mapped(records=records, plain=plain)
        try:
            odd = any(map(_no_date, {record.timestamp for record in records}))
            odd = odd or (not plain and b"\\u0000" in joined) or len(max(values, key=len)) > LONG_VALUE_BYTES
            columns = map_each(mapped) if odd else map_all(values)
            latest = [max(columns[at]) for at in times_at if columns]
            if any(_is_ahead(time, min(record.timestamp for record in records)) for time in latest):
                mapped.records = records
                columns = map_each(mapped)
        except _FAULTS:
            columns = map_each(mapped)
        texts = {time: received_at(time) for time in {record.timestamp for record in mapped.records}}
        offsets, times = [r.offset for r in mapped.records], [texts[r.timestamp] for r in mapped.records]
        same = [[log_epoch] * len(offsets), [partition] * len(offsets)]
        mapped.rows = list(zip(*columns, *same, offsets, times, strict=True))
        return mapped

    return map_records


def _map_one(
    row_type: RowType, mapping: dict[str, str], map_all: Callable[[list[bytes]], Columns], value: bytes | None
) -> list[Any]:
    """One record's values and the text of its `attributes`. Unmappable says why there are none."""
    value = _checked(value)
    try:
        return [column[0] for column in map_all([value])]
    except Unmappable:
        raise
    except _FAULTS as error:
        return _map_slowly(row_type, mapping, value, error)


def _is_time(topic: str, field: str) -> bool:
    return get_type_hints(CATEGORIES[topic])[field] is datetime


def _in_utc(times: Sequence[datetime]) -> Sequence[datetime]:
    """The same moments in UTC: of other zones Postgres takes fewer than RFC 3339 has. OverflowError before year 1."""
    if {time.tzinfo for time in times} <= {UTC}:
        return times
    return [time.astimezone(UTC) for time in times]


def _is_ahead(time: datetime, timestamp_ms: int) -> bool:
    return (time - EPOCH) // timedelta(milliseconds=1) - timestamp_ms > MOST_AHEAD // timedelta(milliseconds=1)


def _check_not_ahead(times: list[datetime], timestamp_ms: int) -> None:
    for time in times:
        if _is_ahead(time, timestamp_ms):
            raise Unmappable(
                "invalid_timestamp",
                f"expected a time at most {MOST_AHEAD.days} day after arrival, received {time.isoformat()} in a record "
                f"of {received_at(timestamp_ms)}",
            )


def _no_date(timestamp_ms: int) -> bool:
    return not LEAST_TIMESTAMP <= timestamp_ms <= MOST_TIMESTAMP


def _check_timestamp(timestamp_ms: int) -> None:
    if _no_date(timestamp_ms):
        raise Unmappable(
            "invalid_timestamp", f"expected a record stamped in milliseconds since 1970, received {timestamp_ms}"
        )


def _check_whole(record: Record) -> None:
    if record.missing:
        received = len(record.key or b"") + len(record.value or b"") + record.missing
        raise Unmappable(
            "too_large",
            f"expected at most {MAX_VALUE_BYTES} bytes, received {received} with its key: only its begin is kept here, "
            "all of it is in Kafka as long as the topic keeps it",
        )


def _checked(value: bytes | None) -> bytes:
    """The value; Unmappable where it is empty, too large, or holds a NUL: what only looks like a NUL passes."""
    if not value:
        raise Unmappable("empty_value", "expected a JSON object, received no value")
    if len(value) > MAX_VALUE_BYTES:
        raise Unmappable("too_large", f"expected at most {MAX_VALUE_BYTES} bytes, received {len(value)}")
    if len(value) > LONG_VALUE_BYTES and _HUGE_EXPONENT.search(value) and _HUGE_EXPONENT.search(_TEXT.sub(b"", value)):
        raise Unmappable("too_large", "expected numbers of moderate size, received one with an exponent of thousands")
    if b"\\u0000" in value and _ESCAPED_NUL.search(value):
        raise Unmappable("nul_character", "expected text that Postgres can hold, received a NUL character")
    return value


def _map_slowly(row_type: RowType, mapping: dict[str, str], value: bytes, error: Exception) -> list[Any]:
    """A flat record's extra fields go into `attributes`; whatever else it is, it is a reject with its reason."""
    if "unknown field" in str(error):
        try:
            return _from_flat(row_type, mapping, value)
        except _FAULTS as second:
            error = second
    if isinstance(error, RecursionError):
        raise Unmappable("too_deep", "expected JSON of moderate depth, received deeper nesting than can be read")
    if isinstance(error, OverflowError):
        raise Unmappable("invalid_timestamp", "expected a time from year 1 on, in UTC, received one before")
    if isinstance(error, UnicodeDecodeError):
        raise Unmappable("invalid_utf8", f"expected UTF-8, received {error.object[error.start : error.start + 8]!r}")
    raise Unmappable(_reason(error), str(error))


def _from_flat(row_type: RowType, mapping: dict[str, str], value: bytes) -> list[Any]:
    fields = msgspec.json.decode(value, type=dict[str, Raw])
    wanted = {name: fields.pop(name) for name in mapping.values() if name in fields}
    nested = msgspec.json.decode(fields.pop("attributes", Raw(b"{}")), type=dict[str, Raw] | None) or {}
    attributes = msgspec.json.encode({**fields, **nested}).decode()
    *columns, _ = msgspec.structs.astuple(msgspec.json.decode(msgspec.json.encode(wanted), type=row_type))
    return [*(_in_utc([value])[0] if isinstance(value, datetime) else value for value in columns), attributes]


def _reason(error: Exception) -> str:
    if not isinstance(error, msgspec.ValidationError):
        return "not_json"
    return next((reason for part, reason in _REASONS if part in str(error)), "wrong_type")
