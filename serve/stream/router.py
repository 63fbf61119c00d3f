"""`/v1/stream`: new ticks, bars and events, as they are committed."""

import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from serve import parameters
from serve.callers import Caller, CallerOf, require
from serve.problems import Problem, bad_request, busy
from serve.stream import arrivals
from serve.stream.arrivals import CHANNELS
from serve.stream.events import HEARTBEAT, Wanted, said
from serve.stream.listeners import Listener
from serve.stream.places import of_id
from serve.stream.poller import Poller

router = APIRouter(prefix="/v1", tags=["stream"])

HEARTBEAT_SECONDS = 15.0
RETRY_MS = 2_000  # after which a browser calls again
MOST_LISTENERS, MOST_OF_A_KEY = 256, 64
MOST_NAMES = 100  # of one parameter

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Names = Annotated[list[str] | None, Query(max_length=MOST_NAMES)]
_DESCRIPTION = """\
`text/event-stream`: `tick` and `event` as rows of `live` have them, in the order of the log; `bar` whenever it moved;
`changed` for a minute of which the warehouse has ticks too (`/v1/bars` has it whole); `gap` where something was not
sent, with the reason and from when on; `away`, `back` as the database is. `Last-Event-ID` goes on behind an event."""


@router.get(
    "/stream", summary="New ticks, bars and events as they are committed", description=_DESCRIPTION,
    response_model=None, responses={200: {"content": {"text/event-stream": {}}}},
)  # fmt: skip
async def stream(
    request: Request, caller: CallerOf, *,
    channels: Annotated[str, Query(max_length=40, examples=["ticks,bars"], description="Of `ticks`, `bars`, `events`")],
    symbol: Names = None, source: Names = None, publisher: Names = None, series: Names = None,
    last_event_id: Annotated[str | None, Query(description="As the header, where none can be sent")] = None,
) -> Response:  # fmt: skip
    """Let somebody listen."""
    wanted = _wanted(channels, symbol=symbol, source=source, publisher=publisher, series=series)
    seen_text = request.headers.get("last-event-id") or last_event_id
    seen = of_id(seen_text) if seen_text else None
    require(caller, "live")
    poller: Poller = request.app.state.poller
    _check_room(poller, caller)
    for channel in sorted(wanted.channels):
        async with request.app.state.databases.reading("realtime", caller) as connection:
            await arrivals.check_readable(connection, channel)
    if request.scope["tidemark.method"] == "HEAD":
        return Response(headers=HEADERS, media_type=MEDIA_TYPE)
    listener = Listener(caller, wanted)
    try:
        begun = await poller.join(listener)
        missed = await poller.since(listener, seen, begun) if seen else []
    except BaseException:
        poller.leave(listener)
        raise
    # Whoever is cut off before anything else has missed what it had missed before.
    head = said("begun", {"channels": sorted(wanted.channels)}, (seen or begun).id)
    first = f"retry: {RETRY_MS}\n".encode() + head + b"".join(event.data for event in missed)
    return StreamingResponse(_sent(request, poller, listener, first), headers=HEADERS, media_type=MEDIA_TYPE)


async def _sent(request: Request, poller: Poller, listener: Listener, first: bytes) -> AsyncIterator[bytes]:
    try:
        yield first
        checked_at = time.monotonic()
        while True:
            chunk = await listener.take(HEARTBEAT_SECONDS)
            if chunk == b"":
                yield said("end", {"reason": listener.ended})
                return
            if time.monotonic() - checked_at >= HEARTBEAT_SECONDS:
                checked_at = time.monotonic()
                if not await _may_go_on(request, poller, listener):
                    yield said("end", {"reason": "the key or what it may read is no more"})
                    return
            yield chunk or HEARTBEAT
    finally:
        poller.leave(listener)


async def _may_go_on(request: Request, poller: Poller, listener: Listener) -> bool:
    return request.app.state.callers.is_open(request.scope["tidemark.key"]) and await poller.may_listen(listener)


def _check_room(poller: Poller, caller: Caller) -> None:
    there = poller.listeners.open
    if len(there) >= MOST_LISTENERS:
        raise busy(f"expected at most {MOST_LISTENERS} open streams, found as many: try again", 5)
    if sum(each.caller.key_id == caller.key_id for each in there) >= MOST_OF_A_KEY:
        detail = f"expected at most {MOST_OF_A_KEY} open streams of a key, found as many: close one"
        raise Problem(429, "too many streams", detail, headers={"Retry-After": "5"})


def _wanted(channels: str, **given: list[str] | None) -> Wanted:
    names = frozenset(filter(None, (name.strip() for name in channels.split(","))))
    if not names or not names <= CHANNELS.keys():
        raise bad_request("no such channel", f"channels to be of {', '.join(CHANNELS)}", channels)
    if names & {"ticks", "bars"} and not given["symbol"]:
        raise bad_request("without a symbol", "symbol, once or more, for ticks and bars", "none")
    sets = {key: frozenset(parameters.name(value, key) for value in values or []) for key, values in given.items()}
    return Wanted(names, sets["source"], sets["symbol"], sets["publisher"], sets["series"])
