"""What is said where a range cannot be answered whole: which of its days are missing."""

from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from psycopg.sql import SQL, Literal

from serve.crossing.rule import Question, have_left, reading
from serve.crossing.sides import SideAway, SideRefused, Sides
from serve.problems import LOADS, Problem

_DAY = timedelta(days=1)
_MAKES = {"realtime": "`tidemark up`", "warehouse": f"`{LOADS}`"}
_NEWEST = "select max(received_date) from marts.fct_promotions where is_verified and topic = any({})"


Span = tuple[datetime, datetime]


def away(sides: Sides, role: str, question: Question[Any, Any], error: SideAway, asked: Span) -> Problem:
    """503: the days of the range that the database which does not answer has, as far as the other one says."""
    span = asked
    with suppress(SideAway, SideRefused):  # where both are away, every day is missing
        span = _of_the_side(sides, role, question, error, asked)
    days = missing(*span)
    if error.is_absent:
        title, todo = "not built yet", f"Run {_MAKES[error.database]}: it makes what is not there"
    else:
        title, todo = "a database does not answer", "Try again; `tidemark status` says why"
    return Problem(
        503,
        title,
        f"{error}: the days {days['first']} to {days['last']} (UTC) would be missing, and a shorter answer is none. "
        + todo,
        headers={"Retry-After": "5"},
        database=error.database,
        missing_days=days,
    )


def _of_the_side(sides: Sides, role: str, question: Question[Any, Any], error: SideAway, asked: Span) -> Span:
    if error.database == "warehouse":
        with reading(sides, "realtime", role, question) as realtime:
            tidemark = max((left.day for left in have_left(realtime, question.topics)), default=None)
    else:
        with reading(sides, "warehouse", role, question) as warehouse:
            [(tidemark,)] = warehouse.rows(SQL(_NEWEST).format(Literal(list(question.topics))))
    if tidemark is None:
        return asked
    (from_at, to_at), passed_at = asked, datetime.combine(tidemark, time(), UTC) + _DAY
    of_it = (from_at, min(to_at, passed_at)) if error.database == "warehouse" else (max(from_at, passed_at), to_at)
    return of_it if of_it[0] < of_it[1] else asked


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
