"""Kind `ccxt`: trades and order books of any exchange that ccxt's web-socket side supports.

A trade as ccxt gives it (Binance; `info` is the venue's own message, whole):

    {"id": "3719498394", "symbol": "BTC/USDT", "timestamp": 1723161255123, "side": "buy", "price": 61837.64,
     "amount": 0.00054, "cost": 33.39, "info": {"e": "trade", "E": 1723161255124, "s": "BTCUSDT", ..}, ..}

A book is a snapshot of what it is now: {"symbol": .., "bids": [[price, size], ..], "asks": [..], "timestamp": ms,
"nonce": the venue's number of the last update in it}. Source: ccxt manual, "ccxt pro".
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from typing import Any

from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors import until_stopped
from stream_shim.connectors.books import Pace, snapshot
from stream_shim.connectors.client_log import counted
from stream_shim.connectors.entries import CcxtSource, OrderBook
from stream_shim.connectors.listener import Listener, asked_to_wait, watched
from stream_shim.connectors.symbols import resolve
from tidemark.errors import SourceError
from tidemark.proxies import socks_alone
from tidemark.secrets import fill, hide
from tidemark.settings import Settings
from tidemark.typed_yaml import WrongValue

log = logging.getLogger("tidemark.connector")

# ccxt keeps only the newest `tradesLimit` trades between two awaits, 1,000 by default, and drops the rest silently.
TRADES_LIMIT = 1_000_000
LOOK_SECONDS = 0.1
_RENAMED = frozenset({"symbol", "price", "amount", "datetime"})
CLOSE_SECONDS = 2
SOCKETS = ("ws:", "wss:")


def rfc3339(time_ms: int) -> str:
    """A venue's milliseconds as the wire's text."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_trade(source_system: str, trade: dict[str, Any]) -> Datum:
    """A unified trade as a market tick; what the category does not have goes along."""
    fields = {
        "source_system": source_system,
        "symbol": trade.get("symbol"),
        "timestamp": trade.get("datetime"),  # ccxt's text of `timestamp`, as the wire has it
        "price": trade.get("price"),
        "size": trade.get("amount"),
    }
    rest = {name: value for name, value in trade.items() if value is not None and name not in _RENAMED}
    return Datum("market_tick", fields, rest, trade.get("timestamp") or 0)


def parse_book(source_system: str, book: dict[str, Any], depth: int, received_ms: int) -> list[Datum]:
    """A snapshot of `depth` levels a side, a record a level; a book that the venue gives no time has its receipt's."""
    time_ms = int(book.get("timestamp") or received_ms)
    fields = {"source_system": source_system, "symbol": book["symbol"], "timestamp": rfc3339(time_ms)}
    bids, asks = ([(level[0], level[1]) for level in book[side][:depth]] for side in ("bids", "asks"))
    return snapshot(fields, book.get("nonce") or time_ms, time_ms, bids, asks)


def check(source: CcxtSource) -> None:
    """WrongValue where ccxt has no such exchange, or the exchange no such address or credential."""
    import ccxt.pro

    if source.exchange not in ccxt.pro.exchanges:
        near = ", ".join(get_close_matches(source.exchange, ccxt.pro.exchanges)) or "its manual lists them"
        raise WrongValue(
            f"expected an exchange id that ccxt.pro supports ({near}), received {source.exchange!r}", "exchange"
        )
    exchange = getattr(ccxt.pro, source.exchange)()
    known = _addresses(exchange.urls["api"])
    for name, url in source.urls.items():
        if name not in known:
            near = ", ".join(get_close_matches(name, known)) or ", ".join(sorted(known))
            said = f"expected an address that {source.exchange} has ({near}), received {name!r}"
            raise WrongValue(said, "urls", name)
        if (url.startswith(SOCKETS), known[name].startswith(SOCKETS)) in ((True, False), (False, True)):
            raise WrongValue(
                f"expected a URL with the scheme of {known[name]!r}, which it replaces, received another", "urls", name
            )
    for name in source.credentials:
        if name not in exchange.requiredCredentials:
            wanted = ", ".join(sorted(exchange.requiredCredentials))
            raise WrongValue(f"expected one of {wanted}, received {name!r}", "credentials", name)


def _addresses(urls: Any, above: str = "") -> dict[str, str]:
    """ccxt's table of addresses, as an entry names them: {ws: {spot: ..}} is ws.spot."""
    if isinstance(urls, str):
        return {above: urls}
    found: dict[str, str] = {}
    for name, below in urls.items() if isinstance(urls, dict) else ():
        found |= _addresses(below, f"{above}.{name}" if above else name)
    return found


def open_exchange(source: CcxtSource) -> Any:
    """The exchange's client, with the entry's addresses, options and credentials."""
    import ccxt.pro

    check(source)
    credentials = {name: fill(value) for name, value in source.credentials.items()}
    exchange = watched(getattr(ccxt.pro, source.exchange))(
        {
            "newUpdates": True,
            "aiohttp_trust_env": True,
            **credentials,
            "options": {"tradesLimit": TRADES_LIMIT, **source.options},
        }
    )
    for name, url in source.urls.items():
        _replace_url(exchange.urls["api"], name.split("."), fill(url))
    return exchange


def _replace_url(urls: dict[str, Any], path: list[str], url: str) -> None:
    """`urls: {public: .., ws.spot: ..}` in an entry replaces those of ccxt's own table."""
    for step in path[:-1]:
        urls = urls[step]
    urls[path[-1]] = url


async def run(source: CcxtSource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """All of the entry's streams over one client, until `stop`. SourceError where the venue is lost or falls silent."""
    import ccxt.pro

    if socks_alone(os.environ):
        log.warning(
            "%s: expected an HTTP proxy in HTTPS_PROXY, received SOCKS alone: it is called directly", source.name
        )
    exchange = open_exchange(source)
    exchange.on_fault = publisher.client_error
    exchange.on_unread = publisher.reject
    try:
        with counted(publisher, "asyncio"):  # which logs the exceptions that no awaiter sees
            await exchange.load_markets()
            await until_stopped(stop, _streams(exchange, source, publisher))
    except ccxt.pro.BaseError as error:
        raise SourceError(
            f"{source.name}: expected {source.exchange} to stream, received {type(error).__name__}: "
            f"{hide(str(error)) or 'no answer'}",
            asked_to_wait(exchange, error),
        ) from None
    finally:
        exchange.on_lost = log.debug
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(exchange.close(), CLOSE_SECONDS)


def _streams(exchange: Any, source: CcxtSource, publisher: Publisher) -> list[Coroutine[Any, Any, None]]:
    """A stream for each symbol that is one. SourceError where none is."""
    trades, entry = resolve(exchange, publisher, source.trades), source.order_book
    books = resolve(exchange, publisher, entry.symbols) if entry else []
    if not trades and not books:
        raise SourceError(f"{source.name}: expected a symbol of {source.exchange}, {_said(publisher.degraded)}")
    listener = Listener(source, publisher, exchange, {*trades, *books})
    exchange.on_lost = listener.count_lost
    streams = [listener.keep(f"{symbol} trades", symbol, partial(_trades, exchange, symbol)) for symbol in trades]
    for symbol in books:
        assert entry is not None
        pace = Pace(publisher, entry.every_seconds)  # it outlives a connection: a book of before is not sent as new
        streams.append(listener.keep(f"{symbol} book", symbol, partial(_books, exchange, entry, symbol, pace)))
    return streams


def _said(degraded: dict[str, str]) -> str:
    return "; ".join(f"{part}: {why}" for part, why in degraded.items()) or "received none"


async def _trades(exchange: Any, symbol: str, listener: Listener, part: str) -> None:
    """Every trade, once: what ccxt's cache holds is what was not sent yet.

    ccxt wakes whoever awaits. A message that comes while nobody does, between two awaits, would wait in the cache for
    the symbol's next one: hence the look at it when the wait has begun and nothing came at once.
    """
    while True:
        given: list[dict[str, Any]] = []
        watch = asyncio.ensure_future(exchange.watch_trades(symbol))
        try:
            if not (await asyncio.wait([watch], timeout=LOOK_SECONDS))[0]:
                _send_trades(_take(exchange, symbol, []), symbol, listener)
            given = await listener.next_of(part, symbol, watch)
        finally:
            watch.cancel()
            _send_trades(_take(exchange, symbol, given), symbol, listener)


def _take(exchange: Any, symbol: str, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Empty ccxt's cache of the symbol, which bounds its memory too; `given` where the venue's code keeps none."""
    cache = exchange.trades.get(symbol)
    if cache is None:
        return given
    taken = list(cache)
    cache.clear()
    return taken


def _send_trades(trades: list[dict[str, Any]], symbol: str, listener: Listener) -> None:
    for trade in trades:
        if listener.source.sequential_trade_ids and not _in_sequence(
            listener.source, listener.publisher, symbol, trade
        ):
            continue
        listener.publisher.send(parse_trade(listener.source.source_system, trade))


def _in_sequence(source: CcxtSource, publisher: Publisher, symbol: str, trade: dict[str, Any]) -> bool:
    """Count the trades that a venue with sequential ids has given and we have not seen; one seen again is no gap.

    The last id outlives a connection: what was missed between two is a gap as well. A trade whose id is no number is
    rejected, and false is returned.
    """
    try:
        this_id = int(trade["id"])
    except (KeyError, TypeError, ValueError):
        publisher.reject("expected a number as id, received another", trade)
        return False
    last_id = publisher.last_ids.get(symbol, this_id)
    if this_id > last_id + 1:
        publisher.gaps[symbol] += this_id - last_id - 1
        log.warning("%s: %s trades of %s are missing before %s", source.name, this_id - last_id - 1, symbol, this_id)
    publisher.last_ids[symbol] = max(last_id, this_id)
    return True


async def _books(  # noqa: PLR0917 - what its stream is, then what its keeper gives
    exchange: Any, entry: OrderBook, symbol: str, pace: Pace, listener: Listener, part: str
) -> None:
    """Snapshots at the entry's pace. ccxt begins a book anew where it finds a gap in it, so none is made across one."""
    while True:
        watch = asyncio.ensure_future(exchange.watch_order_book(symbol))
        try:
            if not (await asyncio.wait([watch], timeout=LOOK_SECONDS))[0]:  # as for trades
                pace.offer_if_changed(symbol, _levels(listener, entry, exchange.orderbooks.get(symbol)))
            if pace.waits and not (await asyncio.wait([watch], timeout=entry.every_seconds))[0]:
                pace.pause()
            book = await listener.next_of(part, symbol, watch)
        finally:
            watch.cancel()
        pace.offer(symbol, _levels(listener, entry, book))


def _levels(listener: Listener, entry: OrderBook, book: dict[str, Any] | None) -> list[Datum]:
    """The book's records; none where it is only the REST snapshot, without a time, that numbered updates start from."""
    if book is None or (book.get("timestamp") is None and book.get("nonce") is not None):
        return []
    try:
        return parse_book(listener.source.source_system, book, entry.depth, int(time.time() * 1000))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a time of no calendar, a level of no size
        listener.publisher.reject(f"expected a book, received another ({type(error).__name__})", dict(book))
        return []
