"""Kind `alpaca`: trades of US equities (AAPL) by Alpaca's own client, which speaks msgpack over a web socket.

One trade as the client gives it, undone from msgpack (`t` is a msgpack time stamp with nanoseconds):

    {"T": "t", "S": "AAPL", "i": 52983525029461, "x": "V", "p": 228.01, "s": 100, "c": ["@"], "z": "C",
     "t": Timestamp(seconds=1733150700, nanoseconds=123456789)}

`i` numbers the trades of one exchange `x` and day; it goes along under its own name, because it is no id of the symbol.
Source: Alpaca, "Real-time stock data". The client connects again by itself without an end; here each loss is an error,
so that the lane counts it, and waits as it does for every source. What Alpaca answers to the subscription the client
only logs; here a symbol that it leaves out is named. It refuses a subscription whole, so one that it refuses is asked
for again symbol by symbol.
"""

import asyncio
import sys
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from alpaca.data.enums import DataFeed
from alpaca.data.live import StockDataStream

from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors import until_stopped
from stream_shim.connectors.client_log import counted
from stream_shim.connectors.entries import AlpacaSource
from tidemark.errors import SourceError
from tidemark.http import retry_after
from tidemark.secrets import fill, hide
from tidemark.settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVERY = "*"
_REFUSED_SUBSCRIPTION = (400, 405, 410)  # invalid syntax, symbol limit exceeded, invalid subscribe action
_REFUSED_ALL = (401, 402, 404, 406, 408, 409)  # who asks may not: unknown, too slow to say, elsewhere too, or not paid
_RAISED = ("data websocket error", "no data received")  # beginnings of what the client logs and we raise


def parse_trade(source_system: str, message: dict[str, Any]) -> Datum:
    """A trade as a market tick; the time's nanoseconds go along as text, in `t`."""
    stamp = message.get("t")
    named = {"symbol": message.get("S"), "price": message.get("p"), "size": message.get("s")}
    fields = {"source_system": source_system, **named, "timestamp": None}
    rest = {key: value for key, value in message.items() if key not in ("S", "p", "s", "t")}
    if stamp is None:
        return Datum("market_tick", fields, rest, 0)
    second = f"{_EPOCH + timedelta(seconds=stamp.seconds):%Y-%m-%dT%H:%M:%S}"
    fields["timestamp"] = f"{second}.{stamp.nanoseconds // 1000:06d}Z"
    rest["t"] = f"{second}.{stamp.nanoseconds:09d}Z"
    return Datum("market_tick", fields, rest, stamp.seconds * 1000 + stamp.nanoseconds // 10**6)


class _Stream(StockDataStream):  # type: ignore[misc]
    """The vendor's client; where it would wait and connect again, it ends, and so it does where all is refused.

    What it catches and only logs, an error of ours too, is in `failed`.
    """

    def __init__(self, publisher: Publisher, symbols: list[str], **client: Any) -> None:
        super().__init__(**client)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._publisher, self._symbols = publisher, symbols
        self._asked: list[str] = []  # the symbols of the subscription that waits for its answer
        self._to_ask: deque[str] = deque()
        self._given: set[str] = set()

    async def _wait_before_reconnect(self, retries: int) -> None:
        cause = sys.exc_info()[1]
        await self.close()
        said = "no data in time" if cause is None else f"{type(cause).__name__}: {hide(str(cause))}"
        headers = getattr(getattr(cause, "response", cause), "headers", None)  # of an upgrade that was refused
        wait_seconds = retry_after(dict(headers.raw_items())) if headers is not None else 0.0
        raise SourceError(f"expected trades, received {said}", wait_seconds)

    async def _send_subscribe_msg(self) -> None:
        await self._ask(self._symbols)

    async def _ask(self, symbols: list[str]) -> None:
        """Send the client's own subscription, of these symbols alone."""
        handlers = vars(self)["_handlers"]
        self._asked, self._handlers = symbols, {"trades": dict.fromkeys(symbols)}
        try:
            await super()._send_subscribe_msg()
        finally:
            self._handlers = handlers

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        if msg.get("T") in ("subscription", "error"):
            await self._take_answer(msg)
        await super()._dispatch(msg)

    async def _take_answer(self, msg: dict[str, Any]) -> None:
        """Name the symbols that the answer leaves out, or refuses; one that refuses several is asked for by symbol."""
        code, said = msg.get("code"), hide(f"{msg.get('msg')} ({msg.get('code')})")
        if msg["T"] == "subscription":
            self._given |= set(msg.get("trades") or ())
            self._note("Alpaca's answer to the subscription leaves it out")
        elif code in _REFUSED_ALL:
            self.fail(SourceError(f"expected trades, received {said}"))
            return
        elif code not in _REFUSED_SUBSCRIPTION or not self._asked:
            return  # the client logs it, which is counted
        elif len(self._asked) > 1:
            self._to_ask.extend(self._asked)
        else:
            self._note(f"Alpaca refuses it: {said}")
        if self._to_ask:
            await self._ask([self._to_ask.popleft()])
        elif not self._given:
            self.fail(SourceError(f"expected trades, Alpaca gives none of {', '.join(self._symbols)}: {said}"))

    def _note(self, why: str) -> None:
        """The symbols that were asked for are given now, or named."""
        for symbol in self._asked:
            if symbol in self._given or _EVERY in self._given:
                self._publisher.mend(symbol)
            else:
                self._publisher.degrade(symbol, why)
        self._asked = []

    def fail(self, error: Exception) -> None:
        """End the stream with this error, the first of several."""
        if not self.failed.done():
            self.failed.set_exception(error)


async def run(source: AlpacaSource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """The entry's trades until `stop`; SourceError where the stream is lost or silent."""
    # As Alpaca names them, each once.
    symbols = list(dict.fromkeys(symbol.strip().upper() for symbol in source.symbols))
    stream = _Stream(
        publisher,
        symbols,
        api_key=fill(source.credentials["key"]),
        secret_key=fill(source.credentials["secret"]),
        raw_data=True,
        feed=DataFeed(source.feed),
        url_override=fill(source.url) if source.url else None,
        data_timeout=source.silence_seconds,
    )

    async def take(message: dict[str, Any]) -> None:
        try:
            _send(source, publisher, message)
        except Exception as error:
            stream.fail(error)  # the client would log it, and go on without the rest of what came with it
            raise

    stream.subscribe_trades(take, *symbols)
    try:
        with counted(publisher, "alpaca", "asyncio", raised=_RAISED):
            await until_stopped(stop, [stream._run_forever(), stream.failed])
    except SourceError as error:
        raise SourceError(f"{source.name}: {error}", error.wait_seconds) from None
    finally:
        await stream.close()
    if not stop.is_set():
        raise SourceError(f"{source.name}: expected trades, Alpaca refused the subscription; the log says why")


def _send(source: AlpacaSource, publisher: Publisher, message: dict[str, Any]) -> None:
    try:
        datum = parse_trade(source.source_system, message)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:  # a time that is none, or of no calendar
        publisher.reject(f"expected a trade, received another ({type(error).__name__})", message)
    else:
        publisher.send(datum)
