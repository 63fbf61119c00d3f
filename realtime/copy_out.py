"""A day's rows as text, in one snapshot: for the lake, and to be compared with what came of them.

Values become text once, here: CSV with a header, every value quoted, in the order of the rows' identities:

    "source_system","symbol","timestamp",..,"log_epoch","kafka_partition","kafka_offset","received_at"
    "binance","BTC/USDT","2024-08-08T00:00:00.123000Z",..,"1","0","4711","2024-08-08T00:00:00.123000Z"
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from psycopg import Connection, IsolationLevel, sql

from realtime import partitions, slices
from realtime.slices import IDENTITY, Slice
from tidemark.categories import table_columns
from tidemark.connections import connect
from tidemark.errors import TidemarkError
from tidemark.settings import Settings


class NoPartition(TidemarkError):
    """A day that is not here: no record of it ever came, or it has left."""


Pieces = Iterable[bytes | bytearray | memoryview]

_TIME = sql.SQL("""to_char({} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""")


def day_slices(settings: Settings, topic: str, day: date) -> list[Slice]:
    """What a day's partition holds, by log epoch and Kafka partition; nothing where there is no partition."""
    with _snapshot(settings) as connection:
        return _slices(connection, topic, day) if partitions.is_there(connection, topic, day) else []


@contextmanager
def day_rows(settings: Settings, topic: str, day: date) -> Iterator[tuple[list[Slice], Pieces]]:
    """What a day's partition holds, and its CSV in pieces, both from one snapshot. NoPartition where it has none."""
    with _snapshot(settings) as connection:
        if not partitions.is_there(connection, topic, day):
            raise NoPartition(f"expected a partition of {topic} in realtime for {day}, found none to promote")
        held = _slices(connection, topic, day)
        with connection.cursor().copy(_copy_out(topic, day)) as rows:
            yield held, rows


@contextmanager
def _snapshot(settings: Settings) -> Iterator[Connection[Any]]:
    """One snapshot, with doubles as their shortest exact text."""
    with connect(settings, "realtime", "promoter") as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.execute("set extra_float_digits = 1")
        yield connection


def _slices(connection: Connection[Any], topic: str, day: date) -> list[Slice]:
    return slices.in_database(connection, partitions.partition(topic, day), list(_texts(topic).values()))


def _texts(topic: str) -> dict[str, sql.Composable]:
    """Each column of the topic's table with the expression of its text."""
    return {
        name: (_TIME if kind == "timestamptz" else sql.SQL("{}::text")).format(sql.Identifier(name))
        for name, kind in table_columns(topic).items()
    }


def _copy_out(topic: str, day: date) -> sql.Composed:
    columns = sql.SQL(", ").join(
        sql.SQL("{} as {}").format(text, sql.Identifier(name)) for name, text in _texts(topic).items()
    )
    rows = sql.SQL("select {} from {} as held order by {}").format(
        columns, partitions.partition(topic, day), sql.SQL(", ").join(sql.Identifier("held", name) for name in IDENTITY)
    )
    return sql.SQL("copy ({}) to stdout (format csv, header, force_quote *)").format(rows)
