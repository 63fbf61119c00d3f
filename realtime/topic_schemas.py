"""The topic schemas as they were last applied: what readers of the topics rely on."""

from typing import Any

from psycopg import Connection, sql
from psycopg.types.json import Jsonb

from realtime.tables import TOPIC_SCHEMAS

Schema = dict[str, Any]

_READ = sql.SQL("select topic_schema from {} where topic = %s for update").format(TOPIC_SCHEMAS)
_WRITE = sql.SQL(
    "insert into {} (topic, topic_schema) values (%s, %s) "
    "on conflict (topic) do update set topic_schema = excluded.topic_schema, applied_at = now()"
).format(TOPIC_SCHEMAS)


def applied(connection: Connection[Any], topic: str) -> Schema | None:
    """The schema of the topic, held until the transaction ends; None before there was one."""
    found = connection.execute(_READ, (topic,)).fetchone()
    return None if found is None else found[0]


def apply(connection: Connection[Any], topic: str, schema: Schema) -> None:
    """Let it be the topic's schema from now on."""
    connection.execute(_WRITE, (topic, Jsonb(schema)))
