"""Kind `feed`: RSS and Atom, polled with conditional requests; an entry is sent once, by its id and title.

One entry of SEC EDGAR's Atom feed, as feedparser gives it:

    {"title": "4 - Smith John (0001234567) (Reporting)", "id": "urn:tag:sec.gov,2008:accession-number=0001-25-000001",
     "link": "https://www.sec.gov/Archives/..", "updated": "2025-12-12T18:02:30-05:00", "tags": [..], ..}

Source: feedparser's reference. One accession number appears once per filer, so its id alone tells no entry apart.
"""

import asyncio
from operator import itemgetter

from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors import markup, pause
from stream_shim.connectors.cursor import Cursor
from stream_shim.connectors.entries import FeedSource
from stream_shim.connectors.http import date_ms, get
from stream_shim.connectors.sending import Reading, joined, send_new
from tidemark.bounded import MOST_BYTES, BeyondBounds
from tidemark.errors import SourceError
from tidemark.http import client
from tidemark.secrets import fill, hide
from tidemark.settings import Settings


def parse_feed(source: FeedSource, body: bytes, time_ms: int, most_bytes: int = MOST_BYTES) -> list[tuple[str, Datum]]:
    """(identity, text event) of every entry, oldest first. SourceError where the body is no feed, or too much of it."""
    try:
        parsed = markup.parse("feed", body, most=most_bytes)
    except BeyondBounds as error:
        raise SourceError(f"{source.name}: expected a feed, received {error}") from None
    if not parsed["version"]:
        raise SourceError(f"{source.name}: expected an RSS or Atom feed, received {hide(repr(body[:80]))}")
    found = []
    for entry in reversed(parsed["entries"]):
        name, title = str(entry.get("id") or entry.get("link")), str(entry.get("title"))
        identity = joined(name, title) if "|" in name else f"{name}|{title}"  # a title often has one
        fields = {
            "source_system": source.source_system,
            "event_publisher": source.event_publisher,
            "value": entry.pop("title", None),
            "unit": source.unit,
            "description": None,
        }
        fields["description"] = entry.get("summary") or fields["value"]
        found.append((identity, Datum("economic_event_text", fields, entry, time_ms)))
    return found


# An entry is sent once.
READING: Reading[tuple[str, Datum]] = Reading(
    identity=itemgetter(0), value=lambda _: "", message=lambda entry: entry[1].whole, make=itemgetter(1)
)


async def run(source: FeedSource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """Poll until `stop`; SourceError when the feed gives none."""
    headers = {name: fill(value) for name, value in source.headers.items()}
    with Cursor.open(settings, source) as cursor:
        async with client() as http:
            while not stop.is_set():
                answer = await get(http, settings, source, fill(source.url), {**headers, **cursor.conditions("")})
                if answer.status == 200:
                    time_ms, most_bytes = date_ms(answer), settings.http_bytes
                    found = await asyncio.to_thread(parse_feed, source, answer.body, time_ms, most_bytes)
                    await send_new(publisher, cursor, found, READING)
                    cursor.mark_answered("", answer.headers)
                    cursor.commit()
                await pause(stop, source.every_seconds)
