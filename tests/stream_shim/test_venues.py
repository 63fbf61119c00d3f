"""ccxt against venues as cryptofeed recorded them: every trade, and the last book, counted from the raw messages."""

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire, entry_of
from tests.stream_shim.loopback import in_thread
from tests.stream_shim.recorded_venues import RecordedVenue, bitfinex, bitstamp, deribit, gemini, messages

pytestmark = pytest.mark.recordings
Book = dict[str, dict[float, float]]  # bid and ask: price to size


@pytest.fixture
def wire(stack: Stack) -> Wire:
    return Wire(stack.settings)


def check(
    wire: Wire, server: RecordedVenue, urls: dict[str, str], trades: dict[str, set[str]], books: dict[str, Book]
) -> None:
    """Every recorded trade id of a symbol once, and the last snapshot of a book equal to the one rebuilt."""
    body = {"kind": "ccxt", "exchange": server.venue, "trades": list(trades), "silence_seconds": 120,
            "order_book": {"symbols": list(books), "depth": 10, "every_seconds": 0.5}}  # fmt: skip
    with in_thread(server.serve) as port:
        local = {name: url.replace("{port}", str(port)) for name, url in urls.items()}
        entry = entry_of(wire.settings, json.dumps({server.venue: {**body, "urls": local}}))
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["market_tick"] >= sum(map(len, trades.values())), f"trades; {server.refused}")
            for symbol, book in books.items():
                until(lambda: last_book(wire, symbol) == top(book), f"the last book of {symbol}")  # noqa: B023
            assert publisher.source_errors == 0
    ids: dict[str, Counter[str]] = defaultdict(Counter)
    for one in wire.records("market_tick"):
        ids[one["symbol"]][one["attributes"]["id"]] += 1
    assert ids == {symbol: Counter(expected) for symbol, expected in trades.items() if expected}


def last_book(wire: Wire, symbol: str) -> dict[str, list[tuple[float, float]]]:
    levels = [one for one in wire.records("order_book_l2") if one["symbol"] == symbol]
    last = [one for one in levels if one["attributes"]["snapshot_id"] == levels[-1]["attributes"]["snapshot_id"]]
    return {side: [(one["price"], one["size"]) for one in last if one["side"] == side] for side in ("bid", "ask")}


def top(book: Book) -> dict[str, list[tuple[float, float]]]:
    return {side: sorted(book[side].items(), reverse=side == "bid")[:10] for side in ("bid", "ask")}


def rebuilt(changes: list[tuple[str, float, float]]) -> Book:
    """A book from (side, price, size) in order; size 0 takes the level away."""
    book: Book = {"bid": {}, "ask": {}}
    for side, price, size in changes:
        book[side][price] = size
        if size == 0:
            del book[side][price]
    return book


def test_bitstamp(wire: Wire, recordings: Path) -> None:
    symbols = {"ethusd": "ETH/USD", "batbtc": "BAT/BTC", "usdteur": "USDT/EUR"}
    server = bitstamp(recordings, expects=4)
    raw = messages(recordings, "BITSTAMP")
    trades = {str(one["data"]["id"]) for one in raw if one.get("event") == "trade"}
    books = {}
    for market, symbol in symbols.items():
        start = json.loads(server.answers[f"/api/v2/order_book/{market}"])
        updates = [
            one["data"] for one in raw if one.get("channel") == f"diff_order_book_{market}" and one["event"] == "data"
        ]
        later = [one for one in updates if int(one["microtimestamp"]) > int(start["microtimestamp"])]
        assert later
        books[symbol] = rebuilt([
            (side[:3], float(price), float(size))
            for one in (start, *later) for side in ("bids", "asks") for price, size in one[side]
        ])  # fmt: skip
    urls = {"public": "http://127.0.0.1:{port}/api", "ws": "ws://127.0.0.1:{port}"}
    check(wire, server, urls, {"ETH/USD": trades}, books)


def test_gemini(wire: Wire, recordings: Path) -> None:
    symbols = {"BTCGBP": "BTC/GBP", "FILUSD": "FIL/USD", "ETHEUR": "ETH/EUR"}
    raw = messages(recordings, "GEMINI")
    trades: dict[str, set[str]] = {symbol: set() for symbol in symbols.values()}
    changes: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for one in raw:
        symbol = symbols.get(one.get("symbol", ""))
        if symbol is None:
            continue
        for trade in [one] if one["type"] == "trade" else one.get("trades", []):
            trades[symbol].add(str(trade["event_id"]))
        for side, price, size in one.get("changes", []):
            changes[symbol].append(("bid" if side == "buy" else "ask", float(price), float(size)))
    books = {symbol: rebuilt(of_symbol) for symbol, of_symbol in changes.items()}
    urls = {"public": "http://127.0.0.1:{port}", "ws": "ws://127.0.0.1:{port}"}
    check(wire, gemini(recordings, expects=3), urls, trades, books)


def test_bitfinex(wire: Wire, recordings: Path) -> None:
    server = bitfinex(recordings, expects=4)
    symbols = {"tIOTETH": "IOTA/ETH", "tBFTUSD": "BFT/USD"}
    raw, names = messages(recordings, "BITFINEX"), {}
    trades: dict[str, set[str]] = {symbol: set() for symbol in symbols.values()}
    changes: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for one in raw:
        if isinstance(one, dict):
            if one.get("event") == "subscribed":
                names[one["chanId"]] = (one["channel"], symbols.get(one["symbol"]))
            continue
        channel, symbol = names.get(one[0], ("", None))
        if symbol is None or not isinstance(one[1], list) or not one[1]:
            continue
        rows = one[1] if isinstance(one[1][0], list) else [one[1]]
        if channel == "trades":
            trades[symbol] |= {str(row[0]) for row in rows}
        elif channel == "book":
            changes[symbol] += [
                ("bid" if size > 0 else "ask", price, abs(size) if count else 0) for price, count, size in rows
            ]
    books = {symbol: rebuilt(of_symbol) for symbol, of_symbol in changes.items()}
    urls = {"public": "http://127.0.0.1:{port}", "ws.public": "ws://127.0.0.1:{port}/ws/2"}
    check(wire, server, urls, trades, books)


def test_deribit(wire: Wire, recordings: Path) -> None:
    instrument, symbol = "BTC-24SEP21-8000-P", "BTC/USD:BTC-210924-8000-P"
    of_book = [one["params"]["data"] for one in messages(recordings, "DERIBIT")
               if one.get("params", {}).get("channel") == f"book.{instrument}.raw"]  # fmt: skip
    changes = [
        (side[:3], price, 0 if action == "delete" else size)
        for one in of_book for side in ("bids", "asks") for action, price, size in one[side]
    ]  # fmt: skip
    urls = {"rest": "http://127.0.0.1:{port}", "ws": "ws://127.0.0.1:{port}/ws/api/v2"}
    check(wire, deribit(recordings, expects=1), urls, {}, {symbol: rebuilt(changes)})
