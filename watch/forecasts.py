"""What is expected: lag and when it is drained, room on disks, day partitions. Each is compared with what came.

From rates that the lane's processes report: what connectors send, and what a processor takes while it is busy.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from stream_shim.reports import fresh_reports
from tidemark.settings import Settings
from watch.observation import Observation

LAG, DISK, PARTITIONS = "lag", "disk", "partitions"
AHEAD_SECONDS = {LAG: 300.0, DISK: 3600.0, PARTITIONS: 3600.0}
EVERY_SECONDS = 60.0
KEEP_DAYS = 7
RECORD_BYTES = 200  # of a row with its key, where no whole day says it (a tick takes 182)

TABLE = """
create table if not exists forecast (
    name text not null, identity text not null, made_at real not null, due_at real not null, expected real not null,
    actual real, primary key (name, identity, made_at)
) without rowid;
create index if not exists forecast_due on forecast (due_at) where actual is null;
"""
_ERRORS = """
select name, identity, count(*), avg(abs(actual - expected)), max(abs(actual - expected))
from forecast where actual is not null and due_at > ? group by name, identity
"""


class Expected(NamedTuple):
    """One forecast. `now` and `expected` are of the same unit; `more` is what people ask of it."""

    name: str
    identity: str
    now: float
    expected: float
    unit: str
    more: Mapping[str, float | None]


class Rates:
    """Records a second: what arrives by topic, and what each destination takes while it is busy."""

    def __init__(self) -> None:
        self._before: tuple[float, dict[str, dict[str, Any]], dict[str, dict[str, Any]]] | None = None
        self.arrives: dict[str, float] = {}
        self.takes: dict[str, float] = {}  # by destination; kept from when it was last busy

    def look(self, settings: Settings, now: float) -> None:
        """Of the reports as they are now, and as they were before."""
        self.see(now, fresh_reports(settings, "connector"), fresh_reports(settings, "processor"))

    def see(self, now: float, sources: dict[str, dict[str, Any]], taking: dict[str, dict[str, Any]]) -> None:
        """The same of reports."""
        before, self._before = self._before, (now, sources, taking)
        if before is None or now <= before[0]:
            return
        seconds, arrives = now - before[0], dict[str, float]()
        for name, report in sources.items():
            for topic, sent in report.get("sent", {}).items():
                grown = max(0, sent - before[1].get(name, {}).get("sent", {}).get(topic, sent))
                arrives[topic] = arrives.get(topic, 0.0) + grown / seconds
        self.arrives = arrives
        takes = dict[str, float]()
        for name, report in taking.items():
            earlier = before[2].get(name)
            if earlier is None:
                continue
            busy = report.get("batch_seconds", 0.0) - earlier.get("batch_seconds", 0.0)
            rows = sum(report.get("rows", {}).values()) - sum(earlier.get("rows", {}).values())
            if busy > 0.05 and rows > 0:
                destination = name.partition("#")[0]  # which may have a second processor
                takes[destination] = takes.get(destination, 0.0) + rows / busy
        self.takes |= takes


class Forecasts:
    """Made and compared once a minute, by one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection, self._rates, self._next_at = connection, Rates(), 0.0
        self._rows: dict[str, list[dict[str, Any]]] = {}
        connection.executescript(TABLE)

    def turn(self, settings: Settings, seen: Sequence[Observation], now: float) -> dict[str, list[dict[str, Any]]]:
        """The forecasts by name, as status.json has them; `now` is seconds since 1970."""
        if self._next_at - EVERY_SECONDS <= now < self._next_at:  # or a clock was set back
            return self._rows
        self._next_at = now + EVERY_SECONDS
        self._rates.look(settings, now)
        found = expected(seen, fresh_reports(settings, "processor"), self._rates, now)
        self._compare({(each.name, each.identity): each.now for each in found}, now)
        self._keep(found, now)
        errors = {
            (name, identity): rest for name, identity, *rest in self._connection.execute(_ERRORS, (now - 86_400,))
        }
        self._rows = {name: [] for name in AHEAD_SECONDS}
        for each in found:
            checked, mean, most = errors.get((each.name, each.identity), (0, None, None))
            self._rows[each.name].append(
                {"identity": each.identity, "now": each.now, "expected": each.expected, "unit": each.unit,
                 "at": datetime.fromtimestamp(now + AHEAD_SECONDS[each.name], UTC).isoformat(timespec="seconds"),
                 "checked": checked, "mean_error": mean, "most_error": most, **each.more}
            )  # fmt: skip
        return self._rows

    def _compare(self, actual: Mapping[tuple[str, str], float], now: float) -> None:
        """What was forecast for now, with what is; what came due while nobody looked is no measure of it."""
        due = self._connection.execute(
            "select name, identity, made_at from forecast where actual is null and due_at <= ? and due_at > ?",
            (now, now - 2 * EVERY_SECONDS),
        ).fetchall()
        self._connection.executemany(
            "update forecast set actual = ? where name = ? and identity = ? and made_at = ?",
            [(actual[row[:2]], *row) for row in due if row[:2] in actual],
        )

    def _keep(self, found: Sequence[Expected], now: float) -> None:
        self._connection.executemany(
            "insert or replace into forecast values (?, ?, ?, ?, ?, null)",
            [(each.name, each.identity, now, now + AHEAD_SECONDS[each.name], each.expected) for each in found],
        )
        self._connection.execute("delete from forecast where due_at < ?", (now - KEEP_DAYS * 86_400,))


def expected(
    seen: Sequence[Observation], taking: Mapping[str, Mapping[str, Any]], rates: Rates, now: float
) -> list[Expected]:
    """What is expected of the lag of each destination, of each disk and of the day partitions."""
    found = [_lag(one, rates) for one in seen if one.name == "lag" and one.state != "unknown"]
    found += [_disk(one, rates) for one in seen if one.name == "disk ends" and "free_bytes" in one.numbers]
    found += [_partitions(one, taking, now) for one in seen if one.name == "low head-room" and one.numbers]
    return found


def _lag(one: Observation, rates: Rates) -> Expected:
    destination, _, topic = one.identity.partition(" ")
    waits, ahead = float(one.numbers["records"] or 0), AHEAD_SECONDS[LAG]
    arrives, takes = rates.arrives.get(topic, 0.0), rates.takes.get(destination)
    # One that was not busy since the watcher began has kept up with what came.
    takes_here = arrives if takes is None else takes
    stands = one.state == "failing"  # what waits is not taken
    later = max(0.0, waits + (arrives - (0.0 if stands else takes_here)) * ahead)
    spare = 0.0 if stands else takes_here - arrives
    drains = 0.0 if not waits else waits / spare if spare > 0 else None
    more = {"arrives_per_second": arrives, "takes_per_second": takes, "drained_in_seconds": drains}
    return Expected(LAG, one.identity, waits, later, "records", more)


def _disk(one: Observation, rates: Rates) -> Expected:
    free = float(one.numbers["free_bytes"] or 0)
    a_day = float(one.numbers.get("bytes_a_day") or 0.0) or sum(rates.arrives.values()) * RECORD_BYTES * 86_400
    later = max(0.0, free - a_day * AHEAD_SECONDS[DISK] / 86_400)
    days = one.numbers.get("days_left")
    left = float(days) if days is not None else free / a_day if a_day else None
    return Expected(DISK, one.identity, free, later, "bytes", {"days_left": left, "bytes_a_day": a_day})


def _partitions(one: Observation, taking: Mapping[str, Mapping[str, Any]], now: float) -> Expected:
    """A processor that runs makes days ahead; without one each midnight (UTC) takes one."""
    ahead = float(one.numbers["days_ahead"] or 0)
    midnights = int((now + AHEAD_SECONDS[PARTITIONS]) // 86_400 - now // 86_400)
    made = any(report.get("headroom_days") is not None for report in taking.values())
    later = ahead if made else ahead - midnights
    return Expected(PARTITIONS, one.identity, ahead, later, "days", {"days_left": ahead})
