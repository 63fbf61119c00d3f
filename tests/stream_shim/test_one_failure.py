"""What fails one symbol, book or message of an exchange costs that one alone, and is named and counted."""

import json
from collections import Counter
from pathlib import Path

import ccxt.pro
import pytest

from loopback.binance_replay import Accident
from loopback.serving import serving
from loopback.session import Session
from stream_shim.buffer.health import Health
from stream_shim.commands.preview import preview
from stream_shim.connectors.entries import SourceEntry
from stream_shim.connectors.symbols import Blame, resolve
from stream_shim.running import runner
from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire, entry_of
from tests.stream_shim.loopback import in_thread
from tests.stream_shim.okx_venue import OkxVenue
from tests.stream_shim.test_exchange import BOOK, BTC, binance, ids_of, recorded_ids, session_trades, snapshots
from tidemark.errors import SourceError


@pytest.fixture
def wire(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setattr(runner, "RECONNECT_SECONDS", (0.05, 0.1, 0.2))
    return Wire(stack.settings)


@pytest.fixture(scope="module")
def session(generated: Session) -> Session:
    return generated


def okx(wire: Wire, port: int, name: str, **changes: object) -> SourceEntry:
    body = {
        "kind": "ccxt", "exchange": "okx", "options": {"fetchMarkets": {"types": ["spot"]}}, "silence_seconds": 30,
        "urls": {"rest": f"http://127.0.0.1:{port}", "ws": f"ws://127.0.0.1:{port}/ws/v5"}, **changes,
    }  # fmt: skip
    return entry_of(wire.settings, json.dumps({name: body}))


def test_a_symbol_given_as_the_venue_names_it_or_in_both_ways_is_one_stream(wire: Wire, session: Session) -> None:
    with serving(session.folder) as servers:
        entry = binance(wire, servers, "by_id", trades=["BTCUSDT", "BTC/USDT", "ETHUSDT"])
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["market_tick"] >= session_trades(servers), "every trade")
        assert not publisher.gaps
        assert not publisher.degraded
        assert not publisher.source_errors
    for symbol, stream in (("BTC/USDT", BTC), ("ETH/USDT", "ethusdt@trade")):
        assert ids_of(wire, symbol) == Counter(recorded_ids(servers, stream))


def test_an_unknown_symbol_costs_itself_and_is_named(wire: Wire, session: Session) -> None:
    with serving(session.folder) as servers:
        book = {"symbols": ["BTC/USDT", "XRP/USDX"], "depth": 5, "every_seconds": 1}
        entry = binance(wire, servers, "one_unknown", trades=["BTC/USDT", "ETH/USDT", "BTC/USTD"], order_book=book)
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["market_tick"] >= session_trades(servers), "every trade of the others")
            until(lambda: publisher.sent["order_book_l2"], "the other book")
        report = publisher.report()
    assert not publisher.source_errors
    assert report["degraded"].keys() == {"BTC/USTD", "XRP/USDX"}
    assert "BTC/USDT" in report["degraded"]["BTC/USTD"]
    assert ids_of(wire, "BTC/USDT") == Counter(recorded_ids(servers, BTC))


def test_an_entry_of_unknown_symbols_alone_is_an_error_that_names_them(
    wire: Wire, session: Session, tmp_path: Path
) -> None:
    with serving(session.folder) as servers:
        entry = binance(wire, servers, "all_unknown", trades=["BTC/USTD"])
        with pytest.raises(SourceError, match=r"expected a symbol of binance, BTC/USTD: .*BTC/USDT"):
            preview(wire.settings, entry, wanted=1, seconds=20, home=tmp_path)


def two_markets_of_one_id() -> ccxt.pro.binance:
    exchange = ccxt.pro.binance()
    common = {"id": "BTCUSDT", "base": "BTC", "quote": "USDT", "active": True, "linear": None, "inverse": None}
    exchange.set_markets([
        exchange.safe_market_structure({**common, "symbol": "BTC/USDT", "type": "spot", "spot": True}),
        exchange.safe_market_structure({**common, "symbol": "BTC/USDT:USDT", "type": "swap", "swap": True}),
    ])  # fmt: skip
    return exchange


def test_an_id_that_several_markets_share_is_refused_with_their_names() -> None:
    health = Health("shared_id")
    assert resolve(two_markets_of_one_id(), health, ["BTCUSDT", "BTC/USDT:USDT"]) == ["BTC/USDT:USDT"]
    assert health.degraded.keys() == {"BTCUSDT"}
    assert "write BTC/USDT or BTC/USDT:USDT" in health.degraded["BTCUSDT"]


def test_an_error_is_about_the_symbol_that_it_names_as_the_venue_or_as_ccxt_does() -> None:
    exchange = ccxt.pro.okx()
    markets = {"BTC/USDT": "BTC-USDT", "BTC/USDT:USDT": "BTC-USDT-SWAP", "ETH/USDT": "ETH-USDT"}
    exchange.set_markets([
        exchange.safe_market_structure({"id": of, "symbol": symbol, "base": symbol[:3], "quote": "USDT"})
        for symbol, of in markets.items()
    ])  # fmt: skip
    blame = Blame(exchange, markets)
    for text, guilty in (
        ("channel:trades,instId:BTC-USDT-SWAP doesn't exist", ["BTC/USDT:USDT"]),
        ("channel:trades,instId:btc-usdt doesn't exist", ["BTC/USDT"]),
        ("okx has no market BTC/USDT:USDT.", ["BTC/USDT:USDT"]),
        ("Illegal request", list(markets)),
    ):
        assert [symbol for symbol in markets if not blame.names_another(text, symbol)] == guilty


def test_a_gap_in_one_book_of_okx_costs_no_trade_and_the_book_begins_anew(wire: Wire) -> None:
    venue = OkxVenue(["BTC-USDT", "ETH-USDT"], trades=500, expects=3, gap_at=200)
    book = {"symbols": ["BTC/USDT"], "depth": 5, "every_seconds": 0}
    with in_thread(venue.serve) as port:
        entry = okx(wire, port, "okx_gap", trades=["BTC/USDT", "ETH-USDT"], order_book=book, sequential_trade_ids=True)
        with wire.connected(entry) as publisher:
            until(lambda: venue.snapshots >= 2, "the book asked for again")
            until(lambda: venue.sent > 700 and publisher.sent["market_tick"] >= 2 * venue.sent, "every trade")
            until(lambda: _last_size(wire) == 100 + venue.sent, "the last book")
        assert publisher.gaps == {"BTC/USDT": 1}
    assert venue.connections == 1
    assert not publisher.source_errors
    for symbol in ("BTC/USDT", "ETH/USDT"):
        assert ids_of(wire, symbol) == Counter(str(number) for number in range(1, venue.sent + 1))
    assert all(len({one["size"] for one in levels}) == 1 for levels in snapshots(wire).values())


def _last_size(wire: Wire) -> float:
    return float(wire.records("order_book_l2", last=1)[-1]["size"])


def test_an_instrument_that_the_venue_no_longer_has_costs_itself_and_is_named(wire: Wire) -> None:
    venue = OkxVenue(["BTC-USDT", "ETH-USDT", "OLD-USDT"], trades=500, expects=3, gone=frozenset({"OLD-USDT"}))
    with in_thread(venue.serve) as port:
        entry = okx(wire, port, "okx_gone", trades=["BTC/USDT", "ETH/USDT", "OLD/USDT"])
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["market_tick"] >= 1000, "every trade of the others")
            until(lambda: publisher.degraded, "the third named")
    assert publisher.degraded.keys() == {"OLD/USDT trades"}
    assert "OLD-USDT doesn't exist" in publisher.degraded["OLD/USDT trades"]
    assert venue.connections == 1
    assert not publisher.source_errors
    for symbol in ("BTC/USDT", "ETH/USDT"):
        assert ids_of(wire, symbol) == Counter(str(number) for number in range(1, 501))


def test_a_message_that_ccxt_itself_fails_on_is_counted_and_its_connection_made_anew(wire: Wire) -> None:
    venue = OkxVenue(["BTC-USDT"], trades=300, expects=2, odd_time_at=100)
    with in_thread(venue.serve) as port:
        entry = okx(
            wire, port, "okx_odd", trades=["BTC/USDT"], order_book={"symbols": ["BTC-USDT"], "every_seconds": 0}
        )
        with wire.connected(entry) as publisher:
            until(lambda: venue.connections >= 2, "the next connection")
            until(lambda: venue.sent > 300 and _last_size(wire) == 100 + venue.sent, "the last book")
            until(lambda: ids_of(wire, "BTC/USDT")[str(venue.sent)], "the last trade")
    assert publisher.client_errors == {"ccxt failed on a message with ValueError": 1}
    assert publisher.source_errors == 1
    assert set(ids_of(wire, "BTC/USDT").values()) == {1}


def test_a_book_that_the_venue_refuses_at_its_first_request_costs_itself_and_is_named(
    wire: Wire, session: Session
) -> None:
    with serving(session.folder) as servers:
        feed = servers.binance.replay.feed
        feed.snapshots = {symbol: book for symbol, book in feed.snapshots.items() if symbol == "BTCUSDT"}
        book = {"symbols": ["BTC/USDT", "ETH/USDT"], "depth": 5, "every_seconds": 0.1}
        with wire.connected(binance(wire, servers, "one_refused", order_book=book)) as publisher:
            until(lambda: publisher.degraded, "the book named")
            until(lambda: publisher.sent["market_tick"] >= session_trades(servers), "every trade")
            until(lambda: publisher.sent["order_book_l2"], "the other book")
    assert publisher.degraded.keys() == {"ETH/USDT book"}
    assert not publisher.source_errors
    assert ids_of(wire, "BTC/USDT") == Counter(recorded_ids(servers, BTC))
    assert {one["symbol"] for one in wire.records("order_book_l2")} == {"BTC/USDT"}


@pytest.mark.parametrize("accident", [Accident.CUT, Accident.GARBAGE])
def test_a_connection_that_breaks_costs_its_own_streams_alone(wire: Wire, session: Session, accident: Accident) -> None:
    with serving(session.folder) as servers:
        servers.binance.replay.accidents = {(BOOK, 200): accident}
        book = {"symbols": ["BTC/USDT"], "depth": 5, "every_seconds": 0}
        entry = binance(wire, servers, f"book_{accident}", order_book=book)
        with wire.connected(entry) as publisher:
            until(lambda: publisher.source_errors, "a failure, counted")
            until(lambda: publisher.sent["market_tick"] >= session_trades(servers), "every trade")
        expected = recorded_ids(servers, BTC)
    assert publisher.source_errors == 1
    assert ids_of(wire, "BTC/USDT") == Counter(expected)
    assert bool(publisher.client_errors) == (accident is Accident.GARBAGE)  # ccxt's own failure, which wakes nobody
