"""What `tidemark sources` does to sources.yml, one entry at a time, and what it says of the sources."""

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from stream_shim.buffer.rejects import read_rejects
from stream_shim.claims import signed_by
from stream_shim.connectors import check
from stream_shim.connectors.entries import SourceEntry, check_source, parse_sources, read_sources
from stream_shim.reports import find_reports
from stream_shim.running.states import state_of
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings
from tidemark.yaml_text import content, decoded


def list_sources(settings: Settings) -> list[dict[str, Any]]:
    """Each source with its state and what its connector last reported; the rate is the last minute's, records/s."""
    reports = {found.name: found for found in find_reports(settings, "connector")}
    lane_runs, rows = signed_by(settings, "stream") is not None, []
    for name, entry in read_sources(settings.sources_file).items():
        found = reports.get(name)
        ran = (settings.home / "run" / f"connector-{name}.lock").exists()
        report, state = (found and found.report) or {}, state_of(name, entry, found, ran, lane_runs)
        rows.append(
            {
                "source": name,
                "kind": entry.__struct_config__.tag,
                "source_system": entry.source_system,
                "state": str(state),
                "records_per_second": report.get("records_per_second", 0.0) if found and found.is_there() else 0.0,
                "sent": sum(report.get("sent", {}).values()),
                "rejected": sum(report.get("rejected", {}).values()),
                "without_value": report.get("without_value", 0),
                "gaps": sum(report.get("gaps", {}).values()),
                "reconnects": report.get("source_errors", 0),
                "client_errors": sum(report.get("client_errors", {}).values()),
                "degraded": ", ".join(report.get("degraded", {})),
            }
        )
    return rows


def add_source(settings: Settings, name: str, body: bytes) -> None:
    """Append one entry, once it is known to be right; the rest of the file stays as it is, comments too."""
    path = settings.sources_file
    text = content(path)
    known = parse_sources(text, path)
    if name in known:
        raise ConfigurationError(f"{path}: expected a new name, {name!r} is there already")
    below = decoded(body, "the entry")
    added = check_source(name, below)
    check(added, below, "the entry")
    below = re.sub(r"\A(?:#.*\n|\s)*---[ \t]*\n", "", below).strip("\n")
    _replace(path, text.rstrip("\n") + f"\n\n{name}:\n" + textwrap.indent(below, "  ") + "\n", {**known, name: added})


def remove_source(settings: Settings, name: str) -> None:
    """Cut one entry out, with the comment directly above it; what it sent stays where it is."""
    path = settings.sources_file
    text = content(path)
    known = parse_sources(text, path)
    if name not in known:
        raise ConfigurationError(f"{path}: expected one of {', '.join(known)}, received {name!r}")
    entries: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    lines = text.splitlines(keepends=True)
    starts = {key.value: _with_comment(lines, key.start_mark.line) for key, _ in entries.value}
    first = starts.pop(name)
    after = [start for start in starts.values() if start > first]
    kept = "".join(lines[:first] + (lines[after[0] :] if after else [])).rstrip("\n") + "\n"
    _replace(path, kept, {other: entry for other, entry in known.items() if other != name})


def _with_comment(lines: list[str], line: int) -> int:
    """Where the comment directly above this line of a key begins; an indented one belongs to the entry before."""
    while line and lines[line - 1].startswith("#"):
        line -= 1
    return line


def _replace(path: Path, text: str, wanted: dict[str, SourceEntry]) -> None:
    """Put the new text in the file's place if it says what is wanted; another never gets there."""
    if parse_sources(text, path) != wanted:
        raise ConfigurationError(f"{path}: expected each entry in lines of its own: edit the file by hand")
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def list_rejects(settings: Settings, name: str, most: int) -> list[dict[str, Any]]:
    """The newest messages of a source that were no records, whole. ConfigurationError where there is no such source."""
    found = read_rejects(settings, name, most)
    if not found and name not in (known := read_sources(settings.sources_file)):
        raise ConfigurationError(f"{settings.sources_file}: expected one of {', '.join(known)}, received {name!r}")
    return found
