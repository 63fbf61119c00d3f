"""A venue's sessions: when the one of a date begins, and which one a moment is in, by the marts' rule."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
DAY = timedelta(days=1)
AHEAD = 2 * DAY  # the date of a session is no further from that of UTC: a zone by 14 hours, a shift by less than a day


@dataclass(frozen=True)
class Terms:
    """What holds of a venue from a moment on."""

    effective_at: datetime = EARLIEST
    time_zone: str = "UTC"
    shift: timedelta = timedelta()  # what is added to the local time before its date is taken

    def begin_of(self, day: date) -> datetime:
        """The first instant of a date's session; of a time that a clock has twice, or never, the later, as Postgres."""
        local = datetime.combine(day, time()) - self.shift
        return max(local.replace(tzinfo=ZoneInfo(self.time_zone), fold=fold).astimezone(UTC) for fold in (0, 1))


@dataclass(frozen=True)
class Sessions:
    """All that held of a venue, the earliest first; a venue of which nothing is said, or not yet, has days of UTC."""

    terms: tuple[Terms, ...] = (Terms(),)

    @property
    def time_zone(self) -> str:
        """The zone that holds now."""
        return self.terms[-1].time_zone

    def begin_of(self, day: date) -> datetime:
        """When the session of a date begins, in UTC, by what held then."""
        ends = [*(terms.effective_at for terms in self.terms[1:]), LATEST]
        for terms, end in zip(self.terms, ends, strict=True):
            if max(begin := terms.begin_of(day), terms.effective_at) < end:
                break
        return begin

    def date_of(self, at: datetime) -> date:
        """The date of the session that a moment is in: of the last one that has begun."""
        day = at.astimezone(UTC).date() + AHEAD
        while self.begin_of(day) > at:
            day -= DAY
        return day
