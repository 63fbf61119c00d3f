"""Adding, removing and trying sources: what `tidemark sources` does to sources.yml, one entry at a time."""

import asyncio
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from stream_shim.buffer.health import Health
from stream_shim.buffer.publisher import Datum, missing_fields
from stream_shim.connectors import check, connector_of
from stream_shim.connectors.entries import SourceEntry, check_source, read_sources
from stream_shim.running.reports import read_reports
from tidemark.errors import ConfigurationError, SourceError
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


class Preview(Health):
    """Stands where the publisher does and keeps the first data instead of sending them."""

    def __init__(self, source: str, wanted: int, stop: asyncio.Event) -> None:
        super().__init__(source)
        self.data: list[Datum] = []
        self.rejected: Counter[str] = Counter()
        self.last_ids: dict[str, int] = {}
        self._wanted, self._stop = wanted, stop

    def send(self, datum: Datum) -> None:
        """Keep it, up to the wanted number."""
        if missing := missing_fields(datum):
            self.reject(f"missing {', '.join(missing)}", datum.fields)
        elif len(self.data) < self._wanted:
            self.data.append(datum)
        if len(self.data) >= self._wanted:
            self._stop.set()

    def reject(self, reason: str, raw: Any) -> None:
        """Count it."""
        self.rejected[reason] += 1

    def flush(self) -> None:
        """Nothing was sent. A polling source has shown what it has."""
        self._stop.set()


def preview(settings: Settings, entry: SourceEntry, wanted: int, seconds: float, home: Path) -> Preview:
    """Connect, take the first `wanted` data as the topic would get them, and write nothing. SourceError if none come.

    `home` is an empty folder that stands for the state folder, so that no cursor moves.
    """
    there = settings.model_copy(update={"home": home})

    async def look() -> Preview:
        stop = asyncio.Event()
        shown = Preview(entry.name, wanted, stop)
        try:
            await asyncio.wait_for(connector_of(entry)(entry, shown, there, stop), seconds)  # type: ignore[arg-type]
        except TimeoutError:
            if not shown.data:
                said = "".join(f"; {part}: {why}" for part, why in shown.degraded.items())
                raise SourceError(f"{entry.name}: expected data within {seconds:.0f} s, received none{said}") from None
        return shown

    return asyncio.run(look())
