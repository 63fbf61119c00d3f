"""The entries of topics.yml: what a person may choose of a topic. Its schema and mapping follow from its category."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tidemark import typed_yaml
from tidemark.categories import CATEGORIES, json_schema, required_fields
from tidemark.errors import ConfigurationError


class TopicEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one topic. `name` is its key in the file.

    `attributes` are the fields beside the category's that readers rely on, as JSON Schema has properties. `rename` says
    which field on the wire is a column, where a foreign producer names it otherwise.
    """

    name: str = ""
    partitions: int = 1
    replication: int = 1
    grace_days: int = 4
    attributes: dict[str, Any] = {}
    rename: dict[str, str] = {}

    @property
    def mapping(self) -> dict[str, str]:
        """Column of the table to field on the wire."""
        return {column: self.rename.get(column, column) for column in required_fields(self.name)}

    @property
    def schema(self) -> dict[str, Any]:
        """The topic schema: the category's fields under their names on the wire, and the attributes."""
        category, wire = json_schema(self.name), self.mapping
        properties = {wire[name]: category["properties"][name] for name in wire}
        attributes = {"type": "object", "properties": self.attributes}
        required = [wire[name] for name in category["required"]]
        return {"type": "object", "required": required, "properties": {**properties, "attributes": attributes}}


def read_topics(path: Path) -> dict[str, TopicEntry]:
    """The topics by name; each is a category. ConfigurationError with line and key."""
    entries: dict[str, TopicEntry] = typed_yaml.read(path, TopicEntry)
    if set(entries) != set(CATEGORIES):
        raise ConfigurationError(f"{path}: expected the topics {sorted(CATEGORIES)}, received {sorted(entries)}")
    for topic, entry in entries.items():
        if unknown := sorted(entry.rename.keys() - set(required_fields(topic))):
            raise ConfigurationError(
                f"{path}, {topic}.rename: expected columns of {list(required_fields(topic))}, received {unknown}"
            )
    return {topic: msgspec.structs.replace(entry, name=topic) for topic, entry in entries.items()}
