"""What the guard did lately: whose session it ended, and what of a role it put back."""

from collections.abc import Iterator

from psycopg.sql import SQL

from tidemark.settings import Settings
from watch.databases import enter
from watch.observation import RUNBOOK, Observation

ENDED, PUT_BACK = "guard: ended a session", "guard: put back"
OVER_SECONDS = 600  # so long after the last time it is over
PAGES = {ENDED: "guard-ended-a-session", PUT_BACK: "guard-put-back"}

_LATELY = SQL(
    "select role_name, reason, sum(times), min(first_at), (array_agg(last_detail order by last_at desc))[1] "
    "from guard.action where day >= (now() at time zone 'utc')::date - 1 "
    "and last_at > now() - make_interval(secs => %s) "
    "group by role_name, reason order by role_name, reason"
)


def look(settings: Settings) -> Iterator[Observation]:
    """A warning for each reason and role, until it is over; nobody is to do anything but the role's owner."""
    with enter(settings, "realtime") as connection:
        found = connection.execute(_LATELY, (OVER_SECONDS,)).fetchall()
    for condition in PAGES:
        yield Observation(condition, "guard", "nobody", "ok", "the guard did nothing lately")
    for role, reason, times, first_at, detail in found:
        condition = PUT_BACK if reason.startswith("changed ") else ENDED
        page = f"{RUNBOOK}/{PAGES[condition]}.md"
        said = f"guard: {reason}, {role}: {times} times, the last: {detail}"
        yield Observation(condition, "guard", f"{reason}, {role}", "warning", said, first_at, page)
