"""What to do about a check that did not pass, and what is downstream of its table, by dbt's last build."""

from collections.abc import Mapping
from typing import Any

from catalog.edges import closure
from tidemark.categories import CATEGORIES
from tidemark.connections import DATABASES
from tidemark.dbt import artifacts
from tidemark.quality_results import CheckResult
from tidemark.settings import Settings
from tidemark.state_file import read_whole

_BY_TYPE = {
    "freshness": "see whether its sources send: `tidemark doctor`, docs/runbook/failing-source.md",
    "schema": "see which version made the table: `tidemark up` migrates it, the source's page says what it may send",
    "unit_test": "the model's SQL is not what its unit test says: mend one of them, then `dbt test`",
    "deep": "docs/runbook/flow-run-failed.md says how a table is made again of what it was made of",
    "table": "docs/runbook/flow-run-failed.md; `tidemark doctor` says what does not run",
}
_BY_PLACE = {
    "realtime.": "the processor took it so: see the source's connector and `stream_shim/topics.yml`; the rows stay",
    "ingestion.realtime__": "`tidemark check --deep` compares with the lake; `tidemark ingest rebuild realtime` loads",
    "ingestion.": "ask the source what it sent; once the lake's file is mended, `tidemark ingest rebuild SOURCE`",
    "marts.": "`tidemark check --deep TABLE` says which rows; `tidemark models rebuild MODEL` builds them anew",
}


def what_to_do(result: CheckResult) -> str:
    """A sentence for who answers for the table."""
    if result.outcome == "error":
        return "it could not be carried out: mend what the message names, then run it again"
    if advice := _BY_TYPE.get(result.type):
        return advice
    if result.tool == "dbt":
        return f"see the rows, mend the source or the model, then `dbt test --select {result.table.partition('.')[2]}`"
    said = next((advice for begin, advice in _BY_PLACE.items() if result.table.startswith(begin)), "")
    return said.replace("TABLE", result.table).replace("MODEL", result.table.partition(".")[2])


class Downstream:
    """What reads a table, directly or through others, as the manifests of the last builds say."""

    def __init__(self, settings: Settings) -> None:
        self._readers: dict[str, set[str]] = {}
        for topic in CATEGORIES:  # by promotion
            self._add(f"realtime.realtime.{topic}", f"warehouse.ingestion.realtime__{topic}")
        for database in DATABASES:
            if manifest := read_whole(artifacts(settings, database) / "manifest.json"):
                self._read(manifest)

    def _add(self, table: str, reader: str) -> None:
        self._readers.setdefault(table, set()).add(reader)

    def _read(self, manifest: Mapping[str, Any]) -> None:
        nodes = {**manifest["sources"], **manifest["nodes"]}
        names = {key: _name(node) for key, node in nodes.items() if node["resource_type"] in ("source", "model")}
        names |= {key: f"exposure {node['name']}" for key, node in manifest["exposures"].items()}
        for key, readers in manifest["child_map"].items():
            for reader in readers:
                if key in names and reader in names:
                    self._add(names[key], names[reader])

    def of(self, dataset: str) -> list[str]:
        """Names of tables (database.schema.table) and exposures, those that people read first."""
        found = closure(lambda here: sorted(self._readers.get(here, ())), [dataset]) - {dataset}
        return sorted(found, key=lambda name: (not name.startswith("exposure "), ".marts." not in name, name))


def _name(node: Mapping[str, Any]) -> str:
    table = node.get("identifier") or node.get("alias") or node["name"]
    return f"{node['database']}.{node['schema']}.{table}"
