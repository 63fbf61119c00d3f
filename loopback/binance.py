"""Binance spot on loopback: REST under /api/v3, web sockets at /ws and /stream.

One recorded trade: `{"e":"trade","E":1723161255210,"s":"BTCUSDT","t":3734812546,"p":"61837.63","q":"0.001",..}`.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from aiohttp import web

from loopback.binance_feed import book_after, read_feed
from loopback.binance_replay import Replay
from loopback.binance_socket import Conversation
from loopback.source_server import SourceServer

_EXCHANGE_INFO_PARAMETERS = {"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"}


def refuse(code: int, message: str) -> web.Response:
    """The vendor's own error body."""
    return web.json_response({"code": code, "msg": message}, status=400)


class BinanceServer(SourceServer):
    """Replays a folder's Binance sessions: trades at once, the book's updates at its reader's pace.

    The trades of the last `paced_seconds` come at the pace of the recording, until `next` hurries them.

    Each subscription starts the stream from the recording's beginning; after its end the socket stays open and quiet.
    """

    name: ClassVar[str] = "binance"

    def __init__(self, recordings: Path, paced_seconds: float = 0.0) -> None:
        super().__init__(recordings)
        self.replay = Replay(read_feed(recordings), paced_seconds=paced_seconds)

    @property
    def exhausted(self) -> bool:
        """Whether every stream that somebody subscribed to went out whole."""
        return self.replay.exhausted

    def next(self) -> None:
        self.replay.hurried.set()

    def status(self) -> dict[str, object]:
        recorded = {name: len(self.replay.feed.streams[name]) for name in self.replay.sent}
        return {"exhausted": self.exhausted, "sent": dict(self.replay.sent), "recorded": recorded}

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/api/v3/ping", self._ping),
            web.get("/api/v3/time", self._time),
            web.get("/api/v3/exchangeInfo", self._exchange_info),
            web.get("/api/v3/depth", self._depth),
            web.get("/ws", self._socket),
            web.get("/ws/{streams:.+}", self._socket),
            web.get("/stream", self._socket),
        ]

    async def _ping(self, _: web.Request) -> web.Response:
        return web.json_response({})

    async def _time(self, _: web.Request) -> web.Response:
        return web.json_response({"serverTime": time.time_ns() // 1_000_000})

    async def _exchange_info(self, request: web.Request) -> web.Response:
        unread = set(request.query) - _EXCHANGE_INFO_PARAMETERS
        if unread:
            return self._unread(request, len(unread))
        symbol = request.query.get("symbol")
        if symbol is None:
            return web.json_response(self.replay.feed.exchange_info)
        if symbol not in self.replay.feed.symbols:
            return refuse(-1121, "Invalid symbol.")
        listed = [one for one in self.replay.feed.exchange_info["symbols"] if one["symbol"] == symbol]  # type: ignore[attr-defined]
        return web.json_response(self.replay.feed.exchange_info | {"symbols": listed})

    async def _depth(self, request: web.Request) -> web.Response:
        unread = set(request.query) - {"symbol", "limit"}
        symbol, limit = request.query.get("symbol", ""), request.query.get("limit", "100")
        if unread:
            response = self._unread(request, len(unread))
        elif not symbol:
            response = refuse(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        elif not limit.isdecimal():
            response = refuse(-1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.")
        elif not 1 <= int(limit) <= 5000:
            response = refuse(-1130, "Data sent for parameter 'limit' is not valid.")
        elif symbol not in self.replay.feed.snapshots:
            response = refuse(-1121, "Invalid symbol.")
        else:
            response = web.json_response(self._book(symbol, int(limit)))
        await response.prepare(request)
        await response.write_eof()
        self.replay.depth_answers[symbol] += 1
        async with self.replay.depth_asked[symbol]:
            self.replay.depth_asked[symbol].notify_all()
        return response

    def _book(self, symbol: str, limit: int) -> dict[str, object]:
        snapshot = self.replay.feed.snapshots[symbol]
        updates = self.replay.feed.streams.get(f"{symbol.lower()}@depth@100ms", [])[: self.replay.updates[symbol]]
        number, sides = book_after(snapshot, updates)
        return {"lastUpdateId": number, **{side: levels[:limit] for side, levels in sides.items()}}

    def _unread(self, request: web.Request, unread: int) -> web.Response:
        sent = len(request.query)
        return refuse(
            -1104, f"Not all sent parameters were read; read '{sent - unread}' parameter(s) but was sent '{sent}'."
        )

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        """/ws[/name/name..] gives raw messages, /stream[?streams=a/b] wraps them; ccxt numbers its connections."""
        combined = request.path.startswith("/stream")
        names = request.query.get("streams", "") if combined else request.match_info.get("streams", "")
        streams = [name for name in names.split("/") if name and not name.isdecimal()]
        if set(request.query) - {"streams", "timeUnit"} or any(
            name not in self.replay.feed.streams for name in streams
        ):
            raise web.HTTPBadRequest
        socket = web.WebSocketResponse(autoping=False, compress=False)  # pongs are awaited one by one
        await socket.prepare(request)
        await Conversation(self.replay, socket, request.transport, combined).run(streams)
        return socket
