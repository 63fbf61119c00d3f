"""What the page says, as plain data: of the status, of the history, of what people said, at one moment."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from tidemark.output import visible
from tidemark.settings import Settings
from watch import announcements, history
from watch.alert import kept
from watch.history import DAY_SECONDS, Span, Thing
from watch.observation import WELL, titled
from watch.page import plots, timeline
from watch.page.parts import GROUPS, MARTS, Part, meaning, part_of, parts, public
from watch.status_file import Status, read_status

RESOLVED_DAYS, MOST_INCIDENTS = 14, 20
MOST_PLOTS, MOST_NAMED = 24, 2
# The numbers that are drawn, by the end of their series, and what they are called.
_DRAWN = {
    "lag": ("records", "Records that wait: {}"), "newest row": ("rows_per_minute", "Rows a minute: {}"),
    "growing quarantine": ("new_records", "New records in quarantine"),
    "connections are taken": ("taken", "Connections taken: {}"), "low head-room": ("days_ahead", "Days made ahead"),
}  # fmt: skip


class AlertShown(NamedTuple):
    """An alert as anyone may read it. Moments are seconds since 1970."""

    id: str
    title: str
    meaning: str
    severity: str
    raised_at: float
    resolved_at: float | None


class Past(NamedTuple):
    """What is kept. `spans` are of 90 days, `numbers` of 24 hours."""

    spans: Mapping[Thing, Sequence[Span]]
    numbers: Mapping[str, Sequence[tuple[int, float]]]
    incidents: Sequence[announcements.Incident]
    maintenances: Sequence[announcements.Maintenance]
    alerts: Sequence[AlertShown]


NOTHING = Past({}, {}, (), (), ())


@dataclass(frozen=True)
class PartShown:
    """A part with how it was, and pictures of that; `promise` is of a mart."""

    part: Part
    slug: str
    day: plots.Picture
    days: plots.Picture
    promise: str
    lasted: Sequence[timeline.Lasted]


@dataclass(frozen=True)
class Plot:
    """A number over 24 hours."""

    title: str
    last: str
    most: str
    picture: plots.Picture


@dataclass(frozen=True)
class Page:
    """The page. `valid_until`: when a reader's clock is later it says nothing any more; None: it says nothing now."""

    state: str
    headline: str
    reason: str
    kind: str
    made_at: datetime
    observed_at: datetime | None
    valid_until: datetime | None
    groups: list[tuple[str, list[PartShown]]]
    wrong: list[PartShown]
    overall: plots.Picture
    plots: list[Plot]
    incidents: Sequence[announcements.Incident]
    maintenances: Sequence[announcements.Maintenance]
    alerts: Sequence[AlertShown]

    @property
    def parts(self) -> list[PartShown]:
        """All of them, in the groups' order."""
        return [part for _, of in self.groups for part in of]


def read(settings: Settings, now: datetime | None = None, spare: timedelta = timedelta(0)) -> Page:
    """The page at a moment. `spare`: for how much longer it counts, as where it is written anew that often."""
    now = now or datetime.now(UTC)
    status = read_status(settings, now)
    try:
        with history.reading(settings) as connection:
            past = NOTHING if connection is None else read_past(connection, now.timestamp())
    except sqlite3.Error as error:  # what is seen now is said all the same
        return page(status, NOTHING, settings.home, now, spare=spare, fault=f"the history cannot be read: {error}")
    return page(status, past, settings.home, now, spare=spare)


def read_past(connection: sqlite3.Connection, now: float) -> Past:
    """What the page needs of the history."""
    return Past(
        history.spans(connection, timeline.first_day(now), now),
        history.numbers(connection, now - DAY_SECONDS),
        announcements.incidents(connection, now - RESOLVED_DAYS * DAY_SECONDS)[:MOST_INCIDENTS],
        announcements.maintenances(connection, now - DAY_SECONDS),
        _alerts(connection),
    )


def _alerts(connection: sqlite3.Connection) -> Sequence[AlertShown]:
    if connection.execute("select 1 from sqlite_master where name = 'alert'").fetchone() is None:
        return ()
    return [
        AlertShown(
            alert.id, _titled(alert.condition, *part_of(alert.condition, alert.kind, alert.identity)),
            meaning(alert.condition), alert.severity, alert.raised_at, alert.resolved_at,
        )
        for alert in kept(connection, MOST_INCIDENTS)
    ]  # fmt: skip


def _titled(condition: str, group: str, name: str) -> str:
    is_named = titled(condition, name) == condition
    return visible(f"{group}: {condition}" if is_named else f"{group}: {name}: {condition}")


def page(
    status: Status, past: Past, home: Path, now: datetime, *, spare: timedelta = timedelta(0), fault: str = ""
) -> Page:
    """The page, of what is known; it reads nothing."""
    at = now.timestamp()
    lasted = {thing: _until(spans, at) for thing, spans in past.spans.items()}
    shown = [
        _shown(number, part, lasted, status.marts, at)
        for number, part in enumerate(parts(status.observations, past.spans, home))
    ]
    state, reason = status.summary["state"], public(status.unknown or fault, home)
    going_on = sum(each.resolved_at is None for each in past.incidents)
    if going_on and not status.unknown:
        reason = f"{reason} {'An incident goes' if going_on == 1 else f'{going_on} incidents go'} on.".strip()
    return Page(
        state, headline(state, shown, bool(status.unknown)), reason, status.kind, now, status.observed_at,
        status.valid_until + spare if status.valid_until and not status.unknown else None,
        [(group, list(of)) for group, of in groupby(shown, lambda each: each.part.group)],
        sorted((each for each in shown if each.part.state not in WELL), key=_worst_first),
        plots.bars(timeline.days(timeline.worst(each.lasted for each in shown), at)), _plots(past, at),
        past.incidents, past.maintenances, past.alerts,
    )  # fmt: skip


def _until(spans: Sequence[Span], now: float) -> list[Span]:
    """What another clock calls later than now is not drawn."""
    return [span if span.end <= now else span._replace(end=now) for span in spans if span.begin < now]


def _worst_first(shown: PartShown) -> tuple[int, int]:
    return timeline.RANK[shown.part.state], GROUPS.index(shown.part.group)


def headline(state: str, shown: Sequence[PartShown], is_blind: bool) -> str:
    """All in one line."""
    if is_blind or not shown:
        return "Nobody knows how things are"
    counts = {name: sum(each.part.state == name for each in shown) for name in timeline.RANK}
    fails, unseen, warns = counts["failing"], counts["unknown"], counts["warning"]
    if fails:
        fail = f"{fails} of {len(shown)} parts {'fails' if fails == 1 else 'fail'}" + _named(shown, state)
        return fail + (f"; {unseen} unknown" if unseen else "")
    if unseen:
        return f"{unseen} of {len(shown)} parts unknown" + _named(shown, state)
    if state == "warning":
        return f"All works, {warns} of {len(shown)} parts {'needs' if warns == 1 else 'need'} a look" + _named(
            shown, state
        )
    return f"All is well: {len(shown)} parts"


def _named(shown: Sequence[PartShown], state: str) -> str:
    """Which, where they are few."""
    names = list(dict.fromkeys(each.part.name for each in shown if each.part.state == state))
    return f": {', '.join(names)}" if len(names) <= MOST_NAMED else ""


def _shown(
    number: int, part: Part, lasted: Mapping[Thing, Sequence[Span]], marts: Sequence[Mapping[str, object]], now: float
) -> PartShown:
    worst = timeline.worst(lasted[thing] for thing in part.things if thing in lasted)
    day = timeline.buckets(worst, now - DAY_SECONDS, now)
    promise = next((_promise(mart) for mart in marts if part.group == MARTS and mart.get("mart") == part.name), "")
    return PartShown(part, f"part-{number}", plots.strip(day), plots.bars(timeline.days(worst, now)), promise, worst)


def _promise(mart: Mapping[str, object]) -> str:
    """How old a mart is, and how old it may be."""
    age, promised = mart.get("age_seconds"), mart.get("promised_seconds")
    if not isinstance(age, int | float) or not isinstance(promised, int | float):
        return ""
    return f"{duration(age)} old, promised within {duration(promised)}"


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    for size, unit in ((DAY_SECONDS, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _plots(past: Past, now: float) -> list[Plot]:
    found = []
    for thing in sorted(past.spans):
        key, title = _DRAWN.get(thing.name, ("", ""))
        name = titled(thing.name, thing.identity)
        title = title.format(visible(thing.identity))
        values = past.numbers.get(f"{name} {key}", ()) if key else ()
        if values and (picture := plots.line(title, values, now - DAY_SECONDS, now)):
            most = max(value for _, value in values)
            found.append(Plot(title, plots.amount(values[-1][1]), plots.amount(most), picture))
    return sorted(found, key=lambda plot: plot.title)[:MOST_PLOTS]
