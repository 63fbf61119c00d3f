"""Run the servers: in a thread of this process (tests), or as a process of their own (the demo)."""

import asyncio
import json
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from loopback.binance import BinanceServer
from loopback.ecb import EcbServer
from loopback.edgar import EdgarServer
from loopback.fred import FredServer
from loopback.source_server import SourceServer


@dataclass(frozen=True)
class Servers:
    """The four sources of one session."""

    binance: BinanceServer
    edgar: EdgarServer
    fred: FredServer
    ecb: EcbServer

    @classmethod
    def of(cls, recordings: Path, paced_seconds: float = 0.0) -> "Servers":
        """Read the folder's recordings, listen nowhere yet. `paced_seconds` as BinanceServer has it."""
        binance = BinanceServer(recordings, paced_seconds)
        return cls(binance, EdgarServer(recordings), FredServer(recordings), EcbServer(recordings))

    def all(self) -> tuple[SourceServer, ...]:
        return (self.binance, self.edgar, self.fred, self.ecb)

    def urls(self) -> dict[str, str]:
        """Source name to base URL, once they listen."""
        return {server.name: server.url for server in self.all()}


async def _serve(servers: Servers, started: "Future[asyncio.AbstractEventLoop]", stop: asyncio.Event) -> None:
    runners = []
    try:
        for server in servers.all():
            runners.append(await server.listen())
        started.set_result(asyncio.get_running_loop())
        await stop.wait()
    finally:
        for runner in runners:
            await runner.cleanup()
        if not started.done():
            started.cancel()


@contextmanager
def serving(recordings: Path, paced_seconds: float = 0.0) -> Iterator[Servers]:
    """All servers of one folder, in a background thread, until the block ends."""
    servers = Servers.of(recordings, paced_seconds)
    started: Future[asyncio.AbstractEventLoop] = Future()
    stop = asyncio.Event()
    thread = Thread(target=lambda: asyncio.run(_serve(servers, started, stop)), name="sources", daemon=True)
    thread.start()
    loop = started.result(timeout=30)
    try:
        yield servers
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=30)


def serve_until_terminated(recordings: Path, paced_seconds: float = 0.0) -> None:
    """All servers in this process, until SIGTERM; prints one JSON line (source name to base URL) once they listen."""

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        servers = Servers.of(recordings, paced_seconds)
        started: Future[asyncio.AbstractEventLoop] = Future()
        started.add_done_callback(lambda _: print(json.dumps(servers.urls()), flush=True))
        await _serve(servers, started, stop)

    asyncio.run(main())
