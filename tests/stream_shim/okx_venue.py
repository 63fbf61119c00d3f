"""A loopback server that speaks OKX's protocol, as far as ccxt asks: instruments, and the channels trades and books."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.stream_shim.loopback import listening

TIME_MS = 1_733_150_700_000


@dataclass
class OkxVenue:
    """Each instrument's trades are numbered from 1, one after the other; each trade of the first moves its book.

    The update after trade `gap_at` is lost; trades go on until its book was asked for again, and then `trades` more.
    `gone` instruments are listed and refused, once what `expects` counts is subscribed.
    """

    instruments: list[str]
    trades: int
    expects: int
    gap_at: int = 0
    gone: frozenset[str] = frozenset()
    odd_time_at: int = 0  # the update with this trade has a time of no calendar
    sent: int = 0
    connections: int = 0
    snapshots: int = 0
    _sequence: int = 100
    _subscribed: set[tuple[str, str]] = field(default_factory=set)
    _began_anew: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: asyncio.Task[None] | None = None

    def serve(self) -> AbstractAsyncContextManager[int]:
        return listening(web.get("/api/v5/public/instruments", self._list), web.get("/ws/v5/public", self._socket))

    async def _list(self, request: web.Request) -> web.Response:
        data = [
            {"instId": name, "instType": "SPOT", "baseCcy": name.split("-")[0], "quoteCcy": name.split("-")[1],
             "state": "live", "tickSz": "0.1", "lotSz": "0.0001", "minSz": "0.0001", "uly": "", "settleCcy": "",
             "ctVal": "", "expTime": "", "optType": "", "stk": "", "lever": ""}
            for name in self.instruments
        ]  # fmt: skip
        return web.json_response({"code": "0", "msg": "", "data": data})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        self._subscribed.clear()
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                break
            for asked in json.loads(message.data)["args"] if message.data != "ping" else ():
                await self._subscribe(socket, asked)
            if self._sending is None and len(self._subscribed) == self.expects:
                self._sending = asyncio.create_task(self._send(socket.send_json))
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        return socket

    async def _subscribe(self, socket: web.WebSocketResponse, asked: dict[str, str]) -> None:
        channel = (asked["channel"], asked["instId"])
        if asked["instId"] in self.gone:
            said = f"Wrong URL or channel:{channel[0]},instId:{channel[1]} doesn't exist. Please use the correct URL."
            self._subscribed.add(channel)
            await socket.send_json({"event": "error", "code": "60018", "msg": said, "connId": "a4d3ae55"})
            return
        await socket.send_json({"event": "subscribe", "arg": asked, "connId": "a4d3ae55"})
        if channel[0] == "books":
            self.snapshots += 1
            await socket.send_json(self._book("snapshot", self._sequence, -1))
            if channel in self._subscribed:
                self._began_anew.set()
        self._subscribed.add(channel)

    async def _send(self, send: Callable[[Any], Any]) -> None:
        rest = self.trades
        while rest:
            self.sent += 1
            for name in self.instruments:
                if ("trades", name) in self._subscribed and name not in self.gone:
                    await send(self._trade(name, self.sent))
            self._sequence += 1
            if self.sent != self.gap_at and ("books", self.instruments[0]) in self._subscribed:
                await send(self._book("update", self._sequence, self._sequence - 1))
            rest -= not self.gap_at or self._began_anew.is_set()
            await asyncio.sleep(0)

    def _trade(self, name: str, number: int) -> dict[str, Any]:
        trade = {"instId": name, "tradeId": str(number), "px": "96000.1", "sz": "0.01", "side": "buy",
                 "ts": str(TIME_MS + number)}  # fmt: skip
        return {"arg": {"channel": "trades", "instId": name}, "data": [trade]}

    def _book(self, action: str, sequence: int, previous: int) -> dict[str, Any]:
        """Its sizes are the sequence's number, so that each snapshot says what it was made of."""
        levels = {"bids": [["96000", str(sequence), "0", "1"]], "asks": [["96001", str(sequence), "0", "1"]]}
        time_ms = 10**18 if self.sent and self.sent == self.odd_time_at else TIME_MS + sequence
        data = {**levels, "ts": str(time_ms), "seqId": sequence, "prevSeqId": previous, "checksum": 0}
        return {"arg": {"channel": "books", "instId": self.instruments[0]}, "action": action, "data": [data]}
