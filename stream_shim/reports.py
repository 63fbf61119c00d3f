"""What each process of the lane counts: a file in the state folder, each second, for metrics and alerts to read."""

import json
from pathlib import Path
from typing import Any

from tidemark.settings import Settings


def report_path(settings: Settings, kind: str, name: str) -> Path:
    """Where the `connector` or `processor` of an entry writes its report."""
    return settings.home / "run" / f"{kind}-{name}.json"


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write it whole under its name, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(report))
    part.replace(path)


def read_reports(settings: Settings, kind: str) -> dict[str, dict[str, Any]]:
    """The latest report of each process of a kind, by its entry's name."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((settings.home / "run").glob(f"{kind}-*.json")):
        found[path.stem.removeprefix(f"{kind}-")] = json.loads(path.read_text())
    return found
