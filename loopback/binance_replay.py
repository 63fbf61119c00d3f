"""How far the replay of Binance's streams has come, and what may befall a message on its way."""

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from loopback.binance_feed import Feed


class Accident(StrEnum):
    """What may befall a message: lost on the way, cut off in its frame, garbage in its place, silence from there on."""

    LOST = "lost"
    CUT = "cut"
    GARBAGE = "garbage"
    STALL = "stall"


@dataclass
class Replay:
    """One folder's streams, shared by all connections of its server."""

    feed: Feed
    sent: Counter[str] = field(default_factory=Counter)  # by stream, what the furthest subscription got
    passed: Counter[str] = field(default_factory=Counter)  # by stream, messages sent or lost, over all connections
    accidents: dict[tuple[str, int], Accident] = field(default_factory=dict)  # to a stream's n-th message, so counted
    updates: Counter[str] = field(default_factory=Counter)  # by symbol, how far the last connection's book has come
    depth_asked: dict[str, asyncio.Condition] = field(default_factory=lambda: defaultdict(asyncio.Condition))
    depth_answers: Counter[str] = field(default_factory=Counter)  # by symbol, answered GET /depth
    paced_seconds: float = 0.0  # the trades of the recording's last so many seconds come as they came
    hurried: asyncio.Event = field(default_factory=asyncio.Event)  # or at once, from here on

    @property
    def exhausted(self) -> bool:
        """Whether every stream that somebody subscribed to went out whole."""
        return bool(self.sent) and all(self.sent[name] == len(self.feed.streams[name]) for name in self.sent)


class Pace:
    """Of one connection: when a message of the recording's end is due."""

    def __init__(self, replay: Replay, last_ns: int) -> None:
        """The recording ends at `last_ns`."""
        self._replay = replay
        self._from_ns = last_ns - int(replay.paced_seconds * 1e9)
        self._began_at: float | None = None  # the event loop's clock

    async def wait(self, received_ns: int) -> None:
        """Until the message that was received then is due, or the replay is hurried."""
        if received_ns <= self._from_ns:
            return
        self._began_at = self._began_at or asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._began_at + (received_ns - self._from_ns) / 1e9):
                await self._replay.hurried.wait()
