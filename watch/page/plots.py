"""Pictures of the page as inline SVG, each with a text that says the same. Colours are the stylesheet's, by class."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from watch.observation import WORST_FIRST, State
from watch.page.timeline import BUCKET_SECONDS

HEIGHT = 24  # of a bar of a day: an hour each
PLOT_WIDTH, PLOT_HEIGHT = 288, 48
MOST_POINTS = 144
SPOKEN = {"ok": "well", "waiting": "waiting", "warning": "warning", "unknown": "unknown", "failing": "failing"}


class Picture(NamedTuple):
    """What an <svg> holds: `shapes` are (class, path), `label` says it in words."""

    width: int
    height: int
    shapes: list[tuple[str, str]]
    label: str


def strip(states: Sequence[str]) -> Picture:
    """A day by the worst state of each bucket."""
    paths: dict[str, str] = {}
    at = 0
    for state, run in groupby(states):
        length = len(list(run))
        if state:
            paths[state] = paths.get(state, "") + f"M{at} 0h{length}v1h-{length}z"
        at += length
    minutes = {state: states.count(state) * BUCKET_SECONDS / 60 for state in WORST_FIRST}
    return Picture(len(states), 1, list(paths.items()), f"the last 24 hours: {_shares(minutes, 'min')}")


def bars(days: Sequence[Mapping[str, float]]) -> Picture:
    """A bar a day, whose parts are the shares of the time that was looked at, worst on top; a day without is blank."""
    edges = {state: [(0, 0)] * len(days) for state in WORST_FIRST}
    for number, day in enumerate(days):
        at, seconds = HEIGHT, sum(day.values())
        present = [state for state in WORST_FIRST if day.get(state)]
        for state in present:
            # However short, it is seen; the best state that there was has what is left, so that none is drawn for none.
            height = at if state == present[-1] else min(at, max(1, round(day[state] / seconds * HEIGHT)))
            edges[state][number] = (at, at - height)
            at -= height
    shapes = [(str(state), path) for state in WORST_FIRST if (path := _area(edges[state]))]
    total = {state: sum(day.get(state, 0.0) for day in days) / 3600 for state in WORST_FIRST}
    return Picture(len(days), HEIGHT, shapes, f"the last {len(days)} days: {_shares(total, 'h')}")


def _area(edges: Sequence[tuple[int, int]]) -> str:
    """Between two heights of each day, measured from the foot: days that are alike are one piece."""
    path, at = "", 0
    for (high, low), run in groupby(edges):
        length = len(list(run))
        if high > low:
            path += f"M{at} {HEIGHT - high}h{length}v{high - low}h-{length}z"
        at += length
    return path


def _shares(amounts: Mapping[State, float], unit: str) -> str:
    total = sum(amounts.values())
    if not total:
        return "nobody looked"
    said = [
        f"{SPOKEN[state]} {amount / total:.1%} ({amount:,.1f} {unit})"
        for state, amount in reversed(list(amounts.items()))
        if amount
    ]
    return ", ".join(said)


def line(name: str, values: Iterable[tuple[int, float]], begin: float, end: float) -> Picture | None:
    """A number over a time, the most of each 10 minutes; a gap where nobody looked. None without a value."""
    step = (end - begin) / MOST_POINTS
    most: dict[int, tuple[float, float]] = {}
    last = None
    for at, value in values:
        if begin <= at <= end:
            number = min(MOST_POINTS - 1, int((at - begin) / step))
            most[number] = max(most.get(number, (value, at)), (value, at))
            last = value
    if last is None:
        return None
    top, top_at = max(most.values())
    scale = (PLOT_HEIGHT - 2) / top if top > 0 else 0.0
    path, before = "", -2
    for number, (value, _) in sorted(most.items()):
        x, y = number * PLOT_WIDTH // MOST_POINTS, PLOT_HEIGHT - 1 - round(max(0.0, value) * scale)
        path += f"L{x} {y}" if number == before + 1 else f"M{x} {y}h1"
        before = number
    when = f", at {datetime.fromtimestamp(top_at, UTC):%H:%MZ}" if top > 0 else ""
    label = f"{name}, the last 24 hours: last {amount(last)}, at most {amount(top)}{when}"
    return Picture(PLOT_WIDTH, PLOT_HEIGHT, [("line", path)], label)


def amount(value: float) -> str:
    """A number that is short: 1.2 k, 3.4 G."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == ' k' else size):,.1f}{unit}"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.1f}"
