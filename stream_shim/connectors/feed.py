"""Kind `feed`: RSS and Atom, polled with conditional requests; an entry is sent once, by its id and title.

One entry of SEC EDGAR's Atom feed, as feedparser gives it:

    {"title": "4 - Smith John (0001234567) (Reporting)", "id": "urn:tag:sec.gov,2008:accession-number=0001-25-000001",
     "link": "https://www.sec.gov/Archives/..", "updated": "2025-12-12T18:02:30-05:00", "tags": [..], ..}

Source: feedparser's reference. One accession number appears once per filer, so its id alone tells no entry apart.
"""

import asyncio
from io import BytesIO
from typing import Any

import feedparser
import httpx

from stream_shim.buffer.publisher import Datum, Publisher
from stream_shim.config import FeedSource, fill, hide
from stream_shim.connectors import pause
from stream_shim.connectors.cursor import Cursor
from stream_shim.connectors.http import date_ms, get
from tidemark.errors import SourceError
from tidemark.settings import Settings


def parse_feed(source: FeedSource, body: bytes, time_ms: int) -> list[tuple[str, Datum]]:
    """(identity, text event) of every entry, oldest first. SourceError where the body is no feed."""
    parsed = feedparser.parse(BytesIO(body))  # bare bytes that are a file's name would be read as that file
    if not parsed.version:
        raise SourceError(f"{source.name}: expected an RSS or Atom feed, received {hide(repr(body[:80]))}")
    found = []
    for entry in reversed(parsed.entries):
        identity = f"{entry.get('id') or entry.get('link')}|{entry.get('title')}"
        fields = {
            "source_system": source.source_system,
            "event_publisher": source.event_publisher,
            "value": entry.get("title"),
            "unit": source.unit,
            "description": entry.get("summary") or entry.get("title"),
        }
        rest = {key: _plain(value) for key, value in entry.items() if not key.endswith("_parsed") and key != "title"}
        found.append((identity, Datum("economic_event_text", fields, rest, time_ms)))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if not str(key).endswith("_parsed")}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


async def run(source: FeedSource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """Poll until `stop`; SourceError when the feed gives none."""
    cursor = Cursor.load(settings, source.name)
    headers = {name: fill(value) for name, value in source.headers.items()}
    async with httpx.AsyncClient() as client:
        while not stop.is_set():
            response = await get(client, source, fill(source.url), {**headers, **cursor.conditions(source)})
            if response.status_code == 200:
                for identity, datum in parse_feed(source, response.content, date_ms(response)):
                    if cursor.is_new(identity, ""):
                        publisher.send(datum)
                publisher.flush()  # the cursor moves only past what Kafka has
                cursor.save(source, response.headers)
            await pause(stop, source.every_seconds)
