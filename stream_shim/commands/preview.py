"""A source tried: its first records as their topics would get them, by the lane's own way, and nothing is written."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from stream_shim.buffer.encoding import Encoded
from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.publisher import Publisher
from stream_shim.buffer.rejects import read_rejects
from stream_shim.connectors import connector_of
from stream_shim.connectors.entries import SourceEntry
from stream_shim.processor.mapping import build_mapper
from stream_shim.processor.records import Record
from tidemark.errors import SourceError
from tidemark.home_kind import home_kind
from tidemark.lake import encoded_lake_url
from tidemark.secrets import hide
from tidemark.settings import Settings


class FirstRecords:
    """Stands where Kafka does: keeps the first records, and counts those that no processor would make a row."""

    def __init__(self, settings: Settings, wanted: int, stop: asyncio.Event) -> None:
        self.rows: list[dict[str, Any]] = []
        self.taken = 0
        self.rejects: list[dict[str, Any]] = []
        self.refused = 0
        self._wanted, self._stop = wanted, stop
        self._is_live = home_kind(settings) == "live"
        self._mappers = {
            topic: build_mapper(topic, entry.mapping) for topic, entry in read_topics(settings.topics_file).items()
        }

    def put(self, record: Encoded, taken: Callable[[Any], None], refused: Callable[[BaseException], None]) -> None:
        """Map it as a processor does: where it is a row, keep it up to the wanted number."""
        time_ms = int(time.time() * 1000) if self._is_live else record.time_ms
        mapped = self._mappers[record.topic]([Record(0, time_ms, record.key, record.value)], 1, 0)
        for reject in mapped.rejects:
            self.refused += 1
            if self.refused <= self._wanted:
                raw = hide(record.value.decode())
                self.rejects.append({"reason": f"{reject.reason}, {reject.detail}", "raw": raw})
        if mapped.rows:
            self.taken += 1
            if self.taken <= self._wanted:
                self.rows.append({"topic": record.topic, **msgspec.json.decode(record.value)})
            if self.taken == self._wanted:
                self._stop.set()
        taken(None)

    def flush(self) -> None:
        """Each was answered. A polling source has shown what it has."""
        self._stop.set()

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Preview:
    """What a source gives: some of its records as their topics would get them, and messages that would be no rows.

    `taken` and `refused` count all of either that came, `without_value` the records whose value was empty.
    """

    rows: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    taken: int
    refused: int
    without_value: int
    degraded: dict[str, str]


def preview(settings: Settings, entry: SourceEntry, wanted: int, seconds: float, home: Path) -> Preview:
    """Connect, take the first `wanted` records on the lane's own way, short of Kafka. SourceError if nothing comes.

    `home` is an empty folder that stands for the state folder, so that no cursor moves.
    """
    there = settings.model_copy(update={"home": home, "lake_url": encoded_lake_url(settings)})

    async def look() -> Preview:
        stop = asyncio.Event()
        sink = FirstRecords(settings, wanted, stop)
        publisher = Publisher(there, entry.name, sink)
        try:
            await asyncio.wait_for(connector_of(entry)(entry, publisher, there, stop), seconds)
        except TimeoutError:
            if not sink.taken + sink.refused + publisher.rejected.total() + publisher.without_value:
                said = "".join(f"; {part}: {why}" for part, why in publisher.degraded.items())
                raise SourceError(f"{entry.name}: expected data within {seconds:.0f} s, received none{said}") from None
        finally:
            publisher.close()
        rejects = [*read_rejects(there, entry.name, wanted), *sink.rejects][:wanted]
        refused = publisher.rejected.total() + sink.refused
        return Preview(sink.rows, rejects, sink.taken, refused, publisher.without_value, publisher.degraded)

    return asyncio.run(look())
