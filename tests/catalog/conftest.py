"""Rows for the contracts to judge, in realtime and in ingestion tables."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.catalog.double import DoubleProcess, running_double
from tests.conftest import Stack
from tidemark.categories import CATEGORIES

NOW = datetime.now(UTC)
GOOD_ROWS: dict[str, dict[str, Any]] = {
    "market_tick": {
        "source_system": "binance", "symbol": "BTC/USDT", "timestamp": NOW, "price": 61000.5, "size": 0.01,
    },
    "order_book_l2": {
        "source_system": "binance", "symbol": "BTC/USDT", "side": "bid", "level": 1, "price": 61000.5,
        "size": 2.5,
    },
    "economic_event_numeric": {
        "source_system": "fred", "event_publisher": "BEA", "value": 29374.914, "unit": "usd",
        "description": "GDP",
    },
    "economic_event_text": {
        "source_system": "sec_edgar", "event_publisher": "SEC", "value": "10-K", "unit": "",
        "description": "filing",
    },
}  # fmt: skip
INGESTION_ROWS: dict[str, dict[str, str]] = {
    "ecb__reference_rates": {
        "Date": "2026-10-30", "USD": "1.1172", "JPY": "175.68", "GBP": "0.8338", "HRK": "N/A",
        "XXX": "0.00001",
    },
    "fred__observations": {
        "series_id": "GDP", "realtime_start": "2024-10-30", "realtime_end": "9999-12-31",
        "date": "1946-01-01", "value": ".",
    },
    "realtime__market_tick": {
        "source_system": "binance", "symbol": "BTC/USDT", "timestamp": "2024-08-08T00:00:00.000001Z",
        "price": "1e-07", "size": "61000.5", "attributes": "{}", "log_epoch": "0", "kafka_partition": "0",
        "kafka_offset": "7", "received_at": "2024-08-08T00:00:00.000001Z",
    },
}  # fmt: skip

PLACE = {name: INGESTION_ROWS["realtime__market_tick"][name] for name in (
    "source_system", "attributes", "log_epoch", "kafka_partition", "kafka_offset", "received_at"
)}  # fmt: skip
EVENT = {**PLACE, "event_publisher": "BEA", "unit": "usd", "description": "GDP"}
OTHER_ROWS: dict[str, dict[str, str]] = {
    "fred__series": {"id": "GDP", "title": "Gross Domestic Product", "units": "Billions of Dollars"},
    "realtime__order_book_l2": {**PLACE, "symbol": "A/B", "side": "bid", "level": "1", "price": "99.5", "size": "1"},
    "realtime__economic_event_numeric": {**EVENT, "value": "29374.914"},
    "realtime__economic_event_text": {**EVENT, "value": "10-K"},
}


class Rows:
    """Puts rows where the contracts look, one at a time."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.offset = 0

    def realtime(self, topic: str, **changed: Any) -> int:
        """A good row with some fields changed, received now unless it says when; its offset."""
        self.offset += 1
        place = {"log_epoch": 0, "kafka_partition": 0, "kafka_offset": self.offset, "received_at": datetime.now(UTC)}
        row = {**GOOD_ROWS[topic], "attributes": Jsonb({}), **place, **changed}
        with psycopg.connect(self.stack.dsn("realtime", "stream_writer")) as connection:
            connection.execute("select realtime.ensure_partition(%s, %s)", (topic, row["received_at"].date()))
            _insert(connection, ("realtime", topic), row)
        return self.offset

    def ingestion(self, table: str, **changed: str | None) -> None:
        """A good row of an ingestion table with some columns changed; makes the table where there is none."""
        row = {**INGESTION_ROWS, **OTHER_ROWS}[table] | {"load_id": "1", "file_name": "a.jsonl.gz"} | changed
        columns = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in row)
        create = sql.SQL("create table if not exists ingestion.{} ({}, loaded_at timestamptz default now())")
        with psycopg.connect(self.stack.dsn("warehouse", "ingest_writer")) as connection:
            connection.execute(create.format(sql.Identifier(table), columns))
            _insert(connection, ("ingestion", table), row)

    def forget(self, table: str) -> None:
        """Drop an ingestion table."""
        with psycopg.connect(self.stack.dsn("warehouse")) as connection:
            connection.execute(sql.SQL("drop table ingestion.{}").format(sql.Identifier(table)))

    def good(self) -> None:
        """One good row everywhere."""
        for topic in CATEGORIES:
            self.realtime(topic)
        for table in INGESTION_ROWS:
            self.ingestion(table)


def _insert(connection: psycopg.Connection[Any], table: tuple[str, str], row: dict[str, Any]) -> None:
    statement = sql.SQL("insert into {} ({}) values ({})").format(
        sql.Identifier(*table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() for _ in row),
    )
    connection.execute(statement, list(row.values()))


@pytest.fixture
def rows(clean_realtime: Stack, clean_warehouse: Stack) -> Rows:
    """A stack without rows, and a way to put some in."""
    return Rows(clean_warehouse)


@pytest.fixture
def replay(stack: Stack) -> Iterator[None]:
    """The stack's state folder says that its topics are a replay."""
    mark = stack.settings.home / "mark"
    before = mark.read_text() if mark.exists() else None
    mark.write_text("replay")
    yield
    mark.unlink() if before is None else mark.write_text(before)


@pytest.fixture(scope="session")
def one_double() -> Iterator[DoubleProcess]:
    """A strict stand-in for an OpenMetadata server: it takes seconds to start."""
    with running_double() as double:
        yield double


@pytest.fixture
def double(one_double: DoubleProcess) -> DoubleProcess:
    """The stand-in, with nothing in it."""
    one_double.forget()
    return one_double
