"""One client's web socket: requests in, recorded messages out, at the reader's pace where one replaces another."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable
from heapq import merge
from itertools import count
from operator import attrgetter

from aiohttp import WSMessage, WSMsgType, web

from loopback.binance_feed import Message
from loopback.binance_replay import Accident, Pace, Replay

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS")
PING_SECONDS = 20.0  # the vendor's, and a pong is due within PONG_SECONDS
PONG_SECONDS = 60.0
# A pong leaves the client a turn of its event loop after it took the update. The reader that awaits the book gets its
# turn at the same time; the second round lets it ask for the next one first.
ROUNDS_PER_UPDATE = 2
# The client parses a snapshot of a thousand levels, then applies what it kept meanwhile; or it hands a burst on.
ROUNDS_TO_CATCH_UP = 25
BURST = 500  # messages sent without asking whether the reader keeps up
SNAPSHOT_SECONDS = 5.0  # for a client that starts no book of its own, and so asks for no snapshot


class Conversation:
    """Speaks with one client until it leaves."""

    def __init__(
        self,
        replay: Replay,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        combined: bool,
    ) -> None:
        self.replay = replay
        self.socket = socket
        self.transport = transport
        self.combined = combined
        self.subscribed: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.pongs: dict[bytes, asyncio.Future[None]] = {}
        self.numbers = count()

    async def run(self, streams: Iterable[str]) -> None:
        """Replay the streams that the URL names, answer requests, ping; returns when the socket closes."""
        self._start(self._keep_alive())
        self._subscribe(list(streams))
        try:
            async for message in self._messages():
                await self._answer(message)
        finally:
            for task in self.tasks:
                task.cancel()

    async def _messages(self) -> AsyncIterator[str]:
        while True:
            message: WSMessage = await self.socket.receive()
            if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
                return
            if message.type == WSMsgType.PING:
                await self.socket.pong(message.data)
            elif message.type == WSMsgType.PONG:
                waiter = self.pongs.pop(bytes(message.data), None)
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)
            elif message.type == WSMsgType.TEXT:
                yield message.data

    async def _answer(self, text: str) -> None:
        try:
            request = json.loads(text)
        except json.JSONDecodeError as problem:
            return await self.socket.send_json({"error": {"code": 3, "msg": f"Invalid JSON: {problem}"}})
        number = request.get("id") if isinstance(request, dict) else None
        reason = self._refusal(request)
        if reason is not None:
            error = {"code": 2, "msg": f"Invalid request: {reason}"}
            return await self.socket.send_json({"error": error, "id": number})
        method, streams = request["method"], request.get("params", [])
        result = sorted(self.subscribed) if method == "LIST_SUBSCRIPTIONS" else None
        await self.socket.send_json({"result": result, "id": number})
        if method == "SUBSCRIBE":
            self._subscribe(streams)
        elif method == "UNSUBSCRIBE":
            self.subscribed.difference_update(streams)
        return None

    def _refusal(self, request: object) -> str | None:
        if not isinstance(request, dict) or request.get("method") not in METHODS:
            return f"unknown variant, expected one of {', '.join(METHODS)}"
        if request["method"] == "LIST_SUBSCRIPTIONS":
            return None
        streams = request.get("params")
        if not isinstance(streams, list) or not streams:
            return "params must be a list of stream names"
        unknown = [name for name in streams if name not in self.replay.feed.streams]
        return f"invalid stream {unknown[0]}" if unknown else None

    def _subscribe(self, streams: list[str]) -> None:
        new = [name for name in streams if name not in self.subscribed]
        self.subscribed.update(new)
        at_once = [name for name in new if "@depth" not in name]
        if at_once:
            self._start(self._replay(at_once))
        for name in new:
            if "@depth" in name:
                self._start(self._replay_book(name))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        async def until_client_leaves() -> None:
            try:
                await work
            except (TimeoutError, ConnectionError):
                await self.socket.close()

        task = asyncio.create_task(until_client_leaves())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _replay(self, streams: list[str]) -> None:
        """Every message in the order of its receipt, in bursts, and the last ones at the recording's pace.

        ccxt keeps a burst that comes while nobody awaits, and hands it out with the stream's next message: so the last
        one of a stream comes alone, after the reader took the rest.
        """
        feed = self.replay.feed.streams
        sent: Counter[str] = Counter()
        self.replay.sent.update(dict.fromkeys(streams, 0))
        messages = merge(*map(feed.__getitem__, streams), key=attrgetter("received_ns"))
        pace = Pace(self.replay, max(feed[name][-1].received_ns for name in streams))
        for number, message in enumerate(messages, start=1):
            name = message.stream
            if name not in self.subscribed:
                continue
            await pace.wait(message.received_ns)
            sent[name] += 1
            if sent[name] == len(feed[name]):
                await self._rounds(ROUNDS_TO_CATCH_UP)
            elif number % BURST == 0:
                await self._rounds(ROUNDS_PER_UPDATE)
            await self._send(message)
            self.replay.sent[name] = max(self.replay.sent[name], sent[name])

    async def _replay_book(self, stream: str) -> None:
        """Every update, each once its reader took the one before: a book is read as it is now, not update by update."""
        symbol = stream.partition("@")[0].upper()
        answers, after_lost = self.replay.depth_answers[symbol], False
        self.replay.sent.update({stream: 0})
        for number, message in enumerate(self.replay.feed.streams[stream], start=1):
            if stream not in self.subscribed:
                return
            self.replay.updates[symbol] = number
            lost = await self._send(message)
            if number == 1 or after_lost:  # the client asks for a snapshot
                await self._snapshot_taken(symbol, answers)
                answers = self.replay.depth_answers[symbol]
            after_lost = lost
            await self._rounds(ROUNDS_PER_UPDATE)
            self.replay.sent[stream] = max(self.replay.sent[stream], number)

    async def _snapshot_taken(self, symbol: str, before: int) -> None:
        try:
            async with asyncio.timeout(SNAPSHOT_SECONDS), self.replay.depth_asked[symbol]:
                await self.replay.depth_asked[symbol].wait_for(lambda: self.replay.depth_answers[symbol] > before)
        except TimeoutError:
            return
        await self._rounds(ROUNDS_TO_CATCH_UP)

    async def _send(self, message: Message) -> bool:
        """Send one message, unless an accident befalls it; True if it was lost on the way."""
        text = f'{{"stream":"{message.stream}","data":{message.data}}}' if self.combined else message.data
        self.replay.passed[message.stream] += 1
        accident = self.replay.accidents.get((message.stream, self.replay.passed[message.stream]))
        if accident is None:
            await self.socket.send_str(text)
        elif accident is Accident.GARBAGE:
            await self.socket.send_str("\x00garbage")
        elif accident is Accident.STALL:
            await asyncio.Event().wait()
        elif accident is Accident.CUT and self.transport is not None:
            self.transport.write(b"\x81\x7e\x03\xe8" + text[:20].encode())  # a frame of 1,000 bytes that ends here
            self.transport.close()
            raise ConnectionError
        return accident is Accident.LOST

    async def _rounds(self, times: int) -> None:
        """Ping and wait for the pong. A client that does not answer is cut off, as the vendor does."""
        for _ in range(times):
            payload = str(next(self.numbers)).encode()
            waiter = self.pongs[payload] = asyncio.get_running_loop().create_future()
            await self.socket.ping(payload)
            await asyncio.wait_for(waiter, PONG_SECONDS)

    async def _keep_alive(self) -> None:
        while not self.socket.closed:
            await asyncio.sleep(PING_SECONDS)
            await self._rounds(1)
