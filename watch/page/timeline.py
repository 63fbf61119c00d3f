"""How a part was: the worst of all that was seen of it at each moment, over a day and over 90 days."""

from collections.abc import Iterable
from typing import NamedTuple

from watch.history import DAY_SECONDS, Span
from watch.observation import WORST_FIRST

DAYS = 90
BUCKET_SECONDS = 300
RANK: dict[str, int] = {state: rank for rank, state in enumerate(WORST_FIRST)}


class Lasted(NamedTuple):
    """A state from one moment to another, half-open; seconds since 1970."""

    state: str
    begin: float
    end: float


def worst(things: Iterable[Iterable[Span | Lasted]]) -> list[Lasted]:
    """At each moment the worst of the states, in order; nothing where nothing was looked at."""
    edges: list[tuple[float, int]] = []  # a state begins: its rank; it ends: the complement of that
    for spans in things:
        for state, begin, end, *_ in spans:
            rank = RANK[state]
            edges += ((begin, rank), (end, ~rank))
    edges.sort()
    counts, found, at = [0] * len(WORST_FIRST), list[Lasted](), 0.0
    for moment, edge in edges:
        if moment > at:
            rank = 0
            while rank < len(counts) and not counts[rank]:
                rank += 1
            if rank < len(counts):
                _add(found, Lasted(WORST_FIRST[rank], at, moment))
        at = moment
        counts[edge if edge >= 0 else ~edge] += 1 if edge >= 0 else -1
    return found


def _add(found: list[Lasted], one: Lasted) -> None:
    if found and found[-1].state == one.state and found[-1].end == one.begin:
        found[-1] = Lasted(one.state, found[-1].begin, one.end)
    else:
        found.append(one)


def buckets(lasted: Iterable[Lasted], begin: float, end: float, seconds: float = BUCKET_SECONDS) -> list[str]:
    """The worst state of each bucket of a time, an empty text where nothing was looked at."""
    count = int((end - begin + seconds - 1) // seconds)
    found = [""] * count
    for state, first, last in lasted:
        low, high = max(first, begin), min(last, end)
        if low >= high:
            continue
        for number in range(int((low - begin) // seconds), min(count - 1, int((high - begin - 1e-6) // seconds)) + 1):
            if not found[number] or RANK[state] < RANK[found[number]]:
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
