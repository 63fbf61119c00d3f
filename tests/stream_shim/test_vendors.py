"""The vendors' own clients against loopback servers that speak their protocols."""

import json
import sys
from pathlib import Path
from typing import Any

import databento
import databento_dbn as dbn
import msgpack
import pytest

from stream_shim.connectors import connector_of
from stream_shim.connectors.alpaca import parse_trade
from stream_shim.connectors.entries import SourceEntry
from stream_shim.running import runner
from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire, entry_of
from tests.stream_shim.loopback import in_thread
from tests.stream_shim.vendor_servers import AlpacaStream, DatabentoGateway
from tidemark.errors import ConfigurationError

KEY, SECRET = "PKTEST0123456789ABCD", "secret-0123456789abcdefghijklmnop"
DATABENTO_KEY = "db-0123456789abcdefghijklmnopqrs"
SECOND = 1_733_150_700


@pytest.fixture
def wire(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Wire:
    for name, value in (("ALPACA_KEY", KEY), ("ALPACA_SECRET", SECRET), ("DATABENTO_KEY", DATABENTO_KEY)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runner, "RECONNECT_SECONDS", (0.05, 0.1))
    return Wire(stack.settings)


def trade(number: int, symbol: str = "AAPL") -> dict[str, Any]:
    return {
        "T": "t", "S": symbol, "i": number, "x": "V", "p": round(228.01 + number / 100, 2), "s": 100, "c": ["@"],
        "z": "C", "t": msgpack.Timestamp(SECOND + number, 123_456_789),
    }  # fmt: skip


def alpaca(wire: Wire, port: int, name: str, *symbols: str) -> SourceEntry:
    body = {"kind": "alpaca", "symbols": symbols or ["AAPL"], "url": f"ws://127.0.0.1:{port}/v2/iex",
            "credentials": {"key": "${ALPACA_KEY}", "secret": "${ALPACA_SECRET}"}}  # fmt: skip
    return entry_of(wire.settings, json.dumps({name: body}))


def test_every_trade_of_alpaca_arrives_though_the_stream_is_cut(wire: Wire) -> None:
    trades = [trade(number, "AAPL" if number % 5 else "MSFT") for number in range(500)]
    server = AlpacaStream(KEY, SECRET, trades, cut_after=200)
    with in_thread(server.serve) as port, wire.connected(alpaca(wire, port, "alpaca_cut")) as publisher:
        until(lambda: publisher.sent["market_tick"] == 400, "every trade of AAPL")
        assert publisher.source_errors == 1
    assert server.subscribed == [["AAPL"], ["AAPL"]]
    sent = wire.records("market_tick")
    assert [one["attributes"]["i"] for one in sent] == [number for number in range(500) if number % 5]
    assert sent[0] == {
        "source_system": "alpaca_cut", "symbol": "AAPL", "timestamp": "2024-12-02T14:45:01.123456Z", "price": 228.02,
        "size": 100,
        "attributes": {"T": "t", "i": 1, "x": "V", "c": ["@"], "z": "C", "t": "2024-12-02T14:45:01.123456789Z"},
    }  # fmt: skip


def test_credentials_that_alpaca_refuses_are_an_error_without_them(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    server = AlpacaStream("another key", SECRET, [])
    with in_thread(server.serve) as port, wire.connected(alpaca(wire, port, "alpaca_refused")) as publisher:
        until(lambda: publisher.source_errors > 1, "the refusal, counted")
    assert "auth failed" in caplog.text
    assert KEY not in caplog.text
    assert SECRET not in caplog.text


def test_a_symbol_that_alpaca_refuses_or_leaves_out_costs_itself_and_is_named(wire: Wire) -> None:
    trades = [trade(number) for number in range(100)]
    server = AlpacaStream(KEY, SECRET, trades, refused=frozenset({"A?PL"}), unlisted=frozenset({"GONE"}))
    with in_thread(server.serve) as port:
        entry = alpaca(wire, port, "alpaca_parts", "A?PL", "GONE", "aapl", "AAPL")
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["market_tick"] == 100, "every trade of the others")
            report = publisher.report()
    assert server.subscribed == [["A?PL", "GONE", "AAPL"], ["A?PL"], ["GONE"], ["AAPL"]]
    assert report["degraded"] == {
        "A?PL": "Alpaca refuses it: invalid syntax (400)",
        "GONE": "Alpaca's answer to the subscription leaves it out",
    }
    assert not report["source_errors"]
    assert [one["attributes"]["i"] for one in wire.records("market_tick")] == list(range(100))


def test_what_alpacas_client_only_logs_is_counted_and_named(wire: Wire) -> None:
    server = AlpacaStream(KEY, SECRET, [trade(1)], says=[{"T": "error", "code": 407, "msg": "slow client"}])
    with in_thread(server.serve) as port, wire.connected(alpaca(wire, port, "alpaca_slow")) as publisher:
        until(lambda: publisher.sent["market_tick"] == 1, "the trade")
        report = publisher.report()
    assert report["client_errors"] == {"error: slow client (407)": 1}
    assert "slow client" in report["last_client_error"]
    assert not report["source_errors"]


def test_a_refusal_of_all_by_alpaca_is_an_error_and_no_long_silence(wire: Wire) -> None:
    server = AlpacaStream(KEY, SECRET, [], says=[{"T": "error", "code": 406, "msg": "connection limit exceeded"}])
    with in_thread(server.serve) as port, wire.connected(alpaca(wire, port, "alpaca_limit")) as publisher:
        until(lambda: publisher.source_errors > 1, "the refusal, counted")


def test_a_trade_of_alpaca_that_cannot_be_read_costs_itself_alone(wire: Wire) -> None:
    trades = [trade(1), {**trade(2), "t": "soon"}, {**trade(3), "t": msgpack.Timestamp(2**60, 0)}, trade(4)]
    server = AlpacaStream(KEY, SECRET, trades)
    with in_thread(server.serve) as port, wire.connected(alpaca(wire, port, "alpaca_odd")) as publisher:
        until(lambda: publisher.sent["market_tick"] == 2, "the others")
    assert publisher.rejected == {
        "expected a trade, received another (AttributeError)": 1,
        "expected a trade, received another (OverflowError)": 1,
    }
    assert [one["attributes"]["i"] for one in wire.records("market_tick")] == [1, 4]


@pytest.mark.parametrize("lacking", ["S", "p", "s", "t"])
def test_a_trade_of_alpaca_that_lacks_a_field_is_a_datum_that_lacks_it(lacking: str) -> None:
    whole = trade(1)
    del whole[lacking]
    datum = parse_trade("alpaca", whole)
    field = {"S": "symbol", "p": "price", "s": "size", "t": "timestamp"}[lacking]
    assert [name for name, value in datum.fields.items() if value is None] == [field]


def future(number: int) -> dbn.TradeMsg:
    time_ns = SECOND * 10**9 + number * 10**6 + 789
    return dbn.TradeMsg(
        publisher_id=1, instrument_id=42, ts_event=time_ns, price=68_370_000_000 + number * 10_000_000, size=1 + number,
        action=dbn.Action.TRADE, side=dbn.Side.BID, depth=0, ts_recv=time_ns + 1000, sequence=number,
    )  # fmt: skip


def book(number: int, levels: int = 10, flags: int = 0) -> dbn.MBP10Msg:
    time_ns = SECOND * 10**9 + number * 250 * 10**6
    pairs = [
        dbn.BidAskPair(bid_px=68_370_000_000 - rank * 10_000_000, ask_px=68_380_000_000 + rank * 10_000_000,
                       bid_sz=number + rank, ask_sz=1 + rank, bid_ct=1, ask_ct=1)
        for rank in range(levels)
    ]  # fmt: skip
    return dbn.MBP10Msg(
        publisher_id=1, instrument_id=42, ts_event=time_ns, price=68_370_000_000, size=1, action=dbn.Action.ADD,
        side=dbn.Side.BID, depth=0, ts_recv=time_ns, sequence=number, flags=flags,
        levels=pairs + [dbn.BidAskPair()] * (10 - levels),
    )  # fmt: skip


def futures(wire: Wire, port: int, name: str, **changes: object) -> SourceEntry:
    body = {"kind": "databento", "dataset": "GLBX.MDP3", "gateway": "127.0.0.1", "port": port, "trades": ["CLZ26"],
            "credentials": {"key": "${DATABENTO_KEY}"}, **changes}  # fmt: skip
    return entry_of(wire.settings, json.dumps({name: body}))


def test_trades_of_a_future_arrive_with_their_nanoseconds(wire: Wire) -> None:
    gateway = DatabentoGateway(DATABENTO_KEY, {"trades": [future(number) for number in range(300)]}, {42: "CLZ26"})
    with in_thread(gateway.serve) as port, wire.connected(futures(wire, port, "futures_trades")) as publisher:
        until(lambda: publisher.sent["market_tick"] == 300, "every trade")
    assert any(asked.get("symbols") == "CLZ26" and asked.get("stype_in") == "raw_symbol" for asked in gateway.asked)
    sent = wire.records("market_tick")
    assert [one["attributes"]["sequence"] for one in sent] == list(range(300))
    assert sent[5] == {
        "source_system": "futures_trades", "symbol": "CLZ26", "timestamp": "2024-12-02T14:45:00.005000Z",
        "price": 68.42, "size": 6,
        "attributes": {
            "publisher_id": 1, "instrument_id": 42, "depth": 0, "flags": 0, "ts_in_delta": 0, "sequence": 5,
            "action": "T", "side": "B", "ts_event": "1733150700005000789", "ts_recv": "1733150700005001789",
            "price": "68420000000",
        },
    }  # fmt: skip


def mapping(number: int, symbol: str) -> dbn.SymbolMappingMsg:
    return dbn.SymbolMappingMsg(
        publisher_id=1, instrument_id=number, ts_event=0, stype_in=dbn.SType.RAW_SYMBOL, stype_in_symbol=symbol,
        stype_out=dbn.SType.INSTRUMENT_ID, stype_out_symbol=symbol, start_ts=0, end_ts=2**63,
    )  # fmt: skip


def test_a_record_has_the_symbol_of_the_mapping_that_was_in_force_when_it_came(wire: Wire) -> None:
    first, second = [future(number) for number in range(200)], [future(number) for number in range(200, 400)]
    gateway = DatabentoGateway(DATABENTO_KEY, {"trades": [*first, mapping(42, "CLF27"), *second]}, {42: "CLZ26"})
    with in_thread(gateway.serve) as port:
        entry = futures(wire, port, "futures_mapped", trades=["CLZ26", "CLF27"])
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["market_tick"] == 400, "every trade")
        assert not publisher.degraded  # CLF27 was named late
    assert [(one["attributes"]["sequence"], one["symbol"]) for one in wire.records("market_tick")] == [
        (number, "CLZ26" if number < 200 else "CLF27") for number in range(400)
    ]


def test_a_symbol_that_databento_does_not_resolve_costs_itself_and_is_named(wire: Wire) -> None:
    said = "Failed to resolve symbol CLX99"
    error = dbn.ErrorMsg(ts_event=1, err=said, code=dbn.ErrorCode.SYMBOL_RESOLUTION_FAILED)
    gateway = DatabentoGateway(DATABENTO_KEY, {"trades": [error, *map(future, range(100))]}, {42: "CLZ26"})
    with in_thread(gateway.serve) as port:
        entry = futures(wire, port, "futures_parts", trades=["clz26", "CLX99", "CLX9", "CLZ26"])
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["market_tick"] == 100, "every trade of the other")
            report = publisher.report()
    assert any(asked.get("symbols") == "CLZ26,CLX99,CLX9" for asked in gateway.asked)
    assert report["degraded"] == {
        "CLX99": f"expected a symbol of GLBX.MDP3, the gateway said: {said}",
        "CLX9": "expected a symbol of GLBX.MDP3, the gateway did not resolve it",
    }
    assert report["client_errors"] == {"gateway error code=%s err='%s'": 1}
    assert not report["source_errors"]
    assert [one["attributes"]["sequence"] for one in wire.records("market_tick")] == list(range(100))


def test_a_slow_reader_and_the_records_that_databento_skips_are_counted(wire: Wire) -> None:
    slow = dbn.SystemMsg(ts_event=1, msg="slow", code=dbn.SystemCode.SLOW_READER_WARNING)
    skipped = dbn.ErrorMsg(ts_event=1, err="skipped", code=dbn.ErrorCode.SKIPPED_RECORDS_AFTER_SLOW_READING)
    unnamed = dbn.MBP10Msg(
        publisher_id=1, instrument_id=43, ts_event=1, price=1, size=1, action=dbn.Action.ADD, side=dbn.Side.BID,
        depth=0, ts_recv=1, sequence=1, levels=[dbn.BidAskPair()] * 10,
    )  # fmt: skip
    records = {"mbp-10": [slow, skipped, unnamed, book(1)]}
    gateway = DatabentoGateway(DATABENTO_KEY, records, {42: "CLZ26"})
    with in_thread(gateway.serve) as port:
        entry = futures(wire, port, "slow_reader", trades=[], order_book={"symbols": ["CLZ26"], "every_seconds": 0})
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["order_book_l2"] == 20, "the book")
            report = publisher.report()
    assert any(asked.get("slow_reader_behavior") == "warn" for asked in gateway.asked)
    assert report["client_errors"]["slow reader"] == 1
    assert report["gaps"] == {"GLBX.MDP3": 1}
    assert report["rejected"] == {"missing symbol": 1}


def test_books_of_a_future_come_at_their_pace_whole_and_the_last_one_when_a_pause_lasts(wire: Wire) -> None:
    records = {"mbp-10": [*(book(number) for number in range(10)), book(10, levels=3)]}
    gateway = DatabentoGateway(DATABENTO_KEY, records, {42: "CLZ26"})
    order_book = {"symbols": ["CLZ26"], "depth": 5, "every_seconds": 1}
    with in_thread(gateway.serve) as port:
        entry = futures(wire, port, "futures_books", trades=[], order_book=order_book)
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["order_book_l2"] == 10 + 10 + 10 + 6, "four books: the third pause's too")
    sent = wire.records("order_book_l2")
    assert [one["attributes"]["snapshot_size"] for one in sent[:30:10]] == [10, 10, 10]
    assert [(one["side"], one["level"], one["price"], one["size"]) for one in sent[-6:]] == [
        ("bid", 1, 68.37, 10.0), ("bid", 2, 68.36, 11.0), ("bid", 3, 68.35, 12.0),
        ("ask", 1, 68.38, 1.0), ("ask", 2, 68.39, 2.0), ("ask", 3, 68.4, 3.0),
    ]  # fmt: skip
    assert sent[-1]["attributes"]["timestamp"] == "2024-12-02T14:45:02.500000Z"
    assert len({one["attributes"]["snapshot_id"] for one in sent}) == 4


def test_a_book_that_the_gateway_calls_bad_is_a_gap_and_not_sent(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    maybe_bad, last = 1 << 2, 1 << 7
    flags = [last, last | maybe_bad, maybe_bad, last, 0]
    records = {"mbp-10": [book(number, flags=of) for number, of in enumerate(flags)]}
    gateway = DatabentoGateway(DATABENTO_KEY, records, {42: "CLZ26"})
    with in_thread(gateway.serve) as port:
        entry = futures(wire, port, "bad_books", trades=[], order_book={"symbols": ["CLZ26"], "every_seconds": 0})
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["order_book_l2"] == 3 * 20, "the whole books")
        assert publisher.gaps == {"CLZ26": 2}
    bid_sizes = [one["size"] for one in wire.records("order_book_l2") if (one["side"], one["level"]) == ("bid", 1)]
    assert bid_sizes == [0.0, 3.0, 4.0]
    assert caplog.text.count("one that the gateway calls bad") == 1


def test_a_gateway_that_closes_or_refuses_is_connected_again(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    gateway = DatabentoGateway("db-another", {"trades": [future(1)]}, {42: "CLZ26"}, stays=False)
    with in_thread(gateway.serve) as port, wire.connected(futures(wire, port, "futures_closes")) as publisher:
        until(lambda: publisher.source_errors, "the refusal, counted")
        gateway.key = DATABENTO_KEY
        until(lambda: publisher.sent["market_tick"] >= 2, "a trade of two sessions")
        assert publisher.source_errors >= 2
    assert "authentication failed" in caplog.text
    assert DATABENTO_KEY not in caplog.text


@pytest.mark.recordings
def test_the_recorded_futures_arrive_as_databento_decodes_them(wire: Wire, recordings: Path) -> None:
    folder = recordings / "databento_dbn"
    stores = {
        name: databento.DBNStore.from_bytes((folder / f"GLBX.MDP3.{name}.dbn.zst").read_bytes())
        for name in ("trades", "mbp-10")
    }
    records = {name: list(store) for name, store in stores.items()}
    table, last = stores["trades"].to_ndarray(), stores["mbp-10"].to_ndarray()[-1]
    gateway = DatabentoGateway(DATABENTO_KEY, records, {5482: "ESH1"})
    order_book = {"symbols": ["ESH1"], "every_seconds": 0}
    with in_thread(gateway.serve) as port:
        entry = futures(wire, port, "futures_recorded", trades=["ESH1"], order_book=order_book)
        with wire.connected(entry) as publisher:
            until(lambda: publisher.sent["market_tick"] == len(records["trades"]), "every trade")
            until(lambda: publisher.sent["order_book_l2"] == 20 * len(records["mbp-10"]), "every level")
    sent = wire.records("market_tick")
    assert [one["price"] for one in sent] == (table["price"] / 1e9).tolist()
    assert [one["size"] for one in sent] == table["size"].tolist()
    assert [int(one["attributes"]["ts_event"]) for one in sent] == table["ts_event"].tolist()
    levels = wire.records("order_book_l2")[-20:]
    assert [one["price"] for one in levels] == [
        last[f"{side}_px_{rank:02d}"] / 1e9 for side in ("bid", "ask") for rank in range(10)
    ]


@pytest.mark.parametrize("kind", ["alpaca", "databento"])
def test_an_entry_whose_extra_is_not_installed_is_refused_by_its_name(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    entry = alpaca(wire, 1, "missing") if kind == "alpaca" else futures(wire, 1, "missing")
    monkeypatch.delitem(sys.modules, f"stream_shim.connectors.{kind}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == kind]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without(kind), *sys.meta_path])
    with pytest.raises(ConfigurationError, match=rf"missing: .*kind {kind}, .*`make setup`"):
        connector_of(entry)


class _Without:
    """An import finder for an environment that lacks one package."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
