"""The ccxt kind against Binance's loopback server: gaps, silence, and a connection that breaks in every way."""

import dataclasses
import json
import logging
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from loopback.binance_feed import book_after
from loopback.binance_replay import Accident
from loopback.serving import Servers, serving
from loopback.session import Session
from loopback.source_server import Fault
from stream_shim.connectors.entries import SourceEntry
from stream_shim.running import runner
from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire, entry_of

BTC, ETH, BOOK = "btcusdt@trade", "ethusdt@trade", "btcusdt@depth@100ms"


@pytest.fixture
def wire(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setattr(runner, "RECONNECT_SECONDS", (0.05, 0.1, 0.2))
    return Wire(stack.settings)


@pytest.fixture(scope="module")
def session(generated: Session) -> Session:
    return generated


def binance(wire: Wire, servers: Servers, name: str, **changes: object) -> SourceEntry:
    body = {
        "kind": "ccxt", "exchange": "binance", "trades": ["BTC/USDT", "ETH/USDT"], "sequential_trade_ids": True,
        "options": {"fetchMarkets": {"types": ["spot"]}}, "silence_seconds": 30,
        "urls": {"public": f"{servers.binance.url}/api/v3",
                 "ws.spot": f"{servers.binance.url.replace('http', 'ws')}/ws"},
        **changes,
    }  # fmt: skip
    return entry_of(wire.settings, json.dumps({name: body}))


def ids_of(wire: Wire, symbol: str) -> Counter[str]:
    return Counter(one["attributes"]["id"] for one in wire.records("market_tick") if one["symbol"] == symbol)


def recorded_ids(servers: Servers, stream: str) -> list[str]:
    return [str(json.loads(message.data)["t"]) for message in servers.binance.replay.feed.streams[stream]]


def snapshots(wire: Wire) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in wire.records("order_book_l2"):
        found[one["attributes"]["snapshot_id"]].append(one)
    return found


def test_a_lost_trade_is_a_gap_of_its_symbol_alone(
    wire: Wire, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(session.folder) as servers:
        servers.binance.replay.accidents = {(BTC, number): Accident.LOST for number in (100, 101, 2000)}
        with wire.connected(binance(wire, servers, "lost_trades")) as publisher:
            until(lambda: servers.binance.exhausted, "all of it sent")
            until(lambda: publisher.sent["market_tick"] >= session_trades(servers) - 3, "all of it acknowledged")
        gaps = publisher.gaps
        expected = recorded_ids(servers, BTC)
    assert gaps == {"BTC/USDT": 3}
    assert ids_of(wire, "BTC/USDT") == Counter(expected) - Counter([expected[99], expected[100], expected[1999]])
    assert "2 trades of BTC/USDT are missing before" in caplog.text


def test_a_trade_whose_id_is_no_number_is_rejected_and_the_others_arrive(wire: Wire, session: Session) -> None:
    with serving(session.folder) as servers:
        trades = servers.binance.replay.feed.streams[BTC]
        body = json.loads(trades[50].data)
        trades[50] = dataclasses.replace(trades[50], data=json.dumps({**body, "t": f"x{body['t']}"}))
        with wire.connected(binance(wire, servers, "odd_id", trades=["BTC/USDT"])) as publisher:
            until(lambda: publisher.sent["market_tick"] == len(trades) - 1, "every other trade")
        expected = recorded_ids(servers, BTC)
    assert publisher.rejected.total() == 1
    assert publisher.gaps == {"BTC/USDT": 1}
    assert not publisher.source_errors
    assert ids_of(wire, "BTC/USDT") == Counter([*expected[:50], *expected[51:]])


def session_trades(servers: Servers) -> int:
    return len(servers.binance.replay.feed.streams[BTC]) + len(servers.binance.replay.feed.streams[ETH])


def test_no_book_is_made_across_a_lost_update_and_the_next_one_begins_anew(
    wire: Wire, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(session.folder) as servers:
        servers.binance.replay.accidents = {(BOOK, 300): Accident.LOST}
        entry = binance(wire, servers, "lost_updates", trades=[],
                        order_book={"symbols": ["BTC/USDT"], "depth": 10, "every_seconds": 0.1})  # fmt: skip
        with wire.connected(entry) as publisher:
            until(lambda: servers.binance.exhausted, "all of it sent")
            until(lambda: _book_is(wire, servers, len(servers.binance.replay.feed.streams[BOOK])), "the last book")
        assert publisher.gaps == {"BTC/USDT": 1}
        check_books(wire, servers)
    assert "the book of BTC/USDT has a gap" in caplog.text


def _book_is(wire: Wire, servers: Servers, updates: int) -> bool:
    number, _ = book_after(
        servers.binance.replay.feed.snapshots["BTCUSDT"], servers.binance.replay.feed.streams[BOOK][:updates]
    )
    return any(one["attributes"]["snapshot_id"].endswith(f":{number}") for one in wire.records("order_book_l2", last=1))


def check_books(wire: Wire, servers: Servers) -> None:
    """Every snapshot is whole, and is the venue's book as it was after that update: rebuilt from the raw updates."""
    updates = servers.binance.replay.feed.streams[BOOK]
    numbers = {json.loads(message.data)["u"]: count for count, message in enumerate(updates, start=1)}
    found = snapshots(wire)
    assert len(found) > 10
    for snapshot_id, levels in list(found.items())[:: max(1, len(found) // 40)]:
        assert {one["attributes"]["snapshot_size"] for one in levels} == {len(levels)} == {20}
        count = numbers[int(snapshot_id.rpartition(":")[2])]
        _, sides = book_after(servers.binance.replay.feed.snapshots["BTCUSDT"], updates[:count])
        for side, of in (("bid", "bids"), ("ask", "asks")):
            got = [(one["price"], one["size"]) for one in levels if one["side"] == side]
            assert got == [(float(price), float(size)) for price, size in sides[of][:10]], (snapshot_id, side)


def test_one_silent_symbol_is_counted_and_ends_no_other(wire: Wire, session: Session) -> None:
    with serving(session.folder) as servers:
        entry = binance(
            wire, servers, "one_silent", trades=["BTC/USDT"], silence_seconds=0.3,
            order_book={"symbols": ["ETH/USDT"], "depth": 5, "every_seconds": 1},
        )  # fmt: skip
        books = servers.binance.replay.feed.streams
        if "ethusdt@depth@100ms" not in books:
            books["ethusdt@depth@100ms"] = books[BOOK][:1]  # one update of another symbol, then nothing
            servers.binance.replay.feed.snapshots["ETHUSDT"] = servers.binance.replay.feed.snapshots["BTCUSDT"]
        servers.binance.replay.accidents = {(BTC, 4): Accident.STALL}
        with wire.connected(entry) as publisher:
            until(lambda: publisher.silences["BTC/USDT"] and publisher.silences["ETH/USDT"], "both silences, counted")
            until(lambda: publisher.source_errors, "a source silent in all its streams to be connected again")
            until(lambda: publisher.sent["market_tick"] >= len(books[BTC]), "the trades of the second connection")


@pytest.mark.parametrize("accident", [Accident.CUT, Accident.GARBAGE, Accident.STALL])
def test_a_stream_that_breaks_is_connected_again_and_nothing_is_doubled_but_by_the_venue(
    wire: Wire, session: Session, accident: Accident, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tidemark.connector")
    with serving(session.folder) as servers:
        servers.binance.replay.accidents = {(BTC, 1501): accident}
        entry = binance(wire, servers, f"breaks_{accident}", trades=["BTC/USDT"], silence_seconds=5)
        expected = recorded_ids(servers, BTC)
        with wire.connected(entry) as publisher:
            until(lambda: publisher.source_errors, "a failure, counted")
            until(lambda: publisher.last_ids.get("BTC/USDT") == int(expected[-1]), "the rest by the second connection")
        connections = publisher.source_errors + 1
    times = ids_of(wire, "BTC/USDT")
    assert set(times) == set(expected)
    assert all(times[one] == 1 for one in expected[1500:])
    assert max(times.values()) <= connections  # the venue's server begins anew for each
    assert 1 <= caplog.text.count("connected, its first record came") <= connections


@pytest.mark.parametrize("fault", list(Fault))
def test_a_venue_that_does_not_answer_as_it_should_is_asked_again(wire: Wire, session: Session, fault: Fault) -> None:
    with serving(session.folder) as servers:
        servers.binance.slow_seconds = 2
        servers.binance.fault = fault
        entry = binance(wire, servers, f"asked_{fault}", trades=["BTC/USDT"])
        with wire.connected(entry) as publisher:
            if fault is not Fault.SLOW:
                until(lambda: publisher.source_errors > 1, "failures, counted")
            assert not publisher.sent
            servers.binance.fault = None
            until(lambda: publisher.sent["market_tick"] == len(servers.binance.replay.feed.streams[BTC]), "every trade")
    assert ids_of(wire, "BTC/USDT") == Counter(recorded_ids(servers, BTC))


@pytest.mark.recordings
def test_every_recorded_trade_of_binance_arrives_once(wire: Wire, recordings: Path) -> None:
    with serving(recordings) as servers, wire.connected(binance(wire, servers, "binance_recorded")) as publisher:
        until(lambda: publisher.sent["market_tick"] >= session_trades(servers), "every trade")
    assert ids_of(wire, "BTC/USDT") == Counter(recorded_ids(servers, BTC))
    assert ids_of(wire, "ETH/USDT") == Counter(recorded_ids(servers, ETH))
    assert not publisher.gaps
