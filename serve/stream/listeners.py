"""Who listens: what waits for each is bounded, and whoever does not take it is ended, to go on by the last id."""

import asyncio
from dataclasses import dataclass, field

from serve.stream.events import Event, Wanted
from tidemark.access.keys import Caller

MOST_WAITING = 1_000_000  # bytes that wait for one listener


@dataclass(eq=False)
class Listener:
    """One open stream."""

    caller: Caller
    wanted: Wanted
    waiting: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    bytes_waiting: int = 0
    ended: str | None = None  # why

    def offer(self, chunk: bytes) -> None:
        """Let it wait for the listener, or end it where too much waits already."""
        if self.ended:
            return
        if self.bytes_waiting + len(chunk) > MOST_WAITING:
            self.end(f"more than {MOST_WAITING} bytes waited to be taken")
            return
        self.bytes_waiting += len(chunk)
        self.waiting.put_nowait(chunk)

    def end(self, reason: str) -> None:
        """Nothing more is sent."""
        self.ended = reason
        self.waiting.put_nowait(b"")

    async def take(self, seconds: float) -> bytes | None:
        """All that waits, as soon as something does; b"" at the end, None where nothing came in time."""
        if self.ended:
            return b""
        try:
            chunks = [await asyncio.wait_for(self.waiting.get(), seconds)]
        except TimeoutError:
            return None
        while not self.waiting.empty():
            chunks.append(self.waiting.get_nowait())
        self.bytes_waiting = 0
        return b"" if self.ended else b"".join(chunks)


class Listeners:
    """All of them."""

    def __init__(self) -> None:
        self.open: list[Listener] = []

    def of(self, *channels: str) -> list[Listener]:
        """Those of any of the channels."""
        return [each for each in self.open if not each.wanted.channels.isdisjoint(channels)]

    def symbols(self, *channels: str) -> list[str]:
        """Every symbol that is wanted of the channels."""
        return sorted({symbol for each in self.of(*channels) for symbol in each.wanted.symbols})

    def send(self, events: list[Event]) -> None:
        """To each what it wants; those that want the same get the same bytes."""
        made: dict[Wanted, bytes] = {}
        for listener in self.open:
            wanted = listener.wanted
            if wanted not in made:
                made[wanted] = b"".join(event.data for event in events if event.is_for(wanted))
            if made[wanted]:
                listener.offer(made[wanted])
