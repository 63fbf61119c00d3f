"""The entries of topics.yml: what a person may choose of a topic. Its schema and mapping follow from its category."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tidemark import typed_yaml
from tidemark.categories import CATEGORIES, json_schema, required_fields
from tidemark.typed_yaml import WrongValue


class TopicEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one topic. `name` is its key in the file.

    `attributes` are the fields beside the category's that readers rely on, as JSON Schema has properties. `rename` says
    which field on the wire is a column, where a foreign producer names it otherwise.
    """

    name: str = ""
    partitions: Annotated[int, Meta(ge=1, le=10_000)] = 1
    replication: Annotated[int, Meta(ge=1, le=100)] = 1
    grace_days: Annotated[int, Meta(ge=0, le=3650)] = 4
    attributes: dict[str, Any] = {}
    rename: dict[str, Annotated[str, Meta(pattern=r"\S")]] = {}

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
    entries: dict[str, TopicEntry] = typed_yaml.read(path, TopicEntry, _check_all)
    return {topic: msgspec.structs.replace(entry, name=topic) for topic, entry in entries.items()}


def _check_all(entries: dict[str, TopicEntry]) -> None:
    """All categories and no other; columns that there are, each from a field of its own."""
    if set(entries) != set(CATEGORIES):
        others = [name for name in entries if name not in CATEGORIES]
        raise WrongValue(f"expected the topics {sorted(CATEGORIES)}, received {sorted(entries)}", *others[:1])
    for topic, entry in entries.items():
        columns = list(required_fields(topic))
        if unknown := sorted(entry.rename.keys() - set(columns)):
            raise WrongValue(f"expected columns of {columns}, received {unknown}", topic, "rename")
        fields = [entry.rename.get(column, column) for column in columns]
        if twice := sorted({field for field in fields if fields.count(field) > 1}):
            raise WrongValue(f"expected a field of its own for each column, received {twice} twice", topic, "rename")
