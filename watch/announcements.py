"""What people say on the status page: incidents with their course, and maintenance that is planned.

Kept beside what the watcher saw, in `<home>/watch/history.sqlite`, so that it is there with both databases down.
Moments are seconds since 1970.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from tidemark.errors import ConfigurationError, StackError
from tidemark.output import iso
from tidemark.settings import Settings
from watch import history

MOST_CHARACTERS = 2_000  # of one text

_TABLES = """
create table if not exists incident (
    id integer primary key, title text not null, opened_at real not null, resolved_at real
);
create table if not exists incident_update (
    id integer primary key, incident_id integer not null references incident, at real not null, said text not null
);
create table if not exists maintenance (
    id integer primary key, planned_at real not null, begins_at real not null, ends_at real not null, said text not null
);
"""


_BEGIN = "insert into incident (title, opened_at) values (?, ?)"
_ADD = "insert into incident_update (incident_id, at, said) values (?, ?, ?)"
_RESOLVE = "update incident set resolved_at = ? where id = ? and resolved_at is null"


@dataclass(frozen=True)
class Update:
    """What was said of an incident at one moment."""

    at: float
    text: str


@dataclass(frozen=True)
class Incident:
    """One incident, what was said of it the oldest first; `resolved_at` is None while it goes on."""

    id: int
    title: str
    opened_at: float
    resolved_at: float | None
    updates: tuple[Update, ...]

    def row(self) -> dict[str, Any]:
        """The incident for people and programs."""
        return {
            "incident": self.id, "state": "open" if self.resolved_at is None else "resolved", "title": self.title,
            "opened_at": iso(self.opened_at),
            "resolved_at": None if self.resolved_at is None else iso(self.resolved_at),
            "updates": [{"at": iso(each.at), "text": each.text} for each in self.updates],
        }  # fmt: skip


@dataclass(frozen=True)
class Maintenance:
    """One window, half-open."""

    id: int
    planned_at: float
    begins_at: float
    ends_at: float
    text: str

    def state(self, now: float) -> str:
        """planned, under way or over."""
        return "planned" if now < self.begins_at else "under way" if now < self.ends_at else "over"

    def row(self, now: float) -> dict[str, Any]:
        """The window for people and programs."""
        return {
            "maintenance": self.id, "state": self.state(now), "begins_at": iso(self.begins_at),
            "ends_at": iso(self.ends_at), "text": self.text,
        }  # fmt: skip


@contextmanager
def _writing(settings: Settings) -> Iterator[sqlite3.Connection]:
    """One transaction, beside the watcher's."""
    file = history.path(settings)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as connection:
            connection.executescript("pragma journal_mode = wal;" + history.TABLES + _TABLES)
            connection.execute("begin immediate")
            with connection:
                yield connection
    except (sqlite3.Error, OSError) as error:
        raise StackError(f"expected to keep what is said in {file}, received: {error}") from None


def say(
    settings: Settings, text: str, now: float, *, incident: int | None, title: str | None, resolve: bool
) -> Incident:
    """Add to an incident: that of the number, a new one of the title, else the only one that goes on.

    ConfigurationError where there is no such incident, or not just one goes on.
    """
    text = _checked(text)
    with _writing(settings) as connection:
        found = {each.id: each for each in incidents(connection)}
        if title is not None:
            inserted = connection.execute(_BEGIN, (_checked(title), now))
            assert inserted.lastrowid is not None
            incident = inserted.lastrowid
        else:
            incident = _chosen(found, incident)
        connection.execute(_ADD, (incident, now, text))
        if resolve:
            connection.execute(_RESOLVE, (now, incident))
        return next(each for each in incidents(connection) if each.id == incident)


def _chosen(found: dict[int, Incident], asked: int | None) -> int:
    going_on = [each.id for each in found.values() if each.resolved_at is None]
    named = ", ".join(map(str, going_on)) or "none"
    if asked is None:
        if len(going_on) == 1:
            return going_on[0]
        raise ConfigurationError(
            f"expected one incident that goes on, found {named}: name one by --incident, or begin one by --open TITLE"
        )
    if asked not in found:
        raise ConfigurationError(f"expected the number of an incident, received {asked}: those that go on are {named}")
    return asked


def plan(settings: Settings, begins_at: float, ends_at: float, text: str, now: float) -> Maintenance:
    """Keep a window; ConfigurationError where it ends before it begins, or is over."""
    if ends_at <= begins_at:
        raise ConfigurationError(f"expected the end after the start, received {iso(begins_at)} to {iso(ends_at)}")
    if ends_at <= now:
        raise ConfigurationError(f"expected an end that is to come, received {iso(ends_at)}")
    values = (now, begins_at, ends_at, _checked(text))
    with _writing(settings) as connection:
        inserted = connection.execute(
            "insert into maintenance (planned_at, begins_at, ends_at, said) values (?, ?, ?, ?)", values
        )
        assert inserted.lastrowid is not None
        return Maintenance(inserted.lastrowid, *values)


def cancel(settings: Settings, number: int) -> None:
    """Take a window away; ConfigurationError where there is none."""
    with _writing(settings) as connection:
        if not connection.execute("delete from maintenance where id = ?", (number,)).rowcount:
            raise ConfigurationError(f"expected the number of a maintenance window, received {number}")


def _checked(text: str) -> str:
    """ConfigurationError where it is no text that a page can show."""
    text = text.strip()
    if not text or len(text) > MOST_CHARACTERS:
        raise ConfigurationError(f"expected a text of 1 to {MOST_CHARACTERS} characters, received {len(text)}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigurationError("expected a text in UTF-8, received other bytes")
    return text


def incidents(connection: sqlite3.Connection, since: float = 0.0) -> list[Incident]:
    """Those that go on or were resolved after a moment, the latest first."""
    if not _there(connection):
        return []
    updates: dict[int, list[Update]] = {}
    for number, at, said in connection.execute("select incident_id, at, said from incident_update order by at, id"):
        updates.setdefault(number, []).append(Update(at, said))
    rows = connection.execute(
        "select id, title, opened_at, resolved_at from incident where resolved_at is null or resolved_at >= ? "
        "order by opened_at desc, id desc",
        (since,),
    )
    return [
        Incident(number, title, opened_at, resolved_at, tuple(updates.get(number, ())))
        for number, title, opened_at, resolved_at in rows
    ]


def maintenances(connection: sqlite3.Connection, since: float = 0.0) -> list[Maintenance]:
    """Those that end after a moment, the first to begin first."""
    if not _there(connection):
        return []
    rows = connection.execute(
        "select id, planned_at, begins_at, ends_at, said from maintenance where ends_at >= ? order by begins_at, id",
        (since,),
    )
    return [Maintenance(*row) for row in rows]


def _there(connection: sqlite3.Connection) -> bool:
    """Whether anything was ever said."""
    return connection.execute("select 1 from sqlite_master where name = 'maintenance'").fetchone() is not None
