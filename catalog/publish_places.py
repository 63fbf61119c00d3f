"""Publishes what OpenMetadata's own workflows do not: topics with their fields, the lake's folders, the sources."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from catalog.edges import Lineage, Place
from catalog.kept import ROLE
from catalog.naming import BUFFER, COLLECTIONS, LAKE, SOURCES, full_name, named
from catalog.server import Server, in_path
from tidemark.categories import CATEGORIES, json_schema
from tidemark.kafka import admin, reachable_kafka, require_rights
from tidemark.lake import lake_url
from tidemark.settings import Settings

# OpenMetadata's types of a Postgres type; what is in none of them is text.
_TYPES = {
    "double precision": "DOUBLE",
    "smallint": "INT",
    "bigint": "LONG",
    "timestamptz": "TIMESTAMPZ",
    "timestamp with time zone": "TIMESTAMPZ",
    "jsonb": "RECORD",
}
MOST = 1000  # of one kind in a service, in one answer
PARENTS = {"topics": ("service", BUFFER), "containers": ("service", LAKE), "apiEndpoints": ("service", SOURCES)}


def publish_places(
    settings: Settings, server: Server, lineage: Lineage, progress: Callable[[str], None] | None = None
) -> None:
    """Topics, folders of the lake and sources as they are now; those that are gone here are marked deleted there.

    StackError where Kafka does not answer or lacks a right; CatalogError as the server's calls.
    """
    partitions = _partitions(settings)
    for service, body in _services().items():
        server.send("PUT", f"services/{service}", body)
    for source in sorted({place.name.rpartition(".")[0] for place in lineage.columns if place.kind == "source"}):
        server.send("PUT", "apiCollections", {"name": source, "service": SOURCES})
    for place, columns in sorted(lineage.columns.items()):
        request = _body(settings, place, columns, partitions)
        if request is not None:
            if progress:
                progress(str(place))
            server.send("PUT", COLLECTIONS[place.kind], request)
    for kind in ("topic", "lake", "source"):
        expected = {named(place) for place in lineage.columns if place.kind == kind}
        _delete_others(server, COLLECTIONS[kind], expected)


def _services() -> dict[str, dict[str, Any]]:
    """No connection: who has one could enter what it names, and nothing there reads for us."""
    return {
        "messagingServices": {
            "name": BUFFER, "serviceType": "Kafka", "description": "The buffer: one topic a category.",
        },
        "storageServices": {
            "name": LAKE, "serviceType": "CustomStorage",
            "description": "The lake: what sources answered, and days that left the streaming database, as files.",
        },
        "apiServices": {
            "name": SOURCES, "serviceType": "Rest", "description": "What the sources give, as they name it.",
        },
    }  # fmt: skip


def _partitions(settings: Settings) -> dict[str, int]:
    """How many partitions each topic of ours has in Kafka; before it is made, how many topics.yml will give it."""
    with reachable_kafka(settings, ROLE):
        require_rights(settings, ROLE)
        client = admin(settings, ROLE)
        try:
            found = {topic["name"]: len(topic["partitions"]) for topic in client.describe_topics(list(CATEGORIES))}
        finally:
            client.close()
    declared = yaml.safe_load(settings.topics_file.read_text()) or {}
    return {topic: found.get(topic) or (declared.get(topic) or {}).get("partitions", 1) for topic in CATEGORIES}


def _body(
    settings: Settings, place: Place, columns: Mapping[str, str], partitions: Mapping[str, int]
) -> dict[str, Any] | None:
    """The request that makes a place; None where a workflow of OpenMetadata's own does."""
    fields = [{"name": name, "dataType": _TYPES.get(kind, "STRING")} for name, kind in columns.items()]
    if place.kind == "topic":
        schema = {"schemaText": json.dumps(json_schema(place.name)), "schemaType": "JSON", "schemaFields": fields}
        return {
            "name": place.name, "service": BUFFER, "partitions": partitions[place.name], "messageSchema": schema,
            "description": f"One record a datum of the category `{place.name}`, keyed by source and name there.",
        }  # fmt: skip
    if place.kind == "source":
        source, _, resource = place.name.rpartition(".")
        return {
            "name": resource, "apiCollection": full_name(SOURCES, source),
            "responseSchema": {"schemaType": "JSON", "schemaFields": fields},
        }  # fmt: skip
    if place.kind == "lake":
        in_files = [{"name": name, "dataType": "STRING", "dataTypeDisplay": "text"} for name in columns]
        return {
            "name": place.name, "service": LAKE, "fullPath": f"{lake_url(settings)}/{place.name}",
            "dataModel": {"isPartitioned": False, "columns": in_files},
        }  # fmt: skip
    return None


def _delete_others(server: Server, collection: str, expected: set[str]) -> None:
    """Mark deleted what the server has in our service and is not expected: it can be restored there."""
    field, service = PARENTS[collection]
    found = server.get(f"{collection}?{field}={in_path(service)}&limit={MOST}") or {}
    for entity in found.get("data") or []:
        if entity["fullyQualifiedName"] not in expected:
            server.send("DELETE", f"{collection}/{entity['id']}")
