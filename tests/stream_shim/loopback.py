"""What the loopback servers of the tests share: a free port, and a thread with a loop of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

from aiohttp import web


@asynccontextmanager
async def listening(*routes: web.RouteDef) -> AsyncIterator[int]:
    """These routes on a free port, which it gives."""
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextmanager
def in_thread(serve: Callable[[], AbstractAsyncContextManager[int]]) -> Iterator[int]:
    """Run an async context manager that gives a port in a thread's own loop, until the block ends."""
    began, ports, loops = threading.Event(), [], []
    stop = asyncio.Event()

    async def main() -> None:
        async with serve() as port:
            ports.append(port)
            loops.append(asyncio.get_running_loop())
            began.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert began.wait(60)
    try:
        yield ports[0]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(timeout=60)
