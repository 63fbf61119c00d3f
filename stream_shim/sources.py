"""Adding, removing and trying sources: what `tidemark sources` does to sources.yml, one entry at a time."""

import asyncio
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from stream_shim.buffer.encoding import Encoded
from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.publisher import Publisher
from stream_shim.buffer.rejects import read_rejects
from stream_shim.connectors import check, connector_of
from stream_shim.connectors.entries import SourceEntry, check_source, read_sources
from stream_shim.processor.mapping import build_mapper
from stream_shim.processor.records import Record
from stream_shim.running.reports import read_reports
from tidemark import connections
from tidemark.errors import ConfigurationError, SourceError
from tidemark.secrets import hide
from tidemark.settings import Settings


def list_sources(settings: Settings) -> list[dict[str, Any]]:
    """Each source with what its connector last reported."""
    reports = read_reports(settings, "connector")
    rows = []
    for name, entry in read_sources(settings.sources_file).items():
        report = reports.get(name, {})
        rows.append(
            {
                "source": name,
                "kind": entry.__struct_config__.tag,
                "source_system": entry.source_system,
                "sent": sum(report.get("sent", {}).values()),
                "rejected": sum(report.get("rejected", {}).values()),
                "gaps": sum(report.get("gaps", {}).values()),
                "reconnects": report.get("source_errors", 0),
                "client_errors": sum(report.get("client_errors", {}).values()),
                "degraded": ", ".join(report.get("degraded", {})),
            }
        )
    return rows


def add_source(settings: Settings, name: str, body: str) -> None:
    """Append one entry, once it is known to be right; the rest of the file stays as it is, comments too."""
    path = settings.sources_file
    if name in read_sources(path):
        raise ConfigurationError(f"{path}: expected a new name, {name!r} is there already")
    entry = f"{name}:\n" + textwrap.indent(body.strip("\n"), "  ") + "\n"
    check_source(entry)  # the lines that its sentence names are the entry's, its name is the first
    _replace(path, path.read_text().rstrip("\n") + f"\n\n{entry}", name)


def remove_source(settings: Settings, name: str) -> None:
    """Cut one entry out, with the comment directly above it; what it sent stays where it is."""
    path = settings.sources_file
    if name not in read_sources(path):
        raise ConfigurationError(f"{path}: expected one of {', '.join(read_sources(path))}, received {name!r}")
    text = path.read_text()
    entries: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    lines = text.splitlines(keepends=True)
    starts = {key.value: _with_comment(lines, key.start_mark.line) for key, _ in entries.value}
    first = starts[name]
    after = [start for start in starts.values() if start > first]
    _replace(path, "".join(lines[:first] + (lines[after[0] :] if after else [])).rstrip("\n") + "\n")


def _with_comment(lines: list[str], line: int) -> int:
    """Where the comment directly above this line of a key begins; an indented one belongs to the entry before."""
    while line and lines[line - 1].startswith("#"):
        line -= 1
    return line


def _replace(path: Path, text: str, added: str | None = None) -> None:
    """Put the new text in the file's place if it is right; a wrong one never gets there."""
    part = path.with_suffix(".part")
    part.write_text(text)
    try:
        entries = read_sources(part)
        if added is not None:
            check(entries[added])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class FirstRecords:
    """Stands where Kafka does: keeps the first records, and counts those that no processor would make a row."""

    def __init__(self, settings: Settings, wanted: int, stop: asyncio.Event) -> None:
        self.rows: list[dict[str, Any]] = []
        self.taken = 0
        self.rejects: list[dict[str, Any]] = []
        self.refused = 0
        self._wanted, self._stop = wanted, stop
        self._is_live = connections.home_kind(settings) == "live"
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

    `taken` and `refused` count all of either that came.
    """

    rows: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    taken: int
    refused: int
    degraded: dict[str, str]


def preview(settings: Settings, entry: SourceEntry, wanted: int, seconds: float, home: Path) -> Preview:
    """Connect, take the first `wanted` records on the lane's own way, short of Kafka. SourceError if nothing comes.

    `home` is an empty folder that stands for the state folder, so that no cursor moves.
    """
    there = settings.model_copy(update={"home": home})

    async def look() -> Preview:
        stop = asyncio.Event()
        sink = FirstRecords(settings, wanted, stop)
        publisher = Publisher(there, entry.name, sink)
        try:
            await asyncio.wait_for(connector_of(entry)(entry, publisher, there, stop), seconds)
        except TimeoutError:
            if not sink.taken + sink.refused + publisher.rejected.total():
                said = "".join(f"; {part}: {why}" for part, why in publisher.degraded.items())
                raise SourceError(f"{entry.name}: expected data within {seconds:.0f} s, received none{said}") from None
        finally:
            publisher.close()
        rejects = [*read_rejects(there, entry.name, wanted), *sink.rejects][:wanted]
        refused = publisher.rejected.total() + sink.refused
        return Preview(sink.rows, rejects, sink.taken, refused, publisher.degraded)

    return asyncio.run(look())


def list_rejects(settings: Settings, name: str, most: int) -> list[dict[str, Any]]:
    """The newest messages of a source that were no records, whole. ConfigurationError where there is no such source."""
    found = read_rejects(settings, name, most)
    if not found and name not in (known := read_sources(settings.sources_file)):
        raise ConfigurationError(f"{settings.sources_file}: expected one of {', '.join(known)}, received {name!r}")
    return found
