"""The tables of `realtime` by name: one a topic, cut into days (partitions.py), and those that keep account of them."""

from psycopg import sql

from tidemark.categories import CATEGORIES

SCHEMA = "realtime"
POSITIONS = sql.Identifier(SCHEMA, "consumer_offset")
EPOCHS = sql.Identifier(SCHEMA, "log_epoch")
QUARANTINE = sql.Identifier(SCHEMA, "quarantine")
LOST = sql.Identifier(SCHEMA, "lost")
TRIMMED = sql.Identifier(SCHEMA, "trimmed")
FEEDS = sql.Identifier(SCHEMA, "feed")
TOPIC_SCHEMAS = sql.Identifier(SCHEMA, "topic_schema")
TURNS = sql.Identifier(SCHEMA, "turn")
# What the lane fills; a topic's schema and the turns are not of its data.
FILLED = (POSITIONS, EPOCHS, QUARANTINE, LOST, TRIMMED, FEEDS)


def of_topic(topic: str) -> sql.Identifier:
    """The topic's table: every day of it that is here."""
    return sql.Identifier(SCHEMA, topic)


def of_topics() -> list[sql.Identifier]:
    """The tables of all topics."""
    return [of_topic(topic) for topic in CATEGORIES]
