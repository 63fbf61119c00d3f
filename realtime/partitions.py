"""The days of a topic's table: one partition a day (UTC) of the record's time in Kafka."""

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from psycopg import Connection, sql

from realtime.tables import SCHEMA
from tidemark.categories import CATEGORIES

TopicDay = tuple[str, date]

_NAME = re.compile(r"(.+)_(\d{8})")
# Two calls that meet make it once; a topic's readers and writers are not waited for.
_ENSURE = sql.SQL("select {}(%s, %s)").format(sql.Identifier(SCHEMA, "ensure_partition"))
_ENSURE_AHEAD = sql.SQL("select {}(%s)").format(sql.Identifier(SCHEMA, "ensure_days_ahead"))
_DAYS = """
select partition.relname from pg_inherits
inner join pg_class as partition on partition.oid = inhrelid
inner join pg_class as topic on topic.oid = inhparent
where topic.relnamespace = %s::regnamespace and topic.relname = any(%s)
"""
_SIZES = _DAYS.replace("select partition.relname", "select partition.relname, pg_total_relation_size(partition.oid)")


def partition(topic: str, day: date) -> sql.Identifier:
    """The table of one day."""
    return sql.Identifier(SCHEMA, f"{topic}_{day:%Y%m%d}")


def is_there(connection: Connection[Any], topic: str, day: date) -> bool:
    """Whether the day has a table, also one that was detached and not yet dropped."""
    text = partition(topic, day).as_string(None)
    return connection.execute("select to_regclass(%s) is not null", (text,)).fetchall() == [(True,)]


def days(connection: Connection[Any]) -> list[TopicDay]:
    """Every topic's days that have a partition, in order."""
    found = connection.execute(_DAYS, (SCHEMA, list(CATEGORIES))).fetchall()
    named = [match for (name,) in found if (match := _NAME.fullmatch(name))]
    return sorted((match[1], date.fromisoformat(match[2])) for match in named)


def newest_days_with_rows(connection: Connection[Any]) -> dict[str, date]:
    """Of each topic that has a row the last day that has one; days ahead of it have partitions too."""
    newest: dict[str, date] = {}
    for topic, day in reversed(days(connection)):
        query = sql.SQL("select from {} limit 1").format(partition(topic, day))
        if topic not in newest and connection.execute(query).fetchall():
            newest[topic] = day
    return newest


def ensure(connection: Connection[Any], wanted: Iterable[TopicDay]) -> None:
    """Make the partitions that are missing; in autocommit each is there at once, and holds nobody up."""
    for topic, day in sorted(wanted):
        connection.execute(_ENSURE, (topic, day))


def ensure_ahead(connection: Connection[Any]) -> date:
    """Make what is missing of today and the days ahead, of every topic; the last of these days. In autocommit."""
    made = [connection.execute(_ENSURE_AHEAD, (topic,)).fetchall()[0][0] for topic in CATEGORIES]
    return min(made)  # type: ignore[no-any-return]


def days_after_today(last: date) -> int:
    """How many days after today (UTC) there are up to `last`."""
    return (last - datetime.now(UTC).date()).days


def oldest_day(connection: Connection[Any]) -> date | None:
    """The oldest day that has a partition, of any topic: promotion drops those that are due, with rows or without."""
    return min((day for _, day in days(connection)), default=None)


def bytes_by_day(connection: Connection[Any]) -> dict[date, int]:
    """What each day takes on the server's disk, all topics together, with indexes."""
    sizes: dict[date, int] = defaultdict(int)
    for name, size in connection.execute(_SIZES, (SCHEMA, list(CATEGORIES))):
        if found := _NAME.fullmatch(name):
            sizes[date.fromisoformat(found[2])] += size
    return dict(sizes)
