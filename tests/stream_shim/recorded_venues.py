"""Loopback servers of venues that cryptofeed has recorded: REST answers by path, and the socket's messages in order.

A recording's lines: "<url> -> <epoch>: <body>" is a GET's answer, "<url> <- <epoch>: <json>" what the client sent,
"<epoch>: <json>" what the venue sent. A message goes out when the client has subscribed to its channel.
"""

import asyncio
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from tests.stream_shim.loopback import listening

_ANSWER = re.compile(r"^(https://\S+) -> [\d.]+: (.*)$")
_MESSAGE = re.compile(r"^[\d.]+: (.*)$")


def _lines(recordings: Path, pattern: str) -> Iterator[str]:
    for path in sorted((recordings / "crypto_ws_cryptofeed").glob(pattern)):
        with gzip.open(path, "rt", encoding="utf-8") as text:
            yield from text


def messages(recordings: Path, venue: str) -> list[Any]:
    """All that the venue sent over its sockets, in order, decoded."""
    found = (_MESSAGE.match(line) for line in _lines(recordings, f"{venue}.ws.*.gz"))
    return [json.loads(match[1]) for match in found if match]


def answers(recordings: Path, venue: str) -> dict[str, str]:
    """The recorded answers: path, with the query where there is one, to body."""
    found = (
        _ANSWER.match(line) for pattern in ("0.gz", "http.*.gz") for line in _lines(recordings, f"{venue}.{pattern}")
    )
    parts = [(urlsplit(match[1]), match[2]) for match in found if match]
    return {f"{url.path}?{url.query}" if url.query else url.path: body for url, body in parts}


@dataclass
class RecordedVenue:
    """One venue. `lacking` answers what ccxt asks today and the recording has not; `expects` subscriptions begin it."""

    venue: str  # ccxt's id
    answers: dict[str, str]
    messages: list[Any]
    expects: int
    wanted: Callable[[Any], list[str]]  # the channels of a client's request
    channel: Callable[[Any], str | None]  # the channel of a message
    acknowledge: Callable[[Any], Any] = lambda request: None
    lacking: dict[str, Any] = field(default_factory=dict)
    awaits: Callable[[Any], str | None] = lambda message: None  # the path that was answered before the message came
    answered: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    refused: list[str] = field(default_factory=list)

    def serve(self) -> AbstractAsyncContextManager[int]:
        return listening(web.get("/{path:.*}", self._get))

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        for path in (request.path_qs, request.path, request.path.rstrip("/")):
            if path in self.lacking:
                return web.json_response(self.lacking[path])
            if path in self.answers:
                self.answered[path].set()
                return web.Response(text=self.answers[path], content_type="application/json")
        self.refused.append(request.path_qs)
        return web.Response(status=404, text="not recorded")

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket, subscribed = web.WebSocketResponse(), set[str]()
        await socket.prepare(request)
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                break
            asked = json.loads(message.data)
            before = len(subscribed)
            subscribed |= set(self.wanted(asked))
            if (acknowledged := self.acknowledge(asked)) is not None:
                await socket.send_json(acknowledged)
            if before < self.expects <= len(subscribed):
                for one in self.messages:
                    if self.channel(one) in subscribed:
                        if path := self.awaits(one):
                            await asyncio.wait_for(self.answered[path].wait(), 30)
                        await socket.send_json(one)
        return socket


def bitstamp(recordings: Path, expects: int) -> RecordedVenue:
    """ccxt reads the pairs at /markets/ today: made of the recorded ones, which have the same facts."""
    recorded = answers(recordings, "BITSTAMP")
    markets = [
        {**pair, "market_symbol": pair["url_symbol"], "market_type": "SPOT", "minimum_order_value": "10",
         "base_currency": pair["name"].split("/")[0], "counter_currency": pair["name"].split("/")[1]}
        for pair in json.loads(recorded["/api/v2/trading-pairs-info/"])
    ]  # fmt: skip

    def awaits(one: Any) -> str | None:
        """The book's answer, where the update is later: ccxt drops what is in its cache when the answer comes."""
        channel = one.get("channel") or ""
        path = f"/api/v2/order_book/{channel.removeprefix('diff_order_book_')}"
        if one.get("event") != "data" or path not in recorded:
            return None
        return path if int(one["data"]["microtimestamp"]) > snapshots[path] else None

    snapshots = {
        path: int(json.loads(body)["microtimestamp"]) for path, body in recorded.items() if "order_book" in path
    }
    return RecordedVenue(
        "bitstamp", recorded, messages(recordings, "BITSTAMP"), expects,
        wanted=lambda asked: [asked["data"]["channel"]] if asked["event"] == "bts:subscribe" else [],
        channel=lambda one: one.get("channel"),
        lacking={"/api/v2/markets/": markets, "/api/v2/currencies/": []},
        awaits=awaits,
    )  # fmt: skip


def gemini(recordings: Path, expects: int) -> RecordedVenue:
    return RecordedVenue(
        "gemini", answers(recordings, "GEMINI"), messages(recordings, "GEMINI"), expects,
        wanted=lambda asked: [symbol for one in asked.get("subscriptions", []) for symbol in one["symbols"]],
        channel=lambda one: one.get("symbol"),
    )  # fmt: skip


def bitfinex(recordings: Path, expects: int) -> RecordedVenue:
    """The recorder asked for sequence numbers at each message's end, ccxt does not: they are left out.

    ccxt asks for the pairs' description, of which the recording has the names alone: the rest here is empty.
    """
    recorded_messages, names = messages(recordings, "BITFINEX"), dict[int, str]()
    all_messages = [one[:-1] if isinstance(one, list) else one for one in recorded_messages]
    for one in all_messages:
        if isinstance(one, dict) and one.get("event") == "subscribed":
            names[one["chanId"]] = f"{one['channel']}:{one['symbol']}"
    recorded = answers(recordings, "BITFINEX")
    pairs = json.loads(recorded["/v2/conf/pub:list:pair:exchange"])[0]
    config = "/v2/conf/pub:info:pair,pub:info:pair:futures,pub:list:pair:securities,pub:list:pair:margin"
    description = [None, None, None, "0.0001", "1000000", None, None, None, "0.2", "0.1"]
    nothing: list[Any] = [[] for _ in range(11)]
    currencies = (
        "/v2/conf/pub:list:currency,pub:map:currency:sym,pub:map:currency:label,pub:map:currency:unit,"
        "pub:map:currency:undl,pub:map:currency:pool,pub:map:currency:explorer,pub:map:currency:tx:fee,"
        "pub:map:tx:method,pub:info:tx:status,pub:list:currency:margin"
    )
    return RecordedVenue(
        "bitfinex", recorded, all_messages, expects,
        wanted=lambda asked: [f"{asked['channel']}:{asked['symbol']}"] if asked["event"] == "subscribe" else [],
        channel=lambda one: names.get(one[0] if isinstance(one, list) else one.get("chanId")),
        lacking={config: [[[pair, description] for pair in pairs], [], [], []], currencies: nothing},
    )  # fmt: skip


def deribit(recordings: Path, expects: int) -> RecordedVenue:
    """Recorded were the raw channels, which want an account today; served as those of 100 ms, of the same format."""

    def at_100ms(one: Any) -> Any:
        return json.loads(json.dumps(one).replace(".raw", ".100ms"))

    recorded = answers(recordings, "DERIBIT")
    today = {"instrument_type": "reversed", "counter_currency": "USD"}  # as the answer says today, and did not in 2021
    instruments = [
        {**today, "settlement_currency": one["base_currency"], **one}
        for path, body in recorded.items()
        if "get_instruments" in path
        for one in json.loads(body)["result"]
    ]
    currencies = [{"currency": name} for name in ("BTC", "ETH", "SOL", "USDC")]
    return RecordedVenue(
        "deribit", recorded, [at_100ms(one) for one in messages(recordings, "DERIBIT")], expects,
        wanted=lambda asked: asked["params"].get("channels", []) if asked["method"] == "public/subscribe" else [],
        channel=lambda one: one.get("params", {}).get("channel"),
        acknowledge=lambda asked: {"jsonrpc": "2.0", "id": asked["id"], "result": asked["params"].get("channels", [])},
        lacking={"/api/v2/public/get_currencies": {"jsonrpc": "2.0", "result": currencies},
                 "/api/v2/public/get_instruments": {"jsonrpc": "2.0", "result": instruments}},
    )  # fmt: skip
