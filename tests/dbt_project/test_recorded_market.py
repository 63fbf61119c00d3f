"""The recorded trades and books in the market marts: golden cells, and how many rows each mart has of them."""

import csv
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loopback.session import Session
from stream_shim.connectors.exchange import parse_book
from tests.dbt_project.conftest import Databases, Row
from tidemark.dbt import DBT_PROJECT

BOOKS = {50093307074: 1723161405679, 50093401704: 1723161555952, 50093520238: 1723161706220, 50093658676: 1723161856387}
ROWS = {
    "fct_market_ticks": 28_313, "fct_bars_1m": 18, "fct_bars_1h": 3, "fct_bars_1d": 3, "rpt_returns_daily": 3,
    "fct_order_book_levels": 80, "fct_book_snapshots": 4, "fct_book_spreads": 4, "fct_tick_days": 3, "fct_tick_holes": 0,
    "rpt_coverage": 3, "dim_instruments": 2, "dim_instruments_history": 2, "dim_symbols": 2,
}  # fmt: skip


def streamed(number: int, time_ms: int, **fields: Any) -> Row:
    """A record of the recording, which arrived when it was made."""
    return {
        "source_system": "binance", **fields, "log_epoch": 1, "kafka_partition": 0, "kafka_offset": number,
        "received_at": datetime.fromtimestamp(time_ms / 1000, UTC),
    }  # fmt: skip


def trades(recordings: Path) -> Iterator[Row]:
    """Every recorded trade, with the fields that ccxt names."""
    number = 0
    for path in sorted((recordings / "binance_ws_hftbacktest").glob("spot_*usdt_*.gz")):
        with gzip.open(path, "rt") as lines:
            for line in lines:
                if '"e":"trade"' not in line:
                    continue
                raw = json.loads(line.partition(" ")[2])["data"]
                at, number = datetime.fromtimestamp(raw["T"] / 1000, UTC), number + 1
                yield streamed(
                    number, raw["T"], symbol=raw["s"].replace("USDT", "/USDT"), timestamp=at, price=float(raw["p"]),
                    size=float(raw["q"]), attributes={"id": str(raw["t"]), "side": "sell" if raw["m"] else "buy"},
                )  # fmt: skip


def levels(session: Session) -> Iterator[Row]:
    """Four snapshots as the connector sends them."""
    number = 0
    for last, at in BOOKS.items():
        bids, asks = ([(float(price), float(size)) for price, size in side] for side in session.book_at("BTC/USDT", at))
        book = {"symbol": "BTC/USDT", "bids": bids, "asks": asks, "timestamp": at, "nonce": last}
        for datum in parse_book("binance", book, 10, at):
            number += 1
            yield streamed(number, at, **datum.fields, attributes=datum.attributes)


@pytest.mark.recordings
def test_the_recorded_trades_and_books_give_the_golden_cells(
    warehouse: Databases, recordings: Path, recorded: Session
) -> None:
    warehouse.promote("market_tick", list(trades(recordings)), "a")
    warehouse.promote("order_book_l2", list(levels(recorded)), "b")
    warehouse.build(*ROWS)
    counted = {mart: warehouse.query("warehouse", f"select count(*) from marts.{mart}")[0][0] for mart in ROWS}
    assert counted == ROWS
    with (DBT_PROJECT / "tests" / "golden" / "market.csv").open(encoding="utf-8") as cells:
        wrong = [
            (cell, found)
            for cell in csv.DictReader(cells)
            if [(cell["value"],)]
            != (
                found := warehouse.query(
                    "warehouse",
                    f"select ({cell['column']})::text from marts.{cell['mart']} "
                    f"where {cell['key_column']} = '{cell['key']}'",
                )
            )
            and (not found or float(cell["value"]) != float(found[0][0]))
        ]
    assert wrong == []
    assert warehouse.query("warehouse", "select side, count(*) from marts.fct_market_ticks group by 1 order by 1") == [
        ("buy", 13_454), ("sell", 14_859)
    ]  # fmt: skip
