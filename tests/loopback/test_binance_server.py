"""The real ccxt client against the replay of Binance: every trade, every book, and each refusal."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import httpx
import pytest

from loopback.binance import BinanceServer
from loopback.serving import Servers, serving
from loopback.session import Level, Session
from loopback.source_server import Fault

MARKETS = ["BTC/USDT", "ETH/USDT"]


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Any]:
    import ccxt.pro

    exchange = ccxt.pro.binance(
        {"newUpdates": True, "options": {"tradesLimit": 1_000_000, "fetchMarkets": {"types": ["spot"]}}}
    )
    exchange.urls["api"]["public"] = f"{url}/api/v3"
    exchange.urls["api"]["ws"]["spot"] = f"{url.replace('http', 'ws')}/ws"
    try:
        await exchange.load_markets()
        yield exchange
    finally:
        await exchange.close()


async def every_trade(url: str, markets: list[str], expected: int) -> list[dict[str, Any]]:
    """As many trades as expected, from one subscription a market; a missing one is a time-out."""
    trades: list[dict[str, Any]] = []

    async def watch(exchange: Any, market: str) -> None:
        while True:
            trades.extend(await exchange.watch_trades(market))

    async def until_all() -> None:
        while len(trades) < expected:
            await asyncio.sleep(0.01)

    async with client(url) as exchange, asyncio.timeout(180):
        watching = [asyncio.create_task(watch(exchange, market)) for market in markets]
        await until_all()
        for task in watching:
            task.cancel()
    return trades


def exact(side: Any) -> list[Level]:
    """The best ten levels as they are now: ccxt changes its own in place."""
    return [(Decimal(str(price)), Decimal(str(size))) for price, size in side[:10]]


async def every_book(url: str, market: str, last_number: int) -> list[tuple[int, int | None, list[Level], list[Level]]]:
    """(number, time, bids, asks) of each book until the one with `last_number`."""
    books: list[tuple[int, int | None, list[Level], list[Level]]] = []
    async with client(url) as exchange, asyncio.timeout(180):
        while not books or books[-1][0] < last_number:
            book = await exchange.watch_order_book(market)
            books.append((book["nonce"], book["timestamp"], exact(book["bids"]), exact(book["asks"])))
    return books


def last_update(server: BinanceServer, stream: str) -> int:
    number: int = json.loads(server.replay.feed.streams[stream][-1].data)["u"]
    return number


def check_trades(servers: Servers, session: Session) -> Counter[date]:
    expected = sum(count for days in session.trades.values() for count in days.values())
    trades = asyncio.run(every_trade(servers.binance.url, MARKETS, expected))
    assert len(trades) == expected
    assert len({(trade["symbol"], trade["id"]) for trade in trades}) == expected
    days = {market: Counter[date]() for market in MARKETS}
    for trade in trades:
        days[trade["symbol"]][datetime.fromtimestamp(trade["timestamp"] / 1000, UTC).date()] += 1
    assert days == session.trades
    assert servers.binance.exhausted
    return days["BTC/USDT"]


def check_books(servers: Servers, session: Session) -> int:
    number = last_update(servers.binance, "btcusdt@depth@100ms")
    books = asyncio.run(every_book(servers.binance.url, "BTC/USDT", number))
    assert books[-1][2:] == session.book_at("BTC/USDT")
    middle = books[len(books) // 2]
    assert middle[2:] == session.book_at("BTC/USDT", middle[1])
    assert books[-1][0] == number
    return len(books)


def test_ccxt_gets_every_generated_trade_on_its_day(generated_sources: Servers, generated: Session) -> None:
    days = check_trades(generated_sources, generated)
    assert len(days) == 2


def test_ccxt_gets_a_book_for_every_generated_update(generated_sources: Servers, generated: Session) -> None:
    assert check_books(generated_sources, generated) >= generated.book_updates["BTC/USDT"] - 2


async def trades_of(url: str, name: str, at_ns: int, expected: int) -> tuple[list[int], float]:
    """The numbers of all trades, hurried once one is there that was received at `at_ns`; the seconds until then."""
    numbers: list[int] = []
    began, hurried_at = time.monotonic(), 0.0
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws/{name}") as socket:
        async with asyncio.timeout(30):
            while len(numbers) < expected:
                trade = json.loads((await socket.receive()).data)
                numbers.append(trade["t"])
                if not hurried_at and trade["T"] * 1_000_000 >= at_ns:
                    hurried_at = time.monotonic()
                    (await session.post(f"{url}/_replay/next")).raise_for_status()
    return numbers, hurried_at - began


def test_the_last_trades_come_as_they_came_until_the_replay_is_hurried(generated: Session) -> None:
    with serving(generated.folder, 60.0) as servers:
        trades = servers.binance.replay.feed.streams["btcusdt@trade"]
        at = trades[-1].received_ns - 59_000_000_000
        numbers, seconds = asyncio.run(trades_of(servers.binance.url, "btcusdt@trade", at, len(trades)))
    assert 1 <= seconds < 20
    assert numbers == [json.loads(trade.data)["t"] for trade in trades]


@pytest.mark.recordings
def test_ccxt_gets_every_recorded_trade_on_its_day(recorded_sources: Servers, recorded: Session) -> None:
    assert check_trades(recorded_sources, recorded) == {date(2024, 8, 8): 9_738, date(2024, 8, 9): 10_166}


@pytest.mark.recordings
def test_ccxt_gets_a_book_for_every_recorded_update(recorded_sources: Servers, recorded: Session) -> None:
    assert recorded.book_updates["BTC/USDT"] == 6_495
    assert check_books(recorded_sources, recorded) >= 6_494


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v3/depth", 400, -1102),
        ("/api/v3/depth?symbol=NOTHING", 400, -1121),
        ("/api/v3/depth?symbol=BTCUSDT&limit=many", 400, -1100),
        ("/api/v3/depth?symbol=BTCUSDT&limit=0", 400, -1130),
        ("/api/v3/depth?symbol=BTCUSDT&color=red", 400, -1104),
        ("/api/v3/exchangeInfo?color=red", 400, -1104),
        ("/api/v3/exchangeInfo?symbol=NOTHING", 400, -1121),
        ("/api/v3/nothing", 404, None),
        ("/ws/nothing@trade", 400, None),
    ],
)
def test_rest_refuses_what_binance_refuses(
    generated_sources: Servers, path: str, status: int, code: int | None
) -> None:
    response = httpx.get(generated_sources.binance.url + path, timeout=60)
    assert response.status_code == status
    if code is not None:
        assert response.json()["code"] == code


async def converse(url: str, requests: list[str]) -> list[dict[str, Any]]:
    """The answers to requests over one combined socket, each sent after the answer to the one before."""
    answers = []
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/stream") as socket:
        for request in requests:
            await socket.send_str(request)
            while "stream" in (answer := await socket.receive_json(timeout=10)):
                pass
            answers.append(answer)
    return answers


def test_the_socket_acknowledges_lists_and_refuses(generated_sources: Servers) -> None:
    answers = asyncio.run(
        converse(
            generated_sources.binance.url,
            [
                '{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}',
                '{"method":"LIST_SUBSCRIPTIONS","id":2}',
                '{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":3}',
                '{"method":"LIST_SUBSCRIPTIONS","id":4}',
                '{"method":"SUBSCRIBE","params":["btcusdt@weather"],"id":5}',
                '{"method":"DANCE","id":6}',
                "{no JSON",
            ],
        )
    )
    assert answers[:4] == [
        {"result": None, "id": 1},
        {"result": ["btcusdt@trade"], "id": 2},
        {"result": None, "id": 3},
        {"result": [], "id": 4},
    ]
    assert [answer["error"]["code"] for answer in answers[4:]] == [2, 2, 3]
    assert "btcusdt@weather" in answers[4]["error"]["msg"]


def test_a_symbol_without_a_market_is_refused_by_name(generated_sources: Servers) -> None:
    import ccxt

    async def ask() -> None:
        async with client(generated_sources.binance.url) as exchange:
            await exchange.watch_trades("DOGE/USDT")

    with pytest.raises(ccxt.BadSymbol):
        asyncio.run(ask())


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_is_an_error_of_the_client_until_it_is_over(generated_sources: Servers, fault: Fault) -> None:
    server = generated_sources.binance
    server.fault = fault
    try:
        response = httpx.get(f"{server.url}/api/v3/ping", timeout=1)
        assert response.status_code == 503 or "json" not in response.headers["Content-Type"]
    except httpx.HTTPError as error:
        assert fault in {Fault.CLOSE, Fault.SLOW}, error
    server.fault = None
    assert httpx.get(f"{server.url}/api/v3/ping", timeout=60).json() == {}


def test_the_replay_says_what_it_sent_and_takes_faults_over_http(generated_sources: Servers) -> None:
    url = generated_sources.binance.url
    assert httpx.post(f"{url}/_replay/fault?kind=unavailable", timeout=60).json()["fault"] == "unavailable"
    assert httpx.get(f"{url}/api/v3/ping", timeout=60).status_code == 503
    status = httpx.post(f"{url}/_replay/fault", timeout=60).json()
    assert status == {"exhausted": False, "sent": {}, "recorded": {}, "requests": 1, "fault": None}
