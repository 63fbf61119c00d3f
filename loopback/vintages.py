"""A series' vintages as FRED would give them: those recorded, or what the recordings of its days say of them."""

from collections.abc import Sequence
from datetime import date, timedelta

FIRST, LAST = "1776-07-04", "9999-12-31"

Row = dict[str, str]


def of_days(recorded: Sequence[Sequence[Row]]) -> list[Row]:
    """The vintages that recordings of the values of a day (`realtime_start`) show, in order of time."""
    vintages: list[Row] = []
    known: dict[str, Row] = {}  # by date, the one that holds
    for rows in recorded:
        for row in rows:
            before = known.get(row["date"])
            if before is not None and before["value"] == row["value"]:
                continue
            if before is not None:
                before["realtime_end"] = _day_before(row["realtime_start"])
            known[row["date"]] = {**row, "realtime_end": LAST}
            vintages.append(known[row["date"]])
    return sorted(vintages, key=lambda row: (row["date"], row["realtime_start"]))


def dates(vintages: Sequence[Row], first: str, last: str) -> list[str]:
    """The days in a period, both bounds inclusive, on which a value began to hold."""
    return sorted({row["realtime_start"] for row in vintages if first <= row["realtime_start"] <= last})


def cut(vintages: Sequence[Row], first: str, last: str) -> list[Row]:
    """What held in a period, with the period's bounds where it held before or after."""
    return [
        {**row, "realtime_start": max(row["realtime_start"], first), "realtime_end": min(row["realtime_end"], last)}
        for row in vintages
        if row["realtime_start"] <= last and row["realtime_end"] >= first
    ]


def _day_before(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()
