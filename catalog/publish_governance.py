"""Publishes governance.yml: team, domains, glossary and tags first, then every place names its own."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from catalog.edges import Lineage, Place
from catalog.naming import COLLECTIONS, full_name, named
from catalog.server import CatalogError, Server, in_path

FILE = Path(__file__).parent / "governance.yml"


def publish_governance(server: Server, lineage: Lineage, progress: Callable[[str], None] | None = None) -> None:
    """Make what governance.yml names, and name it on every place of the lineage; what is as it says is left alone.

    What people added there stays. CatalogError where the server lacks a place.
    """
    declared = yaml.load(FILE.read_text(), yaml.BaseLoader)  # a tag named None is a name
    team = server.send("PUT", "teams", {**declared["team"], "teamType": "Group"})
    domains = {}
    for name, description in declared["domains"].items():
        body = {"name": name, "description": description, "domainType": "Source-aligned"}
        domains[name] = {"id": server.send("PUT", "domains", body)["id"], "type": "domain"}
    _make_glossary(server, declared["glossary"])
    for name, classification in declared["classifications"].items():
        _make_classification(server, name, classification)
    for place in sorted(lineage.columns):
        if progress:
            progress(f"owner and tags of {place}")
        said = wanted(place, declared)
        labels = _labels(said, declared["glossary"]["name"])
        _describe(server, place, {"id": team["id"], "type": "team"}, domains[said["domain"]], labels)


def _make_glossary(server: Server, glossary: Mapping[str, Any]) -> None:
    server.send("PUT", "glossaries", {"name": glossary["name"], "description": glossary["description"]})
    for name, description in glossary["terms"].items():
        server.send("PUT", "glossaryTerms", {"glossary": glossary["name"], "name": name, "description": description})


def _make_classification(server: Server, name: str, classification: Mapping[str, Any]) -> None:
    """Where it is not there: a server brings some of its own, and people may have described theirs."""
    if server.get(f"classifications/name/{in_path(name)}") is None:
        body = {"name": name, "description": classification["description"], "mutuallyExclusive": True}
        server.send("PUT", "classifications", body)
    for tag, description in classification["tags"].items():
        if server.get(f"tags/name/{in_path(full_name(name, tag))}") is None:
            server.send("PUT", "tags", {"classification": name, "name": tag, "description": description})


def wanted(place: Place, declared: Mapping[str, Any]) -> dict[str, str]:
    """What governance.yml says of a place: tier, pii, licence, domain and term, as far as it has them."""
    found: dict[str, str] = {}
    for entry in declared["places"]:
        if re.search(entry["match"], str(place)):
            found |= {key: value for key, value in entry.items() if key != "match"}
    return {key: value for key, value in found.items() if value != "null"}


def _describe(
    server: Server, place: Place, team: dict[str, str], domain: dict[str, str], labels: list[dict[str, str]]
) -> None:
    collection = COLLECTIONS[place.kind]
    path = f"{collection}/name/{in_path(named(place))}?fields=owners,domains,tags"
    entity = server.get(path)
    if entity is None:
        raise CatalogError(
            f"expected the server to have {place}, it has no {named(place)}: "
            "`tidemark catalog publish` without a name publishes it first"
        )
    patch: list[dict[str, Any]] = []
    if not entity.get("owners"):
        patch.append({"op": "add", "path": "/owners", "value": [team]})
    if not entity.get("domains"):
        patch.append({"op": "add", "path": "/domains", "value": [domain]})
    there = entity.get("tags") or []
    # A person's tier of a place, its other tag of the classification or term of the glossary, is the better one.
    kinds = {tag["tagFQN"].partition(".")[0] for tag in there}
    lacking = [label for label in labels if label["tagFQN"].partition(".")[0] not in kinds]
    if lacking:
        patch.append({"op": "add", "path": "/tags", "value": [*there, *lacking]})
    if patch:
        server.send("PATCH", f"{collection}/{entity['id']}", patch)


def _labels(said: Mapping[str, str], glossary: str) -> list[dict[str, str]]:
    tags = {"tier": "Tier", "pii": "PII", "licence": "Licence"}
    labels = [{"tagFQN": f"{tags[key]}.{said[key]}", "source": "Classification"} for key in tags if key in said]
    if "term" in said:
        labels.append({"tagFQN": full_name(glossary, said["term"]), "source": "Glossary"})
    return [{**label, "labelType": "Manual", "state": "Confirmed"} for label in labels]
