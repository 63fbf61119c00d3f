"""A topic's rows: their values as Postgres's COPY text, the way in, and the days and feeds that they are of.

A row is a tuple in the order of categories.table_columns: the category's values, the text of `attributes`, log epoch,
partition, offset, and the text of received_at.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import chain
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from realtime.partitions import TopicDay
from realtime.tables import FEEDS, of_topic
from tidemark.categories import table_columns

Row = tuple[Any, ...]
Feed = tuple[str, str, str]  # topic, source_system, symbol or publisher


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Of a replay's topic, the producer stamps the record: 0001-01-01 and the end of 9999-12-31, in ms since 1970.
LEAST_TIMESTAMP, MOST_TIMESTAMP = -62_135_596_800_000, 253_402_300_799_999
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})
_NEW_FEED = sql.SQL("insert into {} (topic, source_system, name) values (%s, %s, %s) on conflict do nothing").format(
    FEEDS
)


def received_at(timestamp_ms: int) -> str:
    """The record's time in Kafka as text, exact to the millisecond; one that no calendar has is its first or last."""
    second, millisecond = divmod(min(max(timestamp_ms, LEAST_TIMESTAMP), MOST_TIMESTAMP), 1000)
    return f"{_second_text(second)}.{millisecond:03d}+00:00"


def day_of(timestamp_ms: int) -> date:
    """The day (UTC) of the record's time in Kafka, by which its row lies in a partition."""
    return date.fromisoformat(received_at(timestamp_ms)[:10])


@lru_cache(maxsize=64)
def _second_text(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).isoformat()[:19]


@cache
def _copy_in(topic: str) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, table_columns(topic)))
    return sql.SQL("copy {} ({}) from stdin").format(of_topic(topic), columns)


@cache
def _kinds(topic: str) -> list[str]:
    return list(table_columns(topic).values())[:-1]  # received_at is text already


def lines(topic: str, rows: Sequence[Row], plain: bool) -> bytes:
    """The rows as COPY's text format, made column by column; `plain` says that no value needs an escape.

    Those of one symbol or publisher stand together, in order: writing and reading them touches fewer pages.
    """
    *columns, received = zip(*rows, strict=True)
    texts = [_texts(kind, column, plain) for kind, column in zip(_kinds(topic), columns, strict=True)]
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for name, line in zip(columns[1], map("\t".join, zip(*texts, received, strict=True)), strict=True):
        by_name[name].append(line)
    return "\n".join(chain.from_iterable(by_name.values())).encode() + b"\n"


def _texts(kind: str, column: tuple[Any, ...], plain: bool) -> Sequence[str]:
    """A column's values as Postgres reads them. JSON's numbers and times are its own, and one call encodes them all."""
    if kind in ("text", "jsonb"):
        return column if plain else [value.translate(_ESCAPES) for value in column]
    encoded = msgspec.json.encode(column).decode()
    return encoded[2:-2].split('","') if kind == "timestamptz" else encoded[1:-1].split(",")


def copy_lines(cursor: Any, topic: str, text: bytes) -> None:
    """All of the text, or a DataError where Postgres refuses one of its rows."""
    with cursor.copy(_copy_in(topic)) as copy:
        copy.write(text)


def copy_by_halves(cursor: Any, topic: str, rows: Sequence[Row]) -> dict[int, str]:
    """COPY all that Postgres takes, in a transaction that has begun; what it said of each row that it refused.

    A half that it refuses is halved again, down to the row.
    """
    refused: dict[int, str] = {}
    stack = [(0, len(rows))] if rows else []
    while stack:
        low, high = stack.pop()
        try:
            with cursor.connection.transaction():
                copy_lines(cursor, topic, lines(topic, rows[low:high], plain=False))
        except psycopg.DataError as error:
            if high - low == 1:
                refused[low] = " ".join(str(error).split())
            else:
                middle = (low + high) // 2
                stack += [(middle, high), (low, middle)]
    return refused


def days_of(topic: str, rows: Iterable[Row]) -> set[TopicDay]:
    """The days that the rows are of, each a partition."""
    return {(topic, date.fromisoformat(day)) for day in {row[-1][:10] for row in rows}}


def feeds_of(topic: str, rows: Iterable[Row]) -> set[Feed]:
    """The feeds that the rows are of."""
    return {(topic, row[0], row[1]) for row in rows}


def note_feeds(cursor: Any, feeds: set[Feed]) -> None:
    """Note each feed once: the views of `live` begin from them."""
    if feeds:
        cursor.executemany(_NEW_FEED, sorted(feeds))
