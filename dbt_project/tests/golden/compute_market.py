"""Cells of the market marts, computed from the recorded files: `compute_market.py RECORDINGS > market.csv`."""

import csv
import gzip
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

folder = Path(sys.argv[1]) / "binance_ws_hftbacktest"
write = csv.writer(sys.stdout, lineterminator="\n").writerow
write(["mart", "key_column", "key", "column", "value"])
raw = {symbol: [json.loads(line.partition(" ")[2]) for path in sorted(folder.glob(f"spot_{name}_2024080*.gz"))
                for line in gzip.open(path, "rt")]
       for symbol, name in (("BTC/USDT", "btcusdt"), ("ETH/USDT", "ethusdt"))}  # fmt: skip


def bar(mart: str, symbol: str, width: str, start: str) -> dict[str, Decimal]:
    """A bar: the trades whose time, written by `width`, is `start`."""
    found = {}
    for message in (line.get("data", line) for line in raw[symbol]):
        at = datetime.fromtimestamp(message.get("T", 0) / 1000, UTC)
        if message.get("e") == "trade" and at.strftime(width) == start:
            found[message["t"]] = (Decimal(message["p"]), Decimal(message["q"]))
    trades = [found[number] for number in sorted(found)]
    prices, volume = [price for price, _ in trades], sum(size for _, size in trades)
    turnover = sum((price * size for price, size in trades), Decimal())
    cells = {"open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1], "volume": volume,
             "quote_volume": turnover, "round(vwap, 10)": round(turnover / volume, 10)}  # fmt: skip
    for column, value in cells.items():
        write([mart, "bar_key", f"binance:{symbol}:{start}", f"({column})::double precision", float(value)])
    write([mart, "bar_key", f"binance:{symbol}:{start}", "trade_count", len(trades)])
    return cells


MINUTE, HOUR, DAY = "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:00Z", "%Y-%m-%d"
for minute in ("2024-08-08T23:54Z", "2024-08-08T23:58Z", "2024-08-09T00:00Z"):
    bar("fct_bars_1m", "BTC/USDT", MINUTE, minute)
bar("fct_bars_1m", "ETH/USDT", MINUTE, "2024-08-09T00:03Z")
bar("fct_bars_1h", "BTC/USDT", HOUR, "2024-08-08T23:00Z")
bar("fct_bars_1h", "ETH/USDT", HOUR, "2024-08-09T00:00Z")
before, after = (bar("fct_bars_1d", "BTC/USDT", DAY, day) for day in ("2024-08-08", "2024-08-09"))
change = float(round(after["close"] / before["close"] - 1, 12))
write(["rpt_returns_daily", "return_key", "binance:BTC/USDT:2024-08-09", "round(simple_return, 12)::float8", change])

messages = [line.get("data", line) for line in raw["BTC/USDT"]]
snapshot = next(message for message in messages if "lastUpdateId" in message)
book = {side: {Decimal(price): Decimal(size) for price, size in snapshot[side]} for side in ("bids", "asks")}
for message in messages:
    last = message["u"] if message.get("e") == "depthUpdate" else 0
    if last <= snapshot["lastUpdateId"]:
        continue
    for side, changes in (("bids", message["b"]), ("asks", message["a"])):
        book[side] |= {Decimal(price): Decimal(size) for price, size in changes}
        book[side] = {price: size for price, size in book[side].items() if size}
    if last in (50093307074, 50093401704, 50093520238, 50093658676):  # each the last update of its message
        bids, asks = sorted(book["bids"].items(), reverse=True)[:10], sorted(book["asks"].items())[:10]
        key = ["fct_book_snapshots", "snapshot_id", f"binance:BTC/USDT:{last}"]
        for column, value in (("bid_price", bids[0][0]), ("ask_size", asks[0][1]), ("spread", asks[0][0] - bids[0][0]),
                              ("bid_depth", sum(size for _, size in bids)), ("ask_depth", sum(size for _, size in asks))):  # fmt: skip
            write([*key, f"{column}::double precision", float(value)])
