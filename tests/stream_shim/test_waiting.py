"""How long a lost source is left alone: as long as it asks for, and the shortest time after a session that worked."""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate

import pytest
from aiohttp import web

from loopback.serving import serving
from loopback.session import Session
from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire, entry_of
from tests.stream_shim.loopback import in_thread, listening

ASKED_SECONDS = 3  # longer than the first two waits


@dataclass
class Limited:
    """Refuses every request, an upgrade to a web socket too, with 429; `headers` are those of the answer."""

    headers: dict[str, str] = field(default_factory=lambda: {"Retry-After": str(ASKED_SECONDS)})
    later: dict[str, str] = field(default_factory=dict)  # those of the second answer and all that follow
    works_from: int = 10**9  # the request from which on it answers, for so many seconds
    works_seconds: float = 0.0
    alternates: bool = False  # it answers every second request, the first with data, the others with no news
    asked_at: list[float] = field(default_factory=list)

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked_at.append(time.monotonic())
        if self.alternates and len(self.asked_at) % 2:
            news = web.json_response([{"date": "1", "value": 1}], headers={"ETag": '"1"'})
            return news if len(self.asked_at) == 1 else web.Response(status=304)
        working = self.asked_at[self.works_from :]
        if working and working[-1] - working[0] < self.works_seconds:
            return web.json_response([{"date": str(len(self.asked_at)), "value": 1}])
        headers = self.headers if len(self.asked_at) == 1 else self.headers | self.later
        return web.Response(status=429, headers=headers, text="Too Many Requests")

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        async with listening(web.get("/{path:.*}", self.answer)) as port:
            yield port

    @contextmanager
    def serving(self) -> Iterator[int]:
        with in_thread(self.serve) as port:
            yield port

    def waits(self, most: int) -> list[float]:
        """The seconds between requests, once there were so many waits."""
        until(lambda: len(self.asked_at) > most, f"{most + 1} requests", 60)
        return [later - earlier for earlier, later in zip(self.asked_at, self.asked_at[1:], strict=False)]


@pytest.fixture
def wire(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setenv("WAITING_KEY", "PKTEST0123456789ABCD")
    return Wire(stack.settings)


def poll(port: int, **changes: object) -> dict[str, object]:
    return {
        "kind": "poll", "url": f"http://127.0.0.1:{port}/{{s}}", "identity": ["date"], "every_seconds": 0.1,
        "requests": [{"s": one, "event_publisher": "P", "unit": "u", "description": "d"} for one in ("a", "b")],
        **changes,
    }  # fmt: skip


def feed(port: int) -> dict[str, object]:
    return {"kind": "feed", "url": f"http://127.0.0.1:{port}/", "event_publisher": "P", "unit": "u"}


def alpaca(port: int) -> dict[str, object]:
    credentials = {"key": "${WAITING_KEY}", "secret": "${WAITING_KEY}"}
    return {"kind": "alpaca", "symbols": ["A"], "url": f"ws://127.0.0.1:{port}/v2/iex", "credentials": credentials}


def exchange(port: int) -> dict[str, object]:
    options = {"fetchMarkets": {"types": ["spot"]}}
    url = f"http://127.0.0.1:{port}/api/v3"
    return {"kind": "ccxt", "exchange": "binance", "trades": ["BTC/USDT"], "urls": {"public": url}, "options": options}


KINDS: dict[str, Callable[[int], dict[str, object]]] = {"poll": poll, "feed": feed, "alpaca": alpaca, "ccxt": exchange}


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_asks_to_be_left_alone_is(kind: str, wire: Wire) -> None:
    server = Limited(later={"Retry-After": "600"})
    with server.serving() as port:
        entry = {f"limited_{kind}": KINDS[kind](port)}
        with wire.connected(entry_of(wire.settings, json.dumps(entry))) as publisher:
            (wait, *_) = server.waits(1)
            began = time.monotonic()
        assert time.monotonic() - began < 20  # a wait ends where the lane does, and not after ten minutes
    assert ASKED_SECONDS <= wait < ASKED_SECONDS + 25
    assert publisher.source_errors >= 1


def test_a_date_is_obeyed_by_the_clock_of_who_gives_it(wire: Wire) -> None:
    an_hour_ago = time.time() - 3600
    headers = {"Date": formatdate(an_hour_ago, usegmt=True),
               "Retry-After": formatdate(an_hour_ago + ASKED_SECONDS, usegmt=True)}  # fmt: skip
    server = Limited(headers)
    with server.serving() as port, wire.connected(entry_of(wire.settings, json.dumps({"limited_date": feed(port)}))):
        assert server.waits(1)[0] >= ASKED_SECONDS


def test_a_socket_that_is_refused_is_asked_for_when_it_says(wire: Wire, generated: Session) -> None:
    server = Limited()
    with serving(generated.folder) as servers, server.serving() as port:
        urls = {"public": f"{servers.binance.url}/api/v3", "ws.spot": f"ws://127.0.0.1:{port}/ws"}
        body = {**exchange(port), "urls": urls}
        with wire.connected(entry_of(wire.settings, json.dumps({"limited_socket": body}))):
            # The first failure of a stream is tried again at once where nothing is asked.
            assert server.waits(1)[0] >= ASKED_SECONDS


def test_after_a_session_that_worked_the_shortest_wait_comes_again(wire: Wire) -> None:
    server = Limited({}, works_from=2, works_seconds=4)
    with server.serving() as port:
        requests = [{"event_publisher": "P", "unit": "u", "description": "d"}]
        body = poll(port, requests=requests, url=f"http://127.0.0.1:{port}/")
        with wire.connected(entry_of(wire.settings, json.dumps({"works_again": body}))) as publisher:
            until(lambda: publisher.source_errors >= 3, "the end of the session")
            began = server.asked_at[server.works_from]
            ended = next(n for n, at in enumerate(server.asked_at) if at - began >= server.works_seconds)
            wait = server.waits(ended + 1)[ended]
    assert wait < 2.4  # as after the first failure, 1 at most; after the third it would be 2.5 and more


def test_a_source_that_answers_every_second_time_is_asked_again_after_the_shortest_wait(wire: Wire) -> None:
    server = Limited({}, alternates=True)
    with server.serving() as port:
        requests = [{"event_publisher": "P", "unit": "u", "description": "d"}]
        body = poll(port, requests=requests, url=f"http://127.0.0.1:{port}/")
        with wire.connected(entry_of(wire.settings, json.dumps({"every_second": body}))) as publisher:
            waits = server.waits(8)
    assert publisher.source_errors >= 4
    assert publisher.answered_at > 0
    assert max(waits) < 2.4  # by then they would be 2.5 and more


def test_a_source_one_of_whose_requests_always_fails_is_left_alone_for_longer_each_time(wire: Wire) -> None:
    server = Limited({}, alternates=True)  # always the second of two
    with server.serving() as port:
        with wire.connected(entry_of(wire.settings, json.dumps({"one_of_two": poll(port)}))) as publisher:
            waits = server.waits(6)
        assert publisher.failing_since > 0
    assert waits[5] > 2  # after the third failure
