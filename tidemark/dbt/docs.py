"""The documentation of the models of both databases, as one file."""

import json
from collections.abc import Sequence
from pathlib import Path

from tidemark.connections import Database, connect
from tidemark.dbt.project import ROLE, artifacts
from tidemark.dbt.running import run
from tidemark.settings import Settings

DOCUMENTED: tuple[Database, Database] = ("warehouse", "realtime")


def _together(settings: Settings, name: str, keys: Sequence[str]) -> str:
    """One artifact of both targets as one JSON document: the warehouse's, with the other's entries under these keys."""
    warehouse, realtime = (json.loads((artifacts(settings, target) / name).read_text()) for target in DOCUMENTED)
    return json.dumps({**warehouse, **{key: {**realtime[key], **warehouse[key]} for key in keys}})


def build_docs(settings: Settings) -> Path:
    """The documentation of the models of both databases as one HTML file that needs no server; its path.

    A database whose models were never built is built first: the file shows the columns' types. StackError where a
    database does not answer; DbtError as `run`.
    """
    for target in DOCUMENTED:
        connect(settings, target, ROLE).close()  # dbt would only say that it could not
        if not (artifacts(settings, target) / "run_results.json").exists():
            run(settings, ["build"], target)
        # Without --no-compile, dbt would overwrite run_results.json with entries that hold no test result.
        run(settings, ["docs", "generate", "--no-compile"], target)
    parts = {
        "MANIFEST.JSON": _together(
            settings, "manifest.json", ("nodes", "sources", "unit_tests", "parent_map", "child_map")
        ),
        "CATALOG.JSON": _together(settings, "catalog.json", ("nodes", "sources")),
    }
    html = (artifacts(settings) / "index.html").read_text()
    for name, data in parts.items():
        html = html.replace(f'"{name} INLINE DATA"', data)
    page = settings.home / "docs" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html)
    return page
