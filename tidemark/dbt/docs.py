"""dbt's own page of the models of both databases, as one file that needs no server and no network."""

import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemark.connections import Database
from tidemark.dbt.project import DBT_PROJECT

DOCUMENTED: tuple[Database, Database] = ("warehouse", "realtime")
PICTURE = "assets/architecture.svg"  # as overview.md names it
OVERVIEW = "doc.tidemark.__overview__"
_BY_KEY = ("nodes", "sources", "unit_tests", "parent_map", "child_map")
# What says when and where dbt ran, not what the models are.
_OF_THE_RUN = ("created_at", "root_path", "build_path", "compiled_path")
_METADATA = ("dbt_schema_version", "dbt_version", "project_name", "project_id", "adapter_type")


def overview(manifest: Mapping[str, Any]) -> str:
    """The project's own overview, in Markdown."""
    return str(manifest["docs"][OVERVIEW]["block_contents"])


def docs_page(
    manifests: Mapping[Database, Mapping[str, Any]], tables: Mapping[tuple[str, ...], Mapping[str, str]]
) -> str:
    """The page as HTML. `manifests`: of both databases; `tables`: database, schema and table to columns and types.

    The same manifests and tables give the same bytes, which name no folder of this machine.
    """
    from dbt.task.docs import DOCS_INDEX_FILE_PATH

    manifest = _together(manifests)
    html = Path(DOCS_INDEX_FILE_PATH).read_text()
    for name, data in {"MANIFEST.JSON": manifest, "CATALOG.JSON": _catalog(manifest, tables)}.items():
        said = json.dumps(data, sort_keys=True).replace("<", "\\u003c")  # no text of a source ends the script
        html = html.replace(f'"{name} INLINE DATA"', said)
    return html


def _together(manifests: Mapping[Database, Mapping[str, Any]]) -> dict[str, Any]:
    """One manifest of both targets, without what differs from run to run, and with the picture in the overview."""
    warehouse, realtime = (manifests[database] for database in DOCUMENTED)
    whole = {**warehouse, **{key: {**realtime[key], **warehouse[key]} for key in _BY_KEY}}
    whole["metadata"] = {key: warehouse["metadata"][key] for key in _METADATA}
    whole["disabled"] = {}  # what one target disables, the other has
    for key in ("nodes", "sources", "macros", "unit_tests", "docs"):
        whole[key] = {name: _without_run(node) for name, node in whole[key].items()}
    picture = b64encode((DBT_PROJECT / PICTURE).read_bytes()).decode()
    text = overview(whole).replace(f"]({PICTURE})", f"](data:image/svg+xml;base64,{picture})")
    whole["docs"] = {**whole["docs"], OVERVIEW: {**whole["docs"][OVERVIEW], "block_contents": text}}
    return whole


def _without_run(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in _OF_THE_RUN}


def _catalog(manifest: Mapping[str, Any], tables: Mapping[tuple[str, ...], Mapping[str, str]]) -> dict[str, Any]:
    """What dbt would ask the databases for: the columns of each node and their types."""
    found: dict[str, dict[str, Any]] = {"nodes": {}, "sources": {}}
    for kind, entries in found.items():
        for name, node in manifest[kind].items():
            place = (node["database"], node["schema"], node.get("identifier") or node.get("alias") or node["name"])
            if columns := tables.get(place):
                entries[name] = _table(name, place, columns)
    return {**found, "metadata": {}, "errors": None}


def _table(name: str, place: tuple[str, str, str], columns: Mapping[str, str]) -> dict[str, Any]:
    database, schema, table = place
    listed = enumerate(columns.items(), 1)
    return {
        "unique_id": name,
        "metadata": {
            "type": "TABLE",
            "database": database,
            "schema": schema,
            "name": table,
            "comment": None,
            "owner": "",
        },
        "columns": {
            column: {"name": column, "index": index, "type": kind, "comment": None} for index, (column, kind) in listed
        },
        "stats": {},
    }
