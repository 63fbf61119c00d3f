"""What was seen, kept outside both databases: `<home>/watch/history.sqlite`, written by the watcher alone.

A change of a state is a row, so that a state lasts until the next one. While nobody looked everything is `unknown`:
that is a change too, at the moment until which the last look counted. Numbers are kept by the minute for two days.
Moments are seconds since 1970, by the watcher's clock.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tidemark.settings import Settings
from watch.observation import Observation, State

log = logging.getLogger("tidemark.watch")

CHANGE_DAYS, MINUTE_DAYS = 100, 2
DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS = 86_400, 3600, 60
BROKEN_FILES = 3  # that are kept
MOST_BACK_SECONDS = DAY_SECONDS  # that a clock is set back by

TABLES = """
create table if not exists watched (only integer primary key check (only = 1), began_at real, until_at real not null);

create table if not exists change (
    at real not null, name text not null, kind text not null, identity text not null,
    state text not null, sentence text not null
);
create index if not exists change_of on change (name, kind, identity, at);
create index if not exists change_at on change (at);

create table if not exists number_by_minute (
    minute integer not null, series text not null, value real not null, primary key (series, minute)
) without rowid;
-- Of checkouts between 0.1.0 and 0.2.0; the line goes with 0.3.0.
drop table if exists number_by_hour;
"""

_WATCHED = "insert into watched values (1, ?, ?) on conflict do update set until_at = excluded.until_at"

# The last change of each thing before that moment stays, as it says how that thing was then.
_FORGET = """
delete from change where at < :oldest and exists (
    select 1 from change as later
    where later.name = change.name and later.kind = change.kind and later.identity = change.identity
    and later.at > change.at and later.at < :oldest
)
"""


class Thing(NamedTuple):
    """One condition of one thing."""

    name: str
    kind: str
    identity: str

    @classmethod
    def of(cls, one: Observation) -> "Thing":
        """What an observation is of."""
        return cls(one.name, one.kind, one.identity)


class Span(NamedTuple):
    """A state from one moment to another; `end` is that of what was asked for where the state goes on."""

    state: State | str
    begin: float
    end: float
    sentence: str


def path(settings: Settings) -> Path:
    """The file."""
    return settings.home / "watch" / "history.sqlite"


def connect(settings: Settings) -> sqlite3.Connection:
    """A connection of who writes, for any thread that has its lock. A file that is none any more is set aside.

    sqlite3.OperationalError or OSError where it cannot be written now.
    """
    file = path(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.parent.chmod(0o700)
    try:
        return _opened(file)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        _set_aside(file, error)
        return _opened(file)


def _set_aside(file: Path, error: sqlite3.DatabaseError) -> None:
    """Under a name with the time (UTC). Of several the largest are kept, as they hold the most."""
    aside = file.with_name(f"{file.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z")
    log.error("expected a history in %s, received %s: it is now %s, another begins", file, error, aside.name)
    _for_each_file(file, lambda path, suffix: path.replace(f"{aside}{suffix}"))
    kept = sorted(file.parent.glob(f"{file.name}.broken-*Z"), key=lambda path: path.stat().st_size)
    for smaller in kept[:-BROKEN_FILES]:
        log.error("expected room for %d broken histories, removes the smallest, %s", BROKEN_FILES, smaller.name)
        _for_each_file(smaller, lambda path, suffix: path.unlink())


def _for_each_file(file: Path, move: Callable[[Path, str], object]) -> None:
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            move(file.with_name(file.name + suffix), suffix)


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=10, isolation_level=None, check_same_thread=False)
    connection.text_factory = _text
    try:
        # A commit waits for no disk: what a crash of the machine takes is the last seconds.
        connection.executescript("pragma journal_mode = wal; pragma synchronous = normal;" + TABLES)
        ((said,),) = connection.execute("pragma quick_check(1)").fetchall()
        if said != "ok":
            raise sqlite3.DatabaseError(said)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(held: bytes) -> str:
    """A flipped bit in a sentence ends nobody."""
    return held.decode(errors="replace")


class History:
    """The watcher's side. Used by one thread."""

    def __init__(self, connection: sqlite3.Connection, valid_seconds: float) -> None:
        self.connection, self._valid = connection, valid_seconds
        self.connection.executescript(TABLES)
        self._states = self._last()
        self._minutes: dict[str, int] = {}
        self._pruned_at = 0.0

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction. One that fails changed nothing, here neither: what it was to keep is new the next time."""
        before = dict(self._states), dict(self._minutes)
        try:
            self.connection.execute("begin immediate")
            yield self.connection
            self.connection.execute("commit")
        except BaseException:
            self._states, self._minutes = before
            if self.connection.in_transaction:
                self.connection.execute("rollback")
            raise

    def note(self, seen: Iterable[Observation], now: float, is_whole: bool = True) -> bool:
        """Keep what changed, of everything that is looked at now; whether there was a gap, in which nobody looked.

        `is_whole`: everything was looked at by now, so that what is not among it is looked at no more.
        """
        with self.writing() as connection:
            gap = self._bridge(now)
            current = {Thing.of(one): one for one in seen}
            for thing, one in current.items():
                if self._states.get(thing, ("", 0.0))[0] != one.state:
                    self._change(thing, one.state, one.sentence, now)
            for thing in self._states.keys() - current.keys() if is_whole else ():
                if self._states[thing][0] != "gone":
                    self._change(thing, "gone", "it is looked at no more", now)
            connection.execute(_WATCHED, (now, now))
        if now - self._pruned_at > HOUR_SECONDS:
            self._prune(now)
        return gap

    def _bridge(self, now: float) -> bool:
        """Of a time in which nobody looked, say that everything was unknown."""
        row = self.connection.execute("select until_at from watched").fetchone()
        if row is None or row[0] <= now <= row[0] + self._valid:
            return False
        if row[0] > now:
            self._turn_back(row[0], now)
        until = min(row[0] + self._valid, now)
        for thing, (state, _) in list(self._states.items()):
            if state not in ("unknown", "gone"):
                self._change(thing, "unknown", "nobody looked", until)
        return True

    def _turn_back(self, until: float, now: float) -> None:
        """The clock was ahead and is set right: what is of a moment to come would be taken for the last word.

        A clock that is far behind is more likely wrong itself, as after a start without a network: nothing is touched.
        """
        if until - now > MOST_BACK_SECONDS:
            kept_until, clock = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}Z" for at in (until, now))
            said = f"a clock that says {clock}, where the history was kept until {kept_until}"
            raise sqlite3.OperationalError(f"{said}: set the clock, or move the file")
        gone = self.connection.execute("delete from change where at > ?", (now,)).rowcount
        self.connection.execute("delete from number_by_minute where minute > ?", (now,))
        self._states = self._last()
        log.warning("the clock was set back by %.0f s: %d changes of moments to come are forgotten", until - now, gone)

    def _last(self) -> dict[Thing, tuple[str, float]]:
        return {Thing(*row[:3]): (row[3], row[4]) for row in self.connection.execute(_LAST, (2**62,))}

    def _change(self, thing: Thing, state: str, sentence: str, at: float) -> None:
        self.connection.execute("insert into change values (?, ?, ?, ?, ?, ?)", (at, *thing, state, sentence))
        self._states[thing] = (state, at)

    def since(self, one: Observation) -> float | None:
        """Since when that has the state that it was last noted with."""
        return self._states.get(Thing.of(one), (None, None))[1]

    def note_numbers(self, values: Mapping[str, float], now: float) -> None:
        """Keep the first value of each series of a minute."""
        minute = int(now // MINUTE_SECONDS) * MINUTE_SECONDS
        new = {series: value for series, value in values.items() if self._minutes.get(series) != minute}
        if not new:
            return
        with self.writing() as connection:
            for series, value in new.items():
                self._minutes[series] = minute
                connection.execute("insert or ignore into number_by_minute values (?, ?, ?)", (minute, series, value))

    def _prune(self, now: float) -> None:
        """Forget what is too old; the last change of each thing stays, as it says how that thing still is."""
        self._pruned_at, oldest = now, now - CHANGE_DAYS * DAY_SECONDS
        with self.writing() as connection:
            connection.execute(_FORGET, {"oldest": oldest})
            connection.execute("delete from change where state = 'gone' and at < ?", (oldest,))
            connection.execute("delete from number_by_minute where minute < ?", (now - MINUTE_DAYS * DAY_SECONDS,))

    def close(self) -> None:
        """Nothing is noted after it."""
        self.connection.close()


_LAST = """
select name, kind, identity, state, max(at), sentence from change where at <= ? group by name, kind, identity
"""


@contextmanager
def reading(settings: Settings) -> Iterator[sqlite3.Connection | None]:
    """The history, for who reads; None where the watcher has kept none yet."""
    file = path(settings)
    if not file.exists():
        yield None
        return
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
    try:
        yield connection
    finally:
        connection.close()


def watched_until(connection: sqlite3.Connection) -> float | None:
    """When everything was last looked at."""
    row = connection.execute("select until_at from watched").fetchone()
    return None if row is None else float(row[0])


def spans(
    connection: sqlite3.Connection, begin: float, end: float, valid_seconds: float = 30.0
) -> dict[Thing, list[Span]]:
    """The states of each thing between two moments, in order; `unknown` while nobody looked, also at the end.

    Nothing is said of a time before something was first looked at, nor after it was looked at no more.
    """
    known_to = min(end, (watched_until(connection) or begin) + valid_seconds)
    rows = connection.execute(_LAST, (begin,)).fetchall()
    rows += connection.execute(
        "select name, kind, identity, state, at, sentence from change where at > ? and at < ? order by at", (begin, end)
    ).fetchall()
    found: dict[Thing, list[Span]] = {}
    for name, kind, identity, state, at, sentence in rows:
        of = found.setdefault(Thing(name, kind, identity), [])
        if of:
            of[-1] = of[-1]._replace(end=max(of[-1].begin, at))
        of.append(Span(state, max(at, begin), max(known_to, at, begin), sentence))
    for of in found.values():
        if of[-1].end < end and of[-1].state != "gone":
            of.append(Span("unknown", of[-1].end, end, "nobody looked"))
    kept = {thing: [one for one in of if one.state != "gone" and one.end > one.begin] for thing, of in found.items()}
    return {thing: of for thing, of in kept.items() if of}


def numbers(connection: sqlite3.Connection, since: float) -> dict[str, list[tuple[int, float]]]:
    """Each series by the minute since a moment, of the last two days; a minute without a value was not seen."""
    found: dict[str, list[tuple[int, float]]] = {}
    for series, minute, value in connection.execute(
        "select series, minute, value from number_by_minute where minute >= ? order by series, minute", (since,)
    ):
        found.setdefault(series, []).append((minute, value))
    return found
