"""What `tidemark sources` does to sources.yml, one entry at a time, and what it says of the sources."""

import textwrap
from pathlib import Path
from typing import Any

import yaml

from stream_shim.buffer.rejects import read_rejects
from stream_shim.connectors import check
from stream_shim.connectors.entries import check_source, read_sources
from stream_shim.reports import read_reports
from tidemark.errors import ConfigurationError
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


def list_rejects(settings: Settings, name: str, most: int) -> list[dict[str, Any]]:
    """The newest messages of a source that were no records, whole. ConfigurationError where there is no such source."""
    found = read_rejects(settings, name, most)
    if not found and name not in (known := read_sources(settings.sources_file)):
        raise ConfigurationError(f"{settings.sources_file}: expected one of {', '.join(known)}, received {name!r}")
    return found
