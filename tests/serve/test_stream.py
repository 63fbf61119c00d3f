"""The stream has each tick once, says what it has not, and lets nobody hear what he may not read."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest

from serve.stream.events import Wanted
from serve.stream.listeners import MOST_WAITING, Listener
from serve.stream.places import of_id
from serve.stream.poller import MOST_MISSED
from tests.serve.conftest import Served
from tests.serve.market import EVIL, Market
from tidemark.access import key_file
from tidemark.access.keys import Caller

pytestmark = pytest.mark.timeout(240)  # heartbeats keep a stream open for ever
A = {"symbol": "A/B"}


class Stream:
    """An open stream, read event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()
        self.id = ""

    def event(self) -> tuple[str, Any]:
        """The next event's name and data."""
        name, data = "", ""
        for line in self._lines:
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = value
            elif field == "id":
                self.id = value
            elif not line and name:
                return name, json.loads(data)
        raise EOFError("the stream ended")

    def events(self, count: int) -> list[tuple[str, Any]]:
        return [self.event() for _ in range(count)]


@contextmanager
def listening(served: Served, person: str = "analyst1", last: str = "", **query: Any) -> Iterator[Stream]:
    """A stream that has begun."""
    headers = {"X-API-Key": served.keys[person]} | ({"Last-Event-ID": last} if last else {})
    with httpx.stream("GET", f"{served.url}/v1/stream", params=query, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        stream = Stream(answer)
        assert stream.event()[0] == "begun"
        yield stream


def offsets(events: list[tuple[str, Any]]) -> list[int]:
    return [data["kafka_offset"] for name, data in events if name == "tick"]


def test_each_tick_is_sent_once_to_all_who_want_its_symbol(served: Served, market: Market) -> None:
    with listening(served, channels="ticks", **A) as one, listening(served, channels="ticks", symbol=EVIL) as other:
        first = market.offset
        minute = market.today + timedelta(minutes=20)
        for _ in range(3):
            market.commit(market.rows(2, minute))
        market.commit(market.rows(1, minute, symbol=EVIL))
        assert offsets(one.events(6)) == list(range(first, first + 6))
        assert other.event()[1]["symbol"] == EVIL


def test_a_bar_is_sent_as_it_moves(served: Served, market: Market) -> None:
    minute = market.today + timedelta(minutes=22)
    with listening(served, channels="bars", **A) as stream:
        market.commit(market.rows(1, minute, 500))
        name, bar = stream.event()
        assert (name, bar["close"], bar["trade_count"]) == ("bar", 500.0, 1)
        market.commit(market.rows(1, minute + timedelta(seconds=5), 501))
        assert stream.event()[1]["close"] == 501.0


def test_of_a_minute_before_the_tidemark_only_that_it_changed_is_said(served: Served, market: Market) -> None:
    late = market.rows(1, market.today + timedelta(minutes=1))
    late[0]["timestamp"] = market.today - timedelta(minutes=5)
    with listening(served, channels="bars", **A) as stream:
        market.commit(late)
        assert stream.event()[0] == "changed"


def test_who_comes_back_is_sent_what_he_missed(served: Served, market: Market) -> None:
    minute = market.today + timedelta(minutes=24)
    with listening(served, channels="ticks", **A) as stream:
        market.commit(market.rows(3, minute))
        first = offsets(stream.events(1))[0]
        seen = stream.id
    market.commit(market.rows(2, minute))
    with listening(served, channels="ticks", last=seen, **A) as again:
        assert offsets(again.events(4)) == list(range(first + 1, first + 5))
        assert of_id(again.id).seen_at == of_id(seen).seen_at  # of what was dropped meanwhile nothing was seen yet
        market.commit(market.rows(1, minute))
        assert offsets(again.events(1)) == [first + 5]


def test_who_asks_for_the_head_alone_gets_no_stream(served: Served, market: Market) -> None:
    query = {"channels": "ticks"} | A
    answer = httpx.head(f"{served.url}/v1/stream", params=query, headers={"X-API-Key": served.keys["analyst1"]})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_what_may_have_left_since_is_a_gap(served: Served, market: Market) -> None:
    with listening(served, channels="ticks", **A) as stream:
        market.commit(market.rows(1, market.today + timedelta(minutes=25)))
        stream.event()
        places = of_id(stream.id)
    places.seen_at -= timedelta(days=3)
    places.of["market_tick", 0] = type(places.of["market_tick", 0])(1, 1)
    with listening(served, channels="ticks", last=places.id, **A) as again:
        name, gap = again.event()
        assert (name, gap["reason"]) == ("gap", "a day has left meanwhile")


def test_who_is_far_behind_is_sent_the_first_of_it_and_told_of_how_many_records_the_rest_is(
    served: Served, market: Market
) -> None:
    far = {"channels": "ticks", "symbol": "FAR/BEHIND"}
    with listening(served, **far) as stream:
        seen = stream.id
    first, end = market.offset, market.offset + MOST_MISSED + 500
    with psycopg.connect(market.stack.dsn("realtime", "stream_writer")) as connection:
        connection.execute(
            "insert into realtime.market_tick (source_system, symbol, timestamp, price, size, attributes, log_epoch, "
            "kafka_partition, kafka_offset, received_at) select 'venue', 'FAR/BEHIND', %s, 1, 1, '{}', 1, 0, n, %s "
            "from generate_series(%s::bigint, %s::bigint - 1) as n",
            (market.today, market.today, first, end),
        )
    market.offset = end
    market.commit([])
    with listening(served, last=seen, **far) as again:
        assert offsets(again.events(MOST_MISSED)) == list(range(first, first + MOST_MISSED))
        name, gap = again.event()
        assert (name, gap["records"], gap["reason"]) == ("gap", 500, f"more than {MOST_MISSED} events behind")
        assert "/v1/ticks" in gap["todo"]
        market.commit(market.rows(1, market.today + timedelta(minutes=1), symbol="FAR/BEHIND"))
        assert offsets(again.events(1)) == [end]


@pytest.mark.parametrize(
    ("epoch", "offset", "reason"),
    [(7, 1, "another life of the log has begun"), (1, 10**9, "another life of the log has begun")],
)
def test_an_id_of_another_life_of_the_log_is_a_gap(
    served: Served, market: Market, epoch: int, offset: int, reason: str
) -> None:
    with listening(served, channels="ticks", **A) as stream:
        places = of_id(stream.id)
    places.of["market_tick", 0] = type(places.of["market_tick", 0])(epoch, offset)
    with listening(served, channels="ticks", last=places.id, **A) as again:
        assert (again.event()[1]["reason"]) == reason


def test_events_are_sent_as_they_come(served: Served, market: Market) -> None:
    row = {
        "source_system": "fred", "event_publisher": "BLS", "value": 3.5, "unit": "percent", "description": "rate",
        "attributes": {"series_id": "UNRATE", "date": "2024-07-01"}, "log_epoch": 1, "kafka_partition": 0,
        "kafka_offset": 0, "received_at": market.today + timedelta(minutes=1),
    }  # fmt: skip
    with listening(served, channels="events", series="UNRATE") as stream:
        market.commit([row], "economic_event_numeric", next_offset=1)
        name, event = stream.event()
        assert (name, event["series_id"], event["value"]) == ("event", "UNRATE", 3.5)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("channels=ticks", 400), ("channels=trades&symbol=A", 400), ("channels=&symbol=A", 400), ("symbol=A", 400),
        ("channels=ticks&symbol=A%00", 400), ("channels=ticks&symbol=A&last_event_id=%27;drop", 400),
        ("channels=ticks&symbol=A&last_event_id=1;m99999.1.1", 400),
    ],
)  # fmt: skip
def test_what_is_no_question_is_refused(served: Served, market: Market, query: str, status: int) -> None:
    assert served.get(f"/v1/stream?{query}").status_code == status


def test_who_may_not_read_live_hears_nothing(served: Served, market: Market) -> None:
    with_scope = key_file.make(served.settings, "analyst1", 3_600, scope=("marts",), rate=100)[1]
    answer = httpx.get(f"{served.url}/v1/stream?channels=ticks&symbol=A", headers={"X-API-Key": with_scope}, timeout=60)
    assert answer.status_code == 404
    assert httpx.get(f"{served.url}/v1/stream?channels=ticks&symbol=A", timeout=60).status_code == 401


def test_with_the_last_listener_the_asking_ends(served: Served, market: Market) -> None:
    count = "select count(*) from pg_stat_activity where application_name = 'tidemark-api' and state <> 'idle'"
    with listening(served, channels="ticks", **A):
        pass
    with psycopg.connect(market.stack.dsn("realtime", "owner")) as connection:
        assert connection.execute(count).fetchone() == (0,)


def test_for_whom_too_much_waits_is_ended_and_told_why() -> None:
    listener = Listener(Caller("analyst1", "k", (), 1.0), Wanted(frozenset({"ticks"})))
    listener.offer(b"x" * MOST_WAITING)
    assert listener.ended is None
    listener.offer(b"x")
    listener.offer(b"y")
    assert listener.ended == f"more than {MOST_WAITING} bytes waited to be taken"
    assert asyncio.run(listener.take(1)) == b""


def test_who_takes_what_waits_is_not_ended() -> None:
    listener = Listener(Caller("analyst1", "k", (), 1.0), Wanted(frozenset({"ticks"})))
    for _ in range(3):
        listener.offer(b"x" * MOST_WAITING)
        assert asyncio.run(listener.take(1)) == b"x" * MOST_WAITING
    assert asyncio.run(listener.take(0.01)) is None
