"""What every loopback server shares: a free port, faults on demand, the replay's control beside the vendor's paths."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from aiohttp import web

CONTROL = "/_replay/"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fault(StrEnum):
    """How a request may fail: 503, 429, an HTML page or garbage with status 200, a silent close, no answer in time."""

    UNAVAILABLE = "unavailable"
    LIMITED = "limited"
    HTML = "html"
    GARBAGE = "garbage"
    CLOSE = "close"
    SLOW = "slow"


class SourceServer:
    """One source. Set `fault` (from any thread) to fail every request until it is None again."""

    name: ClassVar[str]

    def __init__(self, recordings: Path) -> None:
        """Read what the folder holds of this source; FileNotFoundError names a recording that is missing."""
        self.recordings = recordings
        self.fault: Fault | None = None
        self.slow_seconds = 60.0
        self.requests = 0  # of the vendor's paths, the failed ones too
        self.url = ""  # known once the server listens

    def routes(self) -> Iterable[web.RouteDef]:
        """The vendor's own paths."""
        raise NotImplementedError

    def status(self) -> dict[str, object]:
        """What was served so far: `exhausted` is true once all of the recording went out to somebody."""
        return {"exhausted": self.exhausted}

    @property
    def exhausted(self) -> bool:
        """Whether everything that this source has recorded was served."""
        raise NotImplementedError

    def next(self) -> None:
        """Go on to the source's next recording, or the rest of one; a source without any stays where it is."""

    async def listen(self) -> web.AppRunner:
        """Serve on 127.0.0.1 and a free port, set `url`; the caller cleans the runner up."""
        application = web.Application(middlewares=[self._fail])
        application.add_routes(self.routes())
        application.add_routes(self._control())
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def _control(self) -> list[web.RouteDef]:
        async def status(_: web.Request) -> web.Response:
            return web.json_response(self.status() | {"requests": self.requests, "fault": self.fault})

        async def following(request: web.Request) -> web.Response:
            self.next()
            return await status(request)

        async def fault(request: web.Request) -> web.Response:
            kind = request.query.get("kind", "")
            self.fault = Fault(kind) if kind else None
            return await status(request)

        return [
            web.get(CONTROL + "status", status),
            web.post(CONTROL + "next", following),
            web.post(CONTROL + "fault", fault),
        ]

    @web.middleware
    async def _fail(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL):
            return await handler(request)
        self.requests += 1
        if self.fault is Fault.UNAVAILABLE:
            return web.Response(status=503, text="Service Unavailable")
        if self.fault is Fault.HTML:
            return web.Response(text="<html><body>Scheduled maintenance</body></html>", content_type="text/html")
        if self.fault is Fault.LIMITED:
            return web.Response(status=429, text="Too Many Requests", headers={"Retry-After": "1"})
        if self.fault is Fault.GARBAGE:
            return web.Response(body=bytes(range(256)), content_type="application/octet-stream")
        if self.fault is Fault.CLOSE and request.transport is not None:
            request.transport.abort()
        if self.fault is Fault.SLOW:
            await asyncio.sleep(self.slow_seconds)
        return await handler(request)
