"""Connectors: each selects all fields of its source, renames those that the category has, and sends them to a topic.

A connector is a coroutine `run(source, publisher, settings, stop)` that returns when `stop` is set, and raises
SourceError when its source is lost; whoever runs it starts it again with back-off.
"""

import asyncio
from collections.abc import Awaitable, Callable

from stream_shim.config import CcxtSource, FeedSource, SourceEntry
from stream_shim.publisher import Publisher
from tidemark.settings import Settings

Connector = Callable[[SourceEntry, Publisher, Settings, asyncio.Event], Awaitable[None]]


def connector_of(source: SourceEntry) -> Connector:
    """The coroutine for a source's kind; its client library is imported here, not before."""
    if isinstance(source, CcxtSource):
        from stream_shim.connectors import exchange

        return exchange.run  # type: ignore[return-value]
    if isinstance(source, FeedSource):
        from stream_shim.connectors import feed

        return feed.run  # type: ignore[return-value]
    from stream_shim.connectors import poll

    return poll.run  # type: ignore[return-value]


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait for the next poll or the next try, or for `stop`."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
