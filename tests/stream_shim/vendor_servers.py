"""Loopback servers of the two vendors whose own clients the lane uses: Alpaca's stream, Databento's live gateway."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import databento_dbn as dbn
import msgpack
from aiohttp import WSMsgType, web

from tests.stream_shim.loopback import listening


@dataclass
class AlpacaStream:
    """/v2/iex: greets, wants `auth` then `subscribe`, and sends arrays of messages, msgpack or JSON as the client asks.

    After `cut_after` trades the first connection is dropped; the second goes on where the first was cut. A subscription
    with one of `refused` is refused whole, and `unlisted` are left out of the answer. `says` comes before the trades.
    """

    key: str
    secret: str
    trades: Sequence[dict[str, Any]]
    cut_after: int = 10**9
    refused: frozenset[str] = frozenset()
    unlisted: frozenset[str] = frozenset()
    says: Sequence[dict[str, Any]] = ()
    sent: int = 0
    subscribed: list[list[str]] = field(default_factory=list)

    def serve(self) -> AbstractAsyncContextManager[int]:
        return listening(web.get("/v2/iex", self._socket))

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        as_msgpack = request.headers.get("Content-Type") == "application/msgpack"

        async def send(*messages: dict[str, Any]) -> None:
            await (socket.send_bytes(msgpack.packb(messages)) if as_msgpack else socket.send_json(messages))

        await send({"T": "success", "msg": "connected"})
        authenticated, given = False, set[str]()
        async for message in socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                break
            asked = msgpack.unpackb(message.data) if as_msgpack else message.json()
            if asked["action"] == "auth":
                authenticated = (asked["key"], asked["secret"]) == (self.key, self.secret)
                await send({"T": "success", "msg": "authenticated"} if authenticated
                           else {"T": "error", "code": 402, "msg": "auth failed"})  # fmt: skip
            elif not authenticated:
                await send({"T": "error", "code": 401, "msg": "not authenticated"})
            elif asked["action"] == "subscribe":
                self.subscribed.append(asked["trades"])
                if self.refused & set(asked["trades"]):
                    await send({"T": "error", "code": 400, "msg": "invalid syntax"})
                    continue
                given |= set(asked["trades"]) - self.unlisted
                await send({"T": "subscription", "trades": sorted(given), "quotes": [], "bars": []})
                for one in self.says:
                    await send(one)
                if given:
                    await self._replay(socket, send, given)
        return socket

    async def _replay(self, socket: web.WebSocketResponse, send: Callable[..., Awaitable[None]], of: set[str]) -> None:
        for trade in self.trades[self.sent :]:
            if self.sent == self.cut_after:
                self.cut_after = 10**9
                await socket.close()
                return
            self.sent += 1
            if trade["S"] in of:
                await send(trade)


@dataclass
class DatabentoGateway:
    """The live gateway: greeting, challenge, authentication, subscriptions; then metadata, mappings, records as DBN."""

    key: str
    records: Mapping[str, Sequence[Any]]  # by schema
    mappings: dict[int, str]
    asked: list[dict[str, str]] = field(default_factory=list)
    stays: bool = True  # else it closes when all is sent

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        challenge = "t7kNhwj4xqR0QYjzFKtBEG2ec2pXJ4FK"
        writer.write(f"lsg_version=0.4.2\ncram={challenge}\n".encode())
        schemas: list[str] = []
        try:
            while line := (await reader.readline()).decode().strip():
                asked = dict(part.partition("=")[::2] for part in line.split("|"))
                self.asked.append(asked)
                if "auth" in asked:
                    digest = hashlib.sha256(f"{challenge}|{self.key}".encode()).hexdigest()
                    if asked["auth"] != f"{digest}-{self.key[-5:]}":
                        writer.write(b"success=0|error=User authentication failed.\n")
                        break
                    writer.write(b"success=1|session_id=1690000000\n")
                elif "schema" in asked:
                    schemas.append(asked["schema"])
                elif "start_session" in asked:
                    self._session(writer, schemas)
                    if not self.stays:
                        break
            await writer.drain()
        finally:
            writer.close()

    def _session(self, writer: asyncio.StreamWriter, schemas: list[str]) -> None:
        metadata = dbn.Metadata(
            dataset="GLBX.MDP3", start=0, stype_out=dbn.SType.INSTRUMENT_ID, symbols=[], partial=[], not_found=[],
            mappings=[], stype_in=None, schema=None,
        )  # fmt: skip
        writer.write(metadata.encode())
        for number, symbol in self.mappings.items():
            mapping = dbn.SymbolMappingMsg(
                publisher_id=1, instrument_id=number, ts_event=0, stype_in=dbn.SType.RAW_SYMBOL, stype_in_symbol=symbol,
                stype_out=dbn.SType.INSTRUMENT_ID, stype_out_symbol=symbol, start_ts=0, end_ts=2**63,
            )  # fmt: skip
            writer.write(bytes(mapping))
        for schema in schemas:
            for record in self.records[schema]:
                writer.write(bytes(record))
