"""A history of vintages that comes in pieces, as one: FRED cuts what holds longer at the bounds of a question."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from ingest.sources import Row

FIRST, LAST = "1776-07-04", "9999-12-31"  # FRED's words for the earliest and the latest day

Period = tuple[str, str]  # first and last day of a question, both inclusive


def periods(vintage_dates: Sequence[str], first: str, most: int) -> Iterator[Period]:
    """Questions from `first` on with at most `most` of the vintage dates (rising) in each, and no day between two."""
    starts = [first, *(vintage_dates[at] for at in range(most, len(vintage_dates), most))]
    ends = [_day(start, -1) for start in starts[1:]]
    return zip(starts, [*ends, LAST], strict=True)


def joined(pieces: Sequence[tuple[Period, Sequence[Row]]]) -> list[Row]:
    """The rows of consecutive questions, where one that the bound between two cut has its own bounds again.

    Such a row ends with its question, goes on from the first day of the next, and has one value in both.
    """
    rows: list[Row] = []
    open_rows: dict[str | None, Row] = {}  # by date, those that end with the question
    for (first, last), piece in pieces:
        ended, open_rows = open_rows, {}
        for sent in piece:
            before = ended.get(sent["date"]) if sent["realtime_start"] == first else None
            if before is not None and before["value"] == sent["value"]:
                row = before
                row["realtime_end"] = sent["realtime_end"]
            else:
                row = dict(sent)
                rows.append(row)
            if sent["realtime_end"] == last:
                open_rows[row["date"]] = row
    return sorted(rows, key=lambda row: (row["date"] or "", row["realtime_start"] or ""))


def standing(rows: Sequence[Row], day: str) -> list[Row]:
    """What holds from `day` on: the rows that did not end before, beginning there."""
    return [
        {**row, "realtime_start": max(row["realtime_start"] or "", day)}
        for row in rows
        if (row["realtime_end"] or LAST) >= day
    ]


def _day(day: str, later: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=later)).isoformat()
