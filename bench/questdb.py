"""The peer of the reads: QuestDB on loopback, its jar from Maven, verified; asked over its Postgres wire."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpx
import psycopg

from bench.connect import locked
from bench.stack import BenchmarkFailed, Connection, Stack, free_ports, running, until
from tidemark.stack.jars import class_path

# A symbol with an index, the venue's time as the designated one, a partition a day: what QuestDB advises for ticks.
TABLE = (
    "create table market_tick (source_system symbol, symbol symbol capacity 512 index, timestamp timestamp, price double, "
    "size double, attributes varchar, log_epoch short, kafka_partition short, kafka_offset long, received_at timestamp"
    ") timestamp(timestamp) partition by day wal"
)
LAST_PRICE = "select price, size, timestamp from market_tick where symbol = %s latest on timestamp partition by symbol"
BARS = (
    "select timestamp, first(price), max(price), min(price), last(price), sum(size), count() from market_tick "
    "where symbol = %s and timestamp >= %s::timestamp and timestamp < %s::timestamp sample by 1m"
)


@dataclass(frozen=True)
class QuestDB:
    """A running server."""

    http: int
    wire: int

    def connect(self) -> Connection:
        """A connection over the Postgres wire."""
        return psycopg.connect(
            host="127.0.0.1", port=self.wire, user="admin", password="quest", dbname="qdb", autocommit=True
        )

    def load(self, lines: Iterable[bytes], rows: int) -> None:
        """Make the table, and import CSV in its columns' order; returns when every row is there to be read."""
        with self.connect() as connection:
            connection.execute(TABLE)
            url = f"http://127.0.0.1:{self.http}/imp?name=market_tick&overwrite=false&timestamp=timestamp&atomicity=abort"
            answer = httpx.post(url, files={"data": _Stream(lines)}, timeout=None, trust_env=False)  # type: ignore[dict-item]
            answer.raise_for_status()

            def all_there() -> bool:
                found = connection.execute("select count() from market_tick").fetchone()
                return found is not None and found[0] == rows

            until(all_there, f"{rows:,} rows in QuestDB, which said {answer.text[:500]}", seconds=300)
