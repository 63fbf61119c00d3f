"""The topic mapping: what becomes of a record's fields. Pure: the same bytes give the same row or the same reject.

A record is decoded straight into its category's columns, and the object `attributes` is never opened: its bytes go to
the table as they came. A flat record of a foreign producer, whose extra fields stand beside the category's, takes the
slow path, and ends as the same row.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta, Raw

from stream_shim.records import Record
from tidemark.categories import CATEGORIES, required_fields

MAX_VALUE_BYTES = 1024 * 1024
# In jsonb a number of few bytes may stand for a hundred thousand digits; many of them are more text than Postgres can
# make. A shorter value cannot hold so many.
LONG_VALUE_BYTES = 8 * 1024
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A row is a tuple in the order of categories.table_columns: the category's values, the text of `attributes`, log epoch,
# partition, offset, and the text of received_at.
Row = tuple[Any, ...]
RowType = Any  # a msgspec Struct with the topic's columns and `attributes`, made from topics.yml


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be a row: `reason` is one of few words, to count by; `detail` says expected and received."""

    record: Record
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
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
_HUGE_EXPONENT = re.compile(rb"[0-9][eE]\+?[0-9]{4}")
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Unmappable(ValueError):
    """Why a record is no row; args are (reason, detail)."""


def received_at(timestamp_ms: int) -> str:
    """The record's time in Kafka as text, exact to the millisecond."""
    second, millisecond = divmod(timestamp_ms, 1000)
    return f"{_second_text(second)}.{millisecond:03d}+00:00"


@lru_cache(maxsize=64)
def _second_text(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).isoformat()[:19]


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

    def map_records(records: list[Record], log_epoch: int, partition: int) -> Mapped:
        mapped = Mapped(plain=_is_plain(records))
        keep_row, keep_record = mapped.rows.append, mapped.records.append
        stamp, stamp_text = -1, ""
        for record in records:
            offset, timestamp, _, value = record
            try:
                if value is None or len(value) > LONG_VALUE_BYTES or b"\\u0000" in value or not value:
                    value = _checked(value)
                *columns, raw = astuple(decode(value))
                attributes = bytes(raw).decode()
                if attributes[0] != "{":
                    raise Unmappable("wrong_type", "expected `attributes` to be an object")
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Unmappable) as error:
                try:
                    columns, attributes = _map_slowly(row_type, mapping, value, error)
                except Unmappable as why:
                    mapped.rejects.append(Reject(record, *why.args))
                    continue
            if timestamp != stamp:  # of a live topic, all records of a batch have the broker's one stamp
                stamp, stamp_text = timestamp, received_at(timestamp)
            keep_row((*columns, attributes, log_epoch, partition, offset, stamp_text))
            keep_record(record)
        return mapped

    return map_records


def _is_plain(records: list[Record]) -> bool:
    """JSON holds a backslash, or white space that is no blank, only as such: looked for once for all records."""
    joined = b"".join([record[3] or b"" for record in records])
    return not any(character in joined for character in (b"\\", b"\n", b"\t", b"\r"))


def _checked(value: bytes | None) -> bytes:
    """The value; Unmappable where it is empty, too large, or holds a NUL: what only looks like a NUL passes."""
    if not value:
        raise Unmappable("empty_value", "expected a JSON object, received no value")
    if len(value) > MAX_VALUE_BYTES:
        raise Unmappable("too_large", f"expected at most {MAX_VALUE_BYTES} bytes, received {len(value)}")
    if len(value) > LONG_VALUE_BYTES and _HUGE_EXPONENT.search(value):
        raise Unmappable("too_large", "expected numbers of moderate size, received one with an exponent of thousands")
    if _ESCAPED_NUL.search(value):
        raise Unmappable("nul_character", "expected text that Postgres can hold, received a NUL character")
    return value


def _map_slowly(
    row_type: RowType, mapping: dict[str, str], value: bytes | None, error: Exception
) -> tuple[list[Any], str]:
    """A flat record's extra fields go into `attributes`; whatever else it is, it is a reject with its reason."""
    if isinstance(error, Unmappable):
        raise error
    if isinstance(error, UnicodeDecodeError):
        raise Unmappable("invalid_utf8", f"expected UTF-8, received {error.object[error.start : error.start + 8]!r}")
    if isinstance(error, RecursionError):
        raise Unmappable("too_deep", "expected JSON of moderate depth, received deeper nesting than can be read")
    if "unknown field" not in str(error):
        raise Unmappable(_reason(error), str(error))
    try:
        return _from_flat(row_type, mapping, value or b"")
    except RecursionError:
        raise Unmappable(
            "too_deep", "expected JSON of moderate depth, received deeper nesting than can be read"
        ) from None
    except UnicodeDecodeError as second:
        raise Unmappable("invalid_utf8", str(second)) from None
    except msgspec.MsgspecError as second:
        raise Unmappable(_reason(second), str(second)) from None


def _from_flat(row_type: RowType, mapping: dict[str, str], value: bytes) -> tuple[list[Any], str]:
    fields = msgspec.json.decode(value, type=dict[str, Raw])
    wanted = {name: fields.pop(name) for name in mapping.values() if name in fields}
    nested = msgspec.json.decode(fields.pop("attributes", Raw(b"{}")), type=dict[str, Raw])
    attributes = msgspec.json.encode({**fields, **nested}).decode()
    *columns, _ = msgspec.structs.astuple(msgspec.json.decode(msgspec.json.encode(wanted), type=row_type))
    return columns, attributes


def _reason(error: Exception) -> str:
    if not isinstance(error, msgspec.ValidationError):
        return "not_json"
    return next((reason for part, reason in _REASONS if part in str(error)), "wrong_type")
