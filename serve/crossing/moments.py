"""Moments, ranges and cursors as a request names them."""

import base64
import binascii
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec

from serve.crossing.union import Key
from serve.problems import Problem, bad_request

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.]\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EXPECTED = "a moment with its offset, such as 2024-11-03T16:00:00Z, or a date"
# What Postgres and Arrow both have, with room for the end of a bar.
_FIRST, _LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)


def moment(text: str, name: str) -> datetime:
    """A moment in UTC; a date is its first instant. Problem 400 for any other text, and for one without its offset."""
    try:
        if _DATE.fullmatch(text):
            found = datetime.combine(date.fromisoformat(text), time(), UTC)
        elif _MOMENT.fullmatch(text):
            found = datetime.fromisoformat(text).astimezone(UTC)
        else:
            raise bad_request("not a moment", f"{name} to be {_EXPECTED}", text, "write + as %2B")
    except (ValueError, OverflowError):
        raise bad_request("not a moment", f"{name} to be {_EXPECTED}", text) from None
    if not _FIRST <= found <= _LAST:
        raise bad_request("not a moment", f"{name} to be between the years 1 and 9999", text)
    return found


def half_open(from_text: str, to_text: str, most: timedelta) -> tuple[datetime, datetime]:
    """The range from one moment up to, and without, another. Problem 400 where it is empty or too long."""
    from_at, to_at = moment(from_text, "from"), moment(to_text, "to")
    if from_at >= to_at:
        raise bad_request("not a range", "from to be before to", f"{from_text} to {to_text}")
    if to_at - from_at > most:
        raise bad_request(
            "the range is too long", f"at most {most.days} days", f"{from_text} to {to_text}", "ask for parts of it"
        )
    return from_at, to_at


def name(value: str, parameter: str) -> str:
    """A symbol, a source or another name as it is. Problem 400 where it cannot be one."""
    if _CONTROL.search(value):
        raise bad_request("not a name", f"{parameter} without control characters", value)
    return value


def cursor(place: Key) -> str:
    """A place in the order of rows as a word for `after`."""
    values = [value for _, value in place]
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def place(word: str, kinds: tuple[type, ...]) -> Key:
    """The place that a cursor stands for: a time in microseconds since 1970, then values of these kinds or none."""
    try:
        values: list[Any] = msgspec.json.decode(base64.b64decode(word + "=" * (-len(word) % 4), b"-_", validate=True))
        if not isinstance(values, list) or len(values) != len(kinds) or values[0] is None:
            raise ValueError(word)
        if not all(value is None or _is_of(kind, value) for value, kind in zip(values, kinds, strict=True)):
            raise ValueError(word)
        _FIRST + timedelta(microseconds=values[0])
    except (ValueError, binascii.Error, msgspec.MsgspecError, OverflowError, UnicodeError):
        raise bad_request("not a cursor", "after to be as `Link` had it", word, "begin without it") from None
    return tuple((value is None, value) for value in values)


def _is_of(kind: type, value: Any) -> bool:
    if kind is str:
        return isinstance(value, str) and not _CONTROL.search(value)
    return type(value) is int and abs(value) < 1 << 62


def missing(from_at: datetime, to_at: datetime) -> dict[str, str]:
    """The days (UTC) of a range, as an answer names them."""
    last = to_at - timedelta(microseconds=1)
    return {"first": f"{from_at:%Y-%m-%d}", "last": f"{last:%Y-%m-%d}"}


def gone(days: list[date]) -> Problem:
    """410: ticks that were deleted on purpose."""
    return Problem(
        410,
        "ticks were deleted",
        f"expected every tick of the range, those of {len(days)} of its days ({days[0]} to {days[-1]}) were deleted "
        "from the warehouse: their bars are here, and the lake has them",
        missing_days=[day.isoformat() for day in days],
    )
