"""Small rows in both databases, and the models that dbt builds over them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from tests.conftest import Stack
from tidemark import dbt
from tidemark.categories import key_fields, table_columns

Row = Mapping[str, Any]
# Artifacts and a log that no test reads take a third of the time of a small build.
QUIET = ("--no-write-json", "--log-level-file", "none")


def at(text: str) -> datetime:
    """A time of one day of August 2024, UTC: '08 23:59:59.5'."""
    return datetime.fromisoformat(f"2024-08-{text}").replace(tzinfo=UTC)


def tick(offset: int, traded_at: str, price: float = 100, size: float = 1, **changes: Any) -> dict[str, Any]:
    """A trade with an id of its own that arrived when it was made."""
    row = {
        "source_system": "venue", "symbol": "A/B", "timestamp": at(traded_at), "price": price, "size": size,
        "attributes": {"id": f"t{offset}"}, "log_epoch": 1, "kafka_partition": 0, "kafka_offset": offset,
        "received_at": at(traded_at),
    }  # fmt: skip
    return row | changes


def level(offset: int, snapshot: str, place: tuple[str, int], price: float, received_at: str, *, of: int) -> Row:
    """One record, a side's level, of a snapshot that has `of` records."""
    side, number = place
    return {
        "source_system": "venue", "symbol": "A/B", "side": side, "level": number, "price": price, "size": 1,
        "attributes": {
            "snapshot_id": snapshot, "snapshot_size": of, "timestamp": at(received_at).isoformat(),
        },
        "log_epoch": 1, "kafka_partition": 0, "kafka_offset": offset, "received_at": at(received_at),
    }  # fmt: skip


def text_of(value: Any) -> str:
    """A value as the lake holds it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return json.dumps(value) if isinstance(value, dict) else str(value)


@dataclass(frozen=True)
class Databases:
    """Rows in, models built, rows out."""

    stack: Stack

    def query(self, database: str, statement: str, role: str = "bi_reader", options: str = "") -> list[tuple[Any, ...]]:
        """The rows of a statement, as a reader would get them; `options` are libpq's."""
        with psycopg.connect(self.stack.dsn(database, role), options=options) as connection:
            return connection.execute(statement).fetchall()

    def ingest(self, table: str, rows: Sequence[Row], load: str) -> None:
        """One load of text rows into an ingestion table, which is made where it is missing."""
        columns = list(rows[0])
        name = Identifier("ingestion", table)
        text = SQL(", ").join(SQL("{} text").format(Identifier(column)) for column in columns)
        extra = SQL("load_id text, file_name text, loaded_at timestamptz not null default now()")
        every = SQL(", ").join(map(Identifier, [*columns, "load_id", "file_name"]))
        with psycopg.connect(self.stack.dsn("warehouse", "ingest_writer")) as connection:
            connection.execute(SQL("create table if not exists {} ({}, {})").format(name, text, extra))
            for column in columns:
                connection.execute(
                    SQL("alter table {} add column if not exists {} text").format(name, Identifier(column))
                )
            with connection.cursor().copy(SQL("copy {} ({}) from stdin").format(name, every)) as copy:
                for row in rows:
                    copy.write_row(
                        [*(None if row[c] is None else text_of(row[c]) for c in columns), load, f"{load}.gz"]
                    )

    def promote(self, topic: str, rows: Sequence[Row], load: str) -> None:
        """Rows of the streaming database as they come to the warehouse."""
        self.ingest(f"realtime__{topic}", rows, load)

    def stream(self, topic: str, rows: Sequence[Row]) -> None:
        """Rows as the processor writes them."""
        columns = table_columns(topic)
        with psycopg.connect(self.stack.dsn("realtime", "stream_writer")) as connection:
            for row in rows:
                values = [json.dumps(row[c]) if c == "attributes" else row[c] for c in columns]
                connection.execute("select realtime.ensure_partition(%s, %s)", (topic, row["received_at"].date()))
                connection.execute(
                    SQL("insert into realtime.{} ({}) values ({})").format(
                        Identifier(topic),
                        SQL(", ").join(map(Identifier, columns)),
                        SQL(", ").join(map(Literal, values)),
                    )
                )
                feed = [topic, *(row[key] for key in key_fields(topic))]
                connection.execute("insert into realtime.feed values (%s, %s, %s) on conflict do nothing", feed)

    def trim(self, topic: str, day: date) -> None:
        """Note that a day has left `realtime`."""
        with psycopg.connect(self.stack.dsn("realtime", "promoter")) as connection:
            connection.execute(
                "insert into realtime.trimmed (promotion_id, topic, day, row_count) "
                "values (gen_random_uuid(), %s, %s, 0)",
                (topic, day),
            )

    def build(self, *select: str, full_refresh: bool = False) -> None:
        """Build what the selection names, and all that it needs; its tests are another test's matter."""
        options = ["--full-refresh"] if full_refresh else []
        dbt.run(self.stack.settings, [*QUIET, "run", *options, "--select", *(f"+{name}" for name in select)])


@pytest.fixture
def warehouse(clean_warehouse: Stack) -> Iterator[Databases]:
    """An empty warehouse."""
    yield Databases(clean_warehouse)


@pytest.fixture(scope="session")
def live_models(stack: Stack) -> None:
    """The models of `live`; they are views, so that a test that empties the tables below leaves them."""
    dbt.run(stack.settings, ["run"], "realtime")


@pytest.fixture
def live(live_models: None, clean_realtime: Stack) -> Databases:
    """An empty `realtime` with the models of `live`."""
    return Databases(clean_realtime)
