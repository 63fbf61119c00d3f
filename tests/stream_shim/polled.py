"""A loopback source that answers every poll with the bytes that a test gives it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.stream_shim.conftest import until
from tests.stream_shim.loopback import in_thread, listening


@dataclass
class Source:
    """Answers every request with `body` and `headers`, counts the answers, and keeps what was posted."""

    body: bytes = b"[]"
    headers: dict[str, str] = field(default_factory=dict)
    answers: int = 0
    posted: list[bytes] = field(default_factory=list)
    url: str = field(default="http://127.0.0.1:9/", init=False)  # nobody, until it serves

    async def answer(self, request: web.Request) -> web.Response:
        self.answers += 1
        if request.method == "POST":
            self.posted.append(await request.read())
        return web.Response(body=self.body, headers=self.headers)

    async def moved(self, _request: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": "/"}, text="moved")

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        routes = (web.get("/", self.answer), web.post("/", self.answer), web.get("/moved/feed.xml", self.moved))
        async with listening(*routes) as port:
            yield port

    @contextmanager
    def serving(self) -> Iterator["Source"]:
        with in_thread(self.serve) as port:
            self.url = f"http://127.0.0.1:{port}/"
            yield self

    def wait_for_polls(self, more: int = 3) -> None:
        """That many answers from now on; all but the last were taken."""
        wanted = self.answers + more
        until(lambda: self.answers >= wanted, f"{more} polls")
