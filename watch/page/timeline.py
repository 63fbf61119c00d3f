"""How a part was: the worst of all that was seen of it at each moment, over a day and over 90 days."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from watch.history import DAY_SECONDS, Span
from watch.observation import WORST_FIRST

DAYS = 90
BUCKET_SECONDS = 300
RANK = {state: rank for rank, state in enumerate(WORST_FIRST)}


class Lasted(NamedTuple):
    """A state from one moment to another, half-open; seconds since 1970."""

    state: str
    begin: float
    end: float


def worst(things: Iterable[Sequence[Span]]) -> list[Lasted]:
    """At each moment the worst of the states, in order; nothing where nothing was looked at."""
    edges = sorted(
        edge
        for spans in things
        for span in spans
        for edge in ((span.begin, 1, RANK[span.state]), (span.end, -1, RANK[span.state]))  # type: ignore[index]
    )
    counts, found, at = [0] * len(WORST_FIRST), list[Lasted](), 0.0
    for moment, change, rank in edges:
        state = next((name for name, count in zip(WORST_FIRST, counts, strict=True) if count), None)
        if state and moment > at:
            if found and found[-1].state == state and found[-1].end == at:
                found[-1] = found[-1]._replace(end=moment)
            else:
                found.append(Lasted(state, at, moment))
        at = moment
        counts[rank] += change
    return found


def buckets(lasted: Iterable[Lasted], begin: float, end: float, seconds: float = BUCKET_SECONDS) -> list[str]:
    """The worst state of each bucket of a time, an empty text where nothing was looked at."""
    count = int((end - begin + seconds - 1) // seconds)
    found = [""] * count
    for state, first, last in lasted:
        low, high = max(first, begin), min(last, end)
        if low >= high:
            continue
        for number in range(int((low - begin) // seconds), min(count - 1, int((high - begin - 1e-6) // seconds)) + 1):
            if not found[number] or RANK[state] < RANK[found[number]]:  # type: ignore[index]
                found[number] = state
    return found


def days(lasted: Iterable[Lasted], now: float, count: int = DAYS) -> list[dict[str, float]]:
    """The seconds in each state of each of the last days (UTC), today last."""
    first = first_day(now, count)
    found: list[dict[str, float]] = [{} for _ in range(count)]
    for state, begin, end in lasted:
        at = max(begin, first)
        while at < end:
            day = int((at - first) // DAY_SECONDS)
            if day >= count:
                break
            until = min(end, first + (day + 1) * DAY_SECONDS)
            found[day][state] = found[day].get(state, 0.0) + until - at
            at = until
    return found


def first_day(now: float, count: int = DAYS) -> float:
    """Where the first of the last days begins."""
    return (now // DAY_SECONDS - count + 1) * DAY_SECONDS
