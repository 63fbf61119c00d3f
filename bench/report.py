"""What a benchmark found: a table for people, and one JSON line, the last one printed, for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Rounds = Sequence[float]  # one value a round


@dataclass(frozen=True)
class Measure:
    """One measure: `name` is its key and holds the unit; the value of each side is the median of its rounds.

    `goal` is what ours has to reach: at least it, or at most where `lower_is_better`. `limit` is what the machine gives
    with nothing of ours in between.
    """

    name: str
    ours: Rounds
    peer: Rounds = ()
    limit: Rounds = ()
    goal: float | None = None
    lower_is_better: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None or not self.ours:
            return None
        value = median(self.ours)
        return value <= self.goal if self.lower_is_better else value >= self.goal

    def as_json(self) -> dict[str, Any]:
        """The object that every benchmark of the project prints for a measure."""
        values = {"ours": _median(self.ours), "peer": _median(self.peer), "limit": _median(self.limit)}
        return {name: _rounded(value) for name, value in {**values, "goal": self.goal}.items()} | {"holds": self.holds}


def _median(rounds: Rounds) -> float | None:
    return median(rounds) if rounds else None


def _rounded(value: float | None) -> float | None:
    """Four significant digits: a benchmark knows no more."""
    return None if value is None else float(f"{value:.4g}")


def _text(rounds: Rounds) -> str:
    """The median, and the least and the most of all rounds where there are more."""
    if not rounds:
        return ""
    middle = _number(median(rounds))
    return middle if len(rounds) == 1 else f"{middle} ({_number(min(rounds))} to {_number(max(rounds))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_report(title: str, measures: Sequence[Measure]) -> None:
    """The table, then the JSON line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{title}: median of the rounds (least to most)", title_justify="left")
    for name in ("measure", "ours", "peer", "limit", "goal", "holds"):
        table.add_column(name, justify="left" if name in ("measure", "holds") else "right", overflow="fold")
    for measure in measures:
        bound = "at most" if measure.lower_is_better else "at least"
        goal = "" if measure.goal is None else f"{bound} {_number(measure.goal)}"
        holds = {None: "", True: "yes", False: "no"}[measure.holds]
        table.add_row(
            measure.name, _text(measure.ours), _text(measure.peer), _text(measure.limit), goal, holds
        )  # fmt: skip
    Console(width=max(Console().width, 140)).print(table)
    print(json.dumps({measure.name: measure.as_json() for measure in measures}))
