"""Kind `alpaca`: trades of US equities (AAPL) by Alpaca's own client, which speaks msgpack over a web socket.

One trade as the client gives it, undone from msgpack (`t` is a msgpack time stamp with nanoseconds):

    {"T": "t", "S": "AAPL", "i": 52983525029461, "x": "V", "p": 228.01, "s": 100, "c": ["@"], "z": "C",
     "t": Timestamp(seconds=1733150700, nanoseconds=123456789)}

`i` numbers the trades of one exchange `x` and day; it goes along under its own name, because it is no id of the symbol.
Source: Alpaca, "Real-time stock data". The client connects again by itself without an end; here each loss is an error,
so that the lane counts it, and waits as it does for every source.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from alpaca.data.enums import DataFeed
from alpaca.data.live import StockDataStream

from stream_shim.buffer.publisher import Datum, Publisher
from stream_shim.config import AlpacaSource, fill, hide
from stream_shim.connectors import until_stopped
from tidemark.errors import SourceError
from tidemark.settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    """The vendor's client; where it would wait and connect again, it ends."""

    async def _wait_before_reconnect(self, retries: int) -> None:
        cause = sys.exc_info()[1]
        await self.close()
        said = "no data in time" if cause is None else f"{type(cause).__name__}: {hide(str(cause))}"
        raise SourceError(f"expected trades, received {said}")


async def run(source: AlpacaSource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """The entry's trades until `stop`; SourceError where the stream is lost or silent."""
    stream = _Stream(
        fill(source.credentials["key"]),
        fill(source.credentials["secret"]),
        raw_data=True,
        feed=DataFeed(source.feed),
        url_override=source.url,
        data_timeout=source.silence_seconds,
    )

    async def take(message: dict[str, Any]) -> None:
        publisher.send(parse_trade(source.source_system, message))

    stream.subscribe_trades(take, *source.symbols)
    try:
        await until_stopped(stop, [stream._run_forever()])
    except SourceError as error:
        raise SourceError(f"{source.name}: {error}") from None
    finally:
        await stream.close()
    if not stop.is_set():
        raise SourceError(f"{source.name}: expected trades, Alpaca refused the subscription; the log says why")
