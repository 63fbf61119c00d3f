"""The one that asks for all: while somebody listens, it reads what was committed since, as one of those who may."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from serve.databases import Databases
from serve.problems import Problem
from serve.stream import arrivals, events
from serve.stream.arrivals import CHANNELS, MARKET, Minute
from serve.stream.events import Event, said
from serve.stream.listeners import Listener, Listeners
from serve.stream.places import LETTERS, Log, Places

log = logging.getLogger("serve.stream")

PAUSE = 0.1  # seconds between two looks
BAR_PAUSE = 0.5  # a bar that moves is sent so often at most
AWAY_PAUSE = 1.0  # while the database does not answer
OPEN_PAUSE = 5.0  # minutes that are not final are looked at again
MOST_OPEN = 1_000
MOST_BEHIND = 100_000  # offsets of a partition that are read of a way; what is beyond is a gap
PIECE = 1_000  # offsets that are read and built at once: others have their turn between two
MOST_MISSED = 20_000  # events that are sent to one who comes back; what is beyond is a gap
LONG = timedelta(seconds=10)  # between two looks: a day may have been dropped meanwhile


class Way:
    """From the places that were seen to the newest ones; `at` is how far of it is sent."""

    def __init__(self, seen: Places, newest: Places) -> None:
        self.seen, self.newest = seen, newest
        self.at = seen.copy()  # whoever is cut off on the way has seen nothing since

    @property
    def is_long(self) -> bool:
        """Whether a day may have been dropped meanwhile."""
        return self.newest.seen_at - self.seen.seen_at > LONG

    def skip(self, log_of: Log, reason: str, records: int | None = None) -> Event:
        """Leave the rest of a log out, and say so, and of how many records; None: of another life, nobody knows."""
        self.at.of[log_of] = self.newest.of[log_of]
        channels = [channel for channel, topics in CHANNELS.items() if log_of[0] in topics]
        return events.gap(channels, self.at, self.seen.seen_at, self.newest.seen_at, reason=reason, records=records)


class Poller:
    """Looks while there are listeners; each row is read once, however many listen."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self.listeners = Listeners()
        self.places: Places | None = None
        self._task: asyncio.Task[None] | None = None
        self._begins = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._moved: set[Minute] = set()  # minutes whose bars are to be sent
        self._open: dict[Minute, None] = {}  # minutes that were sent and are not final
        self._bars_at = self._opened_at = 0.0

    async def join(self, listener: Listener) -> Places:
        """Let somebody listen; what comes after these places is sent to it.

        Between two looks: one that has begun asks for the symbols of those who listened then.
        """
        async with self._begins, self._looking:
            if self._task is None or self._task.done():
                self.places = await self._positions(listener)
                self._task = asyncio.create_task(self._run())
            assert self.places is not None
            self.listeners.open.append(listener)
            return self.places.copy()

    def leave(self, listener: Listener) -> None:
        """Somebody listens no more; with the last one the asking ends."""
        if listener in self.listeners.open:
            self.listeners.open.remove(listener)
        if not self.listeners.open and self._task is not None:
            self._task.cancel()
            self._task = None
            self._moved.clear()
            self._open.clear()

    async def since(self, listener: Listener, seen: Places, until: Places) -> list[Event]:
        """What a listener missed between two places, read as itself: MOST_MISSED events, and of the rest a gap."""
        channels, symbols = sorted(listener.wanted.channels), sorted(listener.wanted.symbols)
        found: list[Event] = []
        async for piece in self._between(listener, Way(seen, until), channels, symbols, MOST_MISSED):
            found += [event for event in piece if event.is_for(listener.wanted)]
        return found

    async def _run(self) -> None:
        try:
            pause = PAUSE
            while True:
                await asyncio.sleep(pause)
                began = time.monotonic()
                try:
                    async with self._looking:
                        await self._look()
                except Problem as problem:
                    await self._wait_out(problem)
                # While the processor catches up, what it wrote since the last vacuum is looked through: half the time.
                pause = max(PAUSE, time.monotonic() - began)
        except asyncio.CancelledError:
            raise
        except BaseException:
            log.exception("expected to read what was committed since, the stream ends for its listeners")
            for listener in self.listeners.open:
                listener.end("a fault of the server's")
            raise

    async def _wait_out(self, problem: Problem) -> None:
        """Say that the database is away, and when it is back; whoever may not read any more listens no more."""
        if problem.status in (401, 404):
            for listener in list(self.listeners.open):
                if not await self.may_listen(listener):
                    listener.end("your role may not read it any more")
                    self.leave(listener)
            return
        everybody = tuple(CHANNELS)
        self.listeners.send([Event(everybody, said("away", {"detail": problem.detail}))])
        while self.listeners.open:
            await asyncio.sleep(AWAY_PAUSE)
            with contextlib.suppress(Problem):
                await self._positions(self.listeners.open[0])
                break
        self.listeners.send([Event(everybody, said("back", {}))])

    async def may_listen(self, listener: Listener) -> bool:
        """Whether its role may read its channels; True while the database does not say."""
        try:
            async with self._databases.reading("realtime", listener.caller) as connection:
                for channel in listener.wanted.channels:
                    await arrivals.check_readable(connection, channel)
        except Problem as problem:
            return problem.status not in (401, 404)
        return True

    async def _positions(self, listener: Listener) -> Places:
        async with self._databases.reading("realtime", listener.caller) as connection:
            return await arrivals.positions(connection, list(LETTERS))

    async def _look(self) -> None:
        seen, newest = self.places, await self._positions(self.listeners.open[0])
        assert seen is not None
        way = Way(seen, newest)
        for channels in (("ticks", "bars"), ("events",)):
            readers = self.listeners.of(*channels)
            if readers:
                symbols = self.listeners.symbols(*channels)
                async for piece in self._between(readers[0], way, channels, symbols):
                    self.listeners.send(piece)
                    self.places = way.at.copy()  # where the database goes away before the end
        self.places = newest
        await self._send_bars()

    async def _between(
        self, reader: Listener, way: Way, channels: Sequence[str], symbols: Sequence[str], most: int | None = None
    ) -> AsyncIterator[list[Event]]:
        """The events of the channels on the way, piece by piece, `most` of them or all; what is not read as a gap.

        `way.at` moves with them.
        """
        topics = {topic for channel in channels for topic in CHANNELS[channel]}
        stretches, anew = way.seen.behind(way.newest, topics)
        if not stretches and not anew:
            return
        sent = 0
        async with self._databases.reading("realtime", reader.caller) as connection:
            gone = way.is_long and await arrivals.may_have_left(connection, list(topics), way.seen.seen_at)
            for one in stretches:
                if gone or one.end - one.first > MOST_BEHIND:
                    reason = "a day has left meanwhile" if gone else f"more than {MOST_BEHIND} records behind"
                    yield [way.skip((one.topic, one.partition), reason, one.end - one.first)]
                    continue
                for piece in one.pieces(PIECE):
                    if most is not None and sent >= most:
                        reason = f"more than {most} events behind"
                        yield [way.skip((one.topic, one.partition), reason, one.end - piece.first)]
                        break
                    rows = await arrivals.rows(connection, piece, symbols)
                    self._moved |= events.minutes_of(rows) if one.topic == MARKET else set()
                    sent += len(rows)
                    yield events.of_rows(rows, piece, way.at)
        yield [way.skip(log_of, "another life of the log has begun") for log_of in anew]

    async def _send_bars(self) -> None:
        """Bars that moved, and now and then those that may have become final."""
        readers, now = self.listeners.of("bars"), asyncio.get_running_loop().time()
        if not readers:
            self._moved.clear()
            return
        if now - self._opened_at >= OPEN_PAUSE:
            self._moved |= self._open.keys()
            self._opened_at = now
        if not self._moved or now - self._bars_at < BAR_PAUSE:
            return
        self._bars_at, moved = now, sorted(self._moved)
        self._moved.clear()
        try:
            async with self._databases.reading("realtime", readers[0].caller) as connection:
                bars = await arrivals.bars(connection, moved)
                self.listeners.send(events.of_bars(bars, await arrivals.tidemark(connection)))
        except BaseException:
            self._moved.update(moved)  # they are asked for again once the database is back
            raise
        final = {(row["source_system"], row["symbol"], row["bar_start_at"]) for row in bars if row["is_final"]}
        self._keep_open(moved, final)

    def _keep_open(self, moved: Sequence[Minute], final: set[Minute]) -> None:
        for minute in moved:
            self._open.pop(minute, None)
            if minute not in final:
                self._open[minute] = None
        while len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]
