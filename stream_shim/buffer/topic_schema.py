"""The topic schema (JSON Schema) of topics.yml, and what may change in it: a field may come, none may go or change.

A reader of a topic relies on the fields that the schema names. What was applied last is kept with the rows, in
realtime.topic_schema, and a change is held against it.
"""

from typing import Any

from psycopg.types.json import Jsonb

from stream_shim.config import TopicEntry
from tidemark import connections
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings

Schema = dict[str, Any]


def breaking_changes(old: Schema, new: Schema, path: str = "") -> list[str]:
    """What a reader of `old` would miss in `new`: a field that is gone, of another type, or required now or no more."""
    found = []
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        found.append(f"{path}{name} is required now: records that are in the topic lack it")
    for name in sorted(set(old.get("required", ())) - set(new.get("required", ()))):
        found.append(f"{path}{name} is required no more: a reader relies on it")
    for name, was in old.get("properties", {}).items():
        now = new.get("properties", {}).get(name)
        if now is None:
            found.append(f"{path}{name} is gone")
            continue
        found += [
            f"{path}{name}: {key} was {was.get(key)!r}, is {now.get(key)!r}"
            for key in ("type", "enum", "format")
            if was.get(key) != now.get(key)
        ]
        found += breaking_changes(was, now, f"{path}{name}.")
    return found


def apply_schemas(settings: Settings, topics: dict[str, TopicEntry]) -> list[str]:
    """Record the schemas as they are now; returns the topics whose schema changed. ConfigurationError if one breaks."""
    changed = []
    with connections.connect(settings, "realtime", "stream_writer") as connection:
        for topic, entry in topics.items():
            found = connection.execute(
                "select topic_schema from realtime.topic_schema where topic = %s for update", (topic,)
            ).fetchone()
            if found is not None and found[0] == entry.schema:
                continue
            if broken := breaking_changes(found[0], entry.schema) if found else []:
                raise ConfigurationError(
                    f"{settings.topics_file}, {topic}.schema: expected a change that no reader notices (a field may "
                    f"come), received one that breaks readers: {'; '.join(broken)}"
                )
            connection.execute(
                "insert into realtime.topic_schema (topic, topic_schema) values (%s, %s) "
                "on conflict (topic) do update set topic_schema = excluded.topic_schema, applied_at = now()",
                (topic, Jsonb(entry.schema)),
            )
            changed.append(topic)
    return changed
