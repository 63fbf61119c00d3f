"""What may change in a topic's schema (JSON Schema, buffer/entries.py): a field may come, none may go or change.

A reader of a topic relies on the fields that the schema names. What was applied last is kept with the rows, and a
change is held against it.
"""

from realtime import topic_schemas
from realtime.topic_schemas import Schema
from stream_shim.buffer.entries import TopicEntry
from tidemark import connections
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings

_TEXTS = {"title", "description"}  # they bind nobody
_BY_NAME = {"required", "properties", "items"}


def breaking_changes(old: Schema | bool, new: Schema | bool, path: str = "") -> list[str]:
    """What a reader of `old` would miss in `new`: anything but a field that came, and texts."""
    if not (isinstance(old, dict) and isinstance(new, dict)):  # true and false are schemas as well
        return [] if old == new else [f"{path}: was {old!r}, is {new!r}"]
    prefix = f"{path}." if path else ""
    found = []
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        found.append(f"{prefix}{name} is required now: records that are in the topic lack it")
    for name in sorted(set(old.get("required", ())) - set(new.get("required", ()))):
        found.append(f"{prefix}{name} is required no more: a reader relies on it")
    found += [
        f"{path or 'the record'}: {key} was {old.get(key)!r}, is {new.get(key)!r}"
        for key in sorted((old.keys() | new.keys()) - _TEXTS - _BY_NAME)
        if old.get(key) != new.get(key)
    ]
    if "items" in old or "items" in new:
        found += breaking_changes(old.get("items", {}), new.get("items", {}), f"{path}[]")
    for name, was in old.get("properties", {}).items():
        now = new.get("properties", {}).get(name)
        found += [f"{prefix}{name} is gone"] if now is None else breaking_changes(was, now, f"{prefix}{name}")
    return found


def apply_schemas(settings: Settings, topics: dict[str, TopicEntry]) -> list[str]:
    """Record the schemas as they are now; returns the topics whose schema changed. ConfigurationError if one breaks."""
    changed = []
    with connections.connect(settings, "realtime", "stream_writer") as connection:
        for topic, entry in topics.items():
            known = topic_schemas.applied(connection, topic)
            if known == entry.schema:
                continue
            if broken := breaking_changes(known, entry.schema) if known is not None else []:
                raise ConfigurationError(
                    f"{settings.topics_file}, {topic}: expected a change that no reader notices (a field may "
                    f"come), received one that breaks readers: {'; '.join(broken)}"
                )
            topic_schemas.apply(connection, topic, entry.schema)
            changed.append(topic)
    return changed
