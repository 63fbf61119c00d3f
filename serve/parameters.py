"""Moments, ranges, names and formats as a request names them."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import Query

from serve.formats import ROWS
from serve.problems import bad_request

Name = Annotated[str, Query(min_length=1, max_length=200)]
Wanted = Annotated[str | None, Query(alias="format", description="`json`, `ndjson`, `csv` or `arrow`")]
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Rows, in order", "content": {form.media_type: {} for form in ROWS}},
}

DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.]\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EXPECTED = "a moment with its offset, such as 2024-11-03T16:00:00Z, or a date"
# What Postgres and Arrow both have, with room for the end of a bar.
FIRST, LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)


def moment(text: str, name: str) -> datetime:
    """A moment in UTC; a date is its first instant. Problem 400 for any other text, and for one without its offset."""
    try:
        if DATE.fullmatch(text):
            found = datetime.combine(date.fromisoformat(text), time(), UTC)
        elif _MOMENT.fullmatch(text):
            found = datetime.fromisoformat(text).astimezone(UTC)
        else:
            raise bad_request("not a moment", f"{name} to be {_EXPECTED}", text, "write + as %2B")
    except (ValueError, OverflowError):
        raise bad_request("not a moment", f"{name} to be {_EXPECTED}", text) from None
    if not FIRST <= found <= LAST:
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
    if CONTROL.search(value):
        raise bad_request("not a name", f"{parameter} without control characters", value)
    return value
