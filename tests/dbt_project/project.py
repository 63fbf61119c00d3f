"""The dbt project of both targets as one: what manifest.json says of models, tests, sources and exposures."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import PurePath
from typing import Any

Node = Mapping[str, Any]
Finding = tuple[str, str]  # the resource's name, and what is wrong with it

KINDS = {"stg": "staging", "int": "intermediate", "dim": "marts", "fct": "marts", "rpt": "marts", "live": "live"}


class Project:
    """Several manifests of one project: what one target disables, another has."""

    def __init__(self, *manifests: Mapping[str, Any]) -> None:
        self.nodes: dict[str, Node] = {}
        for manifest in manifests:
            for part in ("nodes", "sources", "exposures"):
                self.nodes |= manifest[part]
        self.groups: dict[str, Node] = {group["name"]: group for group in manifests[0]["groups"].values()}

    def of(self, kind: str) -> list[Node]:
        """All of one resource type: model, test, source, exposure, seed, snapshot."""
        return [node for node in self.nodes.values() if node["resource_type"] == kind]

    @cached_property
    def models(self) -> list[Node]:
        return self.of("model")

    def marts(self) -> list[Node]:
        return [model for model in self.models if layer(model) == "marts"]

    def parents(self, node: Node) -> list[Node]:
        """Models and sources that it reads directly, each once."""
        return [self.nodes[parent] for parent in dict.fromkeys(node.get("depends_on", {}).get("nodes", []))]

    @cached_property
    def _children(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for model in self.models:
            for parent in self.parents(model):
                found.setdefault(parent["unique_id"], []).append(model)
        return found

    def children(self, node: Node) -> list[Node]:
        """Models that read it directly."""
        return self._children.get(node["unique_id"], [])

    @cached_property
    def _exposed(self) -> set[str]:
        return {parent["unique_id"] for exposure in self.of("exposure") for parent in self.parents(exposure)}

    def is_exposed(self, node: Node) -> bool:
        return node["unique_id"] in self._exposed

    def is_read(self, node: Node) -> bool:
        """Whether a model or an exposure reads it."""
        return bool(self.children(node)) or self.is_exposed(node)

    @cached_property
    def _tests(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for test in self.of("test"):
            found.setdefault(test.get("attached_node") or "", []).append(test)
        return found

    def tests(self, model: Node, name: str = "") -> list[Node]:
        """The tests on it, of one generic test if that is named."""
        tests = self._tests.get(model["unique_id"], [])
        return [test for test in tests if not name or (test.get("test_metadata") or {}).get("name") == name]


def name(node: Node) -> str:
    """How people name it: of a source with its table."""
    return f"{node['source_name']}.{node['name']}" if node["resource_type"] == "source" else str(node["name"])


def folders(node: Node) -> tuple[str, ...]:
    """The folders below `models` of the file that defines it."""
    parts = PurePath(node["original_file_path"]).parts[:-1]
    return parts[1:] if parts and parts[0] == "models" else parts


def layer(node: Node) -> str:
    return (folders(node) or ("",))[0]


def is_table(model: Node) -> bool:
    return str(model["config"]["materialized"]) in ("table", "incremental")


def primary_key(model: Node) -> str | None:
    """The column whose constraint is the primary key."""
    for column in model["columns"].values():
        if any(constraint["type"] == "primary_key" for constraint in column["constraints"]):
            return str(column["name"])
    return None


def distances(project: Project, node: Node) -> Iterator[tuple[Node, int, tuple[Node, ...]]]:
    """Every model above it, with how far and by which models; once for each way."""
    stack: list[tuple[Node, tuple[Node, ...]]] = [(node, ())]
    while stack:
        at, between = stack.pop()
        for parent in project.parents(at):
            yield parent, len(between) + 1, between
            if parent["resource_type"] == "model":
                stack.append((parent, (*between, parent)))
