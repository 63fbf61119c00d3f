"""Where every consumed offset is, as far as `realtime` knows: a row, quarantined, given up, lost, empty, promoted."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from psycopg import Connection, IsolationLevel, sql

from realtime.tables import FEEDS, LOST, POSITIONS, QUARANTINE, TRIMMED, of_topic, of_topics
from tidemark.categories import CATEGORIES

# By topic, log epoch and Kafka partition: the number of each name of QUERIES, as far as it is not 0.
Figures = dict[tuple[str, int, int], dict[str, int]]

_KEY = sql.SQL("log_epoch, kafka_partition")
QUERIES: dict[str, sql.Composed] = {
    "consumed": sql.SQL("select topic, {}, next_offset - first_offset from {}").format(_KEY, POSITIONS),
    "empty": sql.SQL("select topic, {}, empty_offsets from {}").format(_KEY, POSITIONS),
    "quarantined": sql.SQL(
        "select topic, {key}, count(*) from {table} where dropped_at is null group by topic, {key}"
    ).format(key=_KEY, table=QUARANTINE),
    "dropped": sql.SQL(
        "select topic, {key}, count(*) from {table} where dropped_at is not null group by topic, {key}"
    ).format(key=_KEY, table=QUARANTINE),
    "lost": sql.SQL(
        "select topic, {key}, sum(end_offset - first_offset)::bigint from {table} group by topic, {key}"
    ).format(key=_KEY, table=LOST),
    "realtime": sql.SQL(" union all ").join(
        sql.SQL("select {topic}, {key}, count(*) from {table} group by {key}").format(
            topic=sql.Literal(topic), key=_KEY, table=of_topic(topic)
        )
        for topic in CATEGORIES
    ),
}


def holdings(connection: Connection[Any]) -> tuple[Figures, list[UUID]]:
    """All that is here in one snapshot, and the promotions that have left by then.

    The connection's transaction must not have begun; it is read only, and keeps trims out until it ends.
    """
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    # A dropped partition is gone from old snapshots too: the lock keeps trims out, and comes before ours.
    connection.execute(sql.SQL("lock table {} in access share mode").format(sql.SQL(", ").join(of_topics())))
    figures: Figures = defaultdict(dict)
    for name, query in QUERIES.items():
        for topic, epoch, partition, number in connection.execute(query):
            figures[topic, epoch, partition][name] = number
    left = connection.execute(sql.SQL("select promotion_id from {}").format(TRIMMED)).fetchall()
    return figures, [promotion_id for (promotion_id,) in left]


def sources(connection: Connection[Any], topic: str) -> list[str]:
    """The source systems of which the topic ever had a row, in order."""
    found = sql.SQL("select distinct source_system from {} where topic = %s order by 1").format(FEEDS)
    return [source for (source,) in connection.execute(found, (topic,))]
