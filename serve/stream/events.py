"""Server-sent events: how what was committed is sent, and who wants it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from serve.stream.arrivals import MARKET, Minute, Row
from serve.stream.places import EPOCH, Place, Places, Stretch

_MINUTE = timedelta(minutes=1)
_ENCODE = msgspec.json.Encoder().encode
HEARTBEAT = b": as of now nothing else\n\n"


@dataclass(frozen=True)
class Wanted:
    """What a listener asked for. Of ticks and bars the symbols, of events the publishers and series; none: all."""

    channels: frozenset[str]
    sources: frozenset[str] = frozenset()
    symbols: frozenset[str] = frozenset()
    publishers: frozenset[str] = frozenset()
    series: frozenset[str] = frozenset()

    def has_tick(self, row: Row) -> bool:
        """Whether a row's source and symbol are among them."""
        return row["symbol"] in self.symbols and (not self.sources or row["source_system"] in self.sources)

    def has_event(self, row: Row) -> bool:
        """Whether an event is."""
        return (
            (not self.sources or row["source_system"] in self.sources)
            and (not self.publishers or row["event_publisher"] in self.publishers)
            and (not self.series or row["series_id"] in self.series)
        )


@dataclass(frozen=True)
class Event:
    """One of the stream's, as bytes; `row` says whose it is, None: everybody's of its channels."""

    channels: tuple[str, ...]
    data: bytes
    row: Row | None = None

    def is_for(self, wanted: Wanted) -> bool:
        """Whether a listener wants it."""
        if wanted.channels.isdisjoint(self.channels):
            return False
        if self.row is None:
            return True
        return wanted.has_event(self.row) if self.channels == ("events",) else wanted.has_tick(self.row)


def said(name: str, data: Any, id: str | None = None) -> bytes:
    """One event's bytes."""
    head = f"event: {name}\n" + (f"id: {id}\n" if id else "")
    return head.encode() + b"data: " + _ENCODE(data) + b"\n\n"


def of_rows(rows: Iterable[Row], stretch: Stretch, places: Places) -> list[Event]:
    """Ticks or events in the order of the log; each moves `places`, and its id says so."""
    channel, name = ("ticks", "tick") if stretch.topic == MARKET else ("events", "event")
    log, found = (stretch.topic, stretch.partition), []
    for row in rows:
        places.of[log] = Place(stretch.log_epoch, row["kafka_offset"] + 1)
        found.append(Event((channel,), said(name, row, places.id), row))
    places.of[log] = Place(stretch.log_epoch, stretch.end)
    return found


def of_bars(bars: Iterable[Row], tidemark_at: datetime | None) -> list[Event]:
    """Bars that moved. Of a minute before the tidemark the warehouse has the rest: it is to be asked again."""
    return [
        Event(("bars",), said("changed" if tidemark_at and row["bar_start_at"] < tidemark_at else "bar", row), row)
        for row in bars
    ]


def gap(
    channels: Sequence[str], places: Places, since: datetime, until: datetime, *, reason: str, records: int | None
) -> Event:
    """What was not sent, and from when on: it has to be asked for. `records` of the log, whosever they are."""
    todo = "ask /v1/ticks, /v1/bars or /v1/events"
    data = {"channels": channels, "since": since, "until": until, "records": records, "reason": reason, "todo": todo}
    return Event(tuple(channels), said("gap", data, places.id))


def minutes_of(rows: Iterable[Row]) -> set[Minute]:
    """The minutes that ticks are of."""
    found = set()
    for row in rows:
        at = row["traded_at"]
        found.add((row["source_system"], row["symbol"], at - (at - EPOCH) % _MINUTE))
    return found
