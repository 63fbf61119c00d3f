"""Up to where the logs were seen: the `id` of an event, by which a listener goes on where it was."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from serve.problems import Problem, bad_request

# A topic's letter in an id.
LETTERS = {"market_tick": "m", "economic_event_numeric": "n", "economic_event_text": "t"}
TOPICS = {letter: topic for topic, letter in LETTERS.items()}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID = re.compile(r"([0-9]{1,14})((?:;[mnt][0-9]{1,5}\.[0-9]{1,5}\.[0-9]{1,18})*)")
MOST_CHARACTERS = 4_000

Log = tuple[str, int]  # topic, partition


@dataclass(frozen=True)
class Place:
    """Every record of a partition's log below `offset`, in one life of the log."""

    log_epoch: int
    offset: int


@dataclass(frozen=True)
class Stretch:
    """Offsets of one partition, half-open."""

    topic: str
    partition: int
    log_epoch: int
    first: int
    end: int

    def pieces(self, size: int) -> "Iterator[Stretch]":
        """The same in stretches of at most so many offsets."""
        for first in range(self.first, self.end, size):
            yield replace(self, first=first, end=min(first + size, self.end))


@dataclass
class Places:
    """A place in each log, and when they were read, by the database's clock."""

    seen_at: datetime
    of: dict[Log, Place] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The places as the `id` of an event."""
        ms = (self.seen_at - EPOCH) // timedelta(milliseconds=1)
        return f"{ms}" + "".join(
            f";{LETTERS[topic]}{partition}.{place.log_epoch}.{place.offset}"
            for (topic, partition), place in sorted(self.of.items())
        )

    def copy(self) -> "Places":
        """The same, to be moved by itself."""
        return Places(self.seen_at, dict(self.of))

    def behind(self, newest: "Places", topics: Iterable[str]) -> tuple[list[Stretch], list[Log]]:
        """What lies between here and there; and the logs of which nothing says, as another life has begun."""
        stretches, anew = [], []
        for log, there in newest.of.items():
            here = self.of.get(log)
            if log[0] not in topics or here == there:
                continue
            if here is None:  # a partition that came since
                here = Place(there.log_epoch, 0)
            if here.log_epoch != there.log_epoch or here.offset > there.offset:
                anew.append(log)
            else:
                stretches.append(Stretch(*log, there.log_epoch, here.offset, there.offset))
        return stretches, anew


def of_id(text: str) -> Places:
    """The places that an id says; Problem 400 for what is none."""
    found = _ID.fullmatch(text) if len(text) <= MOST_CHARACTERS else None
    if found is None:
        raise _no_id(text)
    places: dict[Log, Place] = {}
    for part in filter(None, found[2].split(";")):
        partition, log_epoch, offset = map(int, part[1:].split("."))
        if log_epoch > 32_767 or partition > 32_767:
            raise _no_id(text)
        places[TOPICS[part[0]], partition] = Place(log_epoch, offset)
    return Places(EPOCH + timedelta(milliseconds=int(found[1])), places)


def _no_id(text: str) -> Problem:
    return bad_request("not an id", "Last-Event-ID to be the id of an event of this stream", text, "begin without one")


def of_rows(seen_at: datetime, rows: Iterable[tuple[str, int, int, int]]) -> Places:
    """The places of rows of live.positions: topic, partition, epoch, next offset."""
    of: Mapping[Log, Place] = {(topic, partition): Place(epoch, offset) for topic, partition, epoch, offset in rows}
    return Places(seen_at, dict(of))
