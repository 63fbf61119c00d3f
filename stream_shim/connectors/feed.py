"""Kind `feed`: RSS and Atom, polled with conditional requests; an entry is sent when it is new or was corrected.

One entry of SEC EDGAR's Atom feed, as feedparser gives it:

    {"title": "4 - Smith John (0001234567) (Reporting)", "id": "urn:tag:sec.gov,2008:accession-number=0001-25-000001",
     "link": "https://www.sec.gov/Archives/..", "updated": "2025-12-12T18:02:30-05:00", "tags": [..], ..}

Source: feedparser's reference. One accession number appears once per filer, so its id alone tells no entry apart: it is
known by its id (without one by its link) and its title.

An entry that comes again is a correction where its text is another, or its times (`published`, `updated`) are, as Atom
means `updated`. Some feeds stamp all of their entries anew whenever they are asked: where all that are known come with
other times and the same texts, and are more than one, nothing was corrected.
"""

import asyncio
from collections.abc import Sequence
from operator import itemgetter
from typing import Any
from urllib.parse import urljoin

import httpx

from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors import decoding, markup, pause
from stream_shim.connectors.cursor import Cursor, short
from stream_shim.connectors.entries import FeedSource
from stream_shim.connectors.http import date_ms, get
from stream_shim.connectors.markup import LINKS
from stream_shim.connectors.sending import Reading, joined, send_new
from tidemark.bounded import MOST_BYTES
from tidemark.errors import SourceError
from tidemark.http import client
from tidemark.secrets import fill, hide
from tidemark.settings import Settings

Entry = tuple[str, Datum]  # what an entry is known by, and its text event
_SENT_ONCE = short("")  # how cursors knew every entry before a correction counted
_TEXT_BYTES = 10  # of what `_state` gives; the others are of the times


def parse_feed(  # noqa: PLR0917 - the answer, then what is known of it
    source: FeedSource,
    body: bytes,
    time_ms: int,
    most_bytes: int = MOST_BYTES,
    content_type: str = "",
    url: str = "",
) -> list[Entry]:
    """(identity, text event) of every entry, oldest first. SourceError where the body is no feed, or too much of it.

    `url` is where the feed was, after redirects: its relative links are relative to it, or to their own xml:base.
    """
    base = hide(_without_query(url))
    where = f" from {base}" if base else ""
    try:
        text = decoding.text(body, "xml", content_type, source.encoding)
        parsed = markup.parse("feed", text.encode(), most=most_bytes, path=base)
    except ValueError as error:
        raise SourceError(f"{source.name}: expected a feed{where}, received {hide(str(error))}") from None
    if not parsed["version"]:
        raise SourceError(f"{source.name}: expected an RSS or Atom feed{where}, received {hide(repr(body[:80]))}")
    return [_event(source, as_sent, entry, time_ms, base) for as_sent, entry in reversed(parsed["entries"])]


def _event(source: FeedSource, as_sent: dict[str, Any], entry: dict[str, Any], time_ms: int, base: str) -> Entry:
    """An entry as it stands in the feed tells what it is known by; with absolute links it is the event."""
    name, title = str(as_sent.get("id") or as_sent.get("link")), str(as_sent.get("title"))
    identity = joined(name, title) if "|" in name else f"{name}|{title}"  # a title often has one
    if "id" in as_sent:
        entry["id"] = as_sent["id"]  # a name, not a place
    text = next((one for one in _texts(entry) if one), None)
    value = entry.pop("title", None) or text
    fields = {
        "source_system": source.source_system,
        "event_publisher": source.event_publisher,
        "value": value,
        "unit": source.unit,
        "description": text or value,
    }
    return identity, Datum("economic_event_text", fields, _absolute(entry, base), time_ms)


def _texts(entry: dict[str, Any]) -> list[Any]:
    return [entry.get("summary"), *(one.get("value") for one in entry.get("content", []))]


def _without_query(url: str) -> str:
    """A URL as far as relative links need it: a key that it may hold goes into no topic."""
    parts = httpx.URL(url)
    return str(parts.copy_with(query=None, fragment=None, userinfo=b"")) if url else ""


def _absolute(value: Any, base: str, name: str = "") -> Any:
    """An entry whose links, wherever they are in it, are absolute."""
    if isinstance(value, dict):
        return {key: _absolute(inner, base, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_absolute(inner, base, name) for inner in value]
    if name not in LINKS or not base or not isinstance(value, str) or not value:
        return value
    try:
        return hide(urljoin(base, value))
    except ValueError:  # what is no URL is left as it is
        return value


def _state(entry: Entry) -> bytes:
    """What says whether an entry was corrected: its texts, then its times."""
    attributes = entry[1].attributes
    return short(_texts(attributes)) + short([attributes.get(name) for name in ("published", "updated")])


def _message(entry: Entry) -> dict[str, Any]:
    return entry[1].whole


READING: Reading[Entry] = Reading(itemgetter(0), _state, _message, make=itemgetter(1), remembered=_message)


def _take_over(cursor: Cursor, entries: Sequence[Entry]) -> None:
    """Mark as they are now entries that an older version has sent, and those of a feed that stamps all of them anew."""
    keys = [short(identity) for identity, _ in entries]
    known = {key: value for start in range(0, len(keys), 10_000) for key, value in
             cursor.sent_values(keys[start : start + 10_000]).items()}  # fmt: skip
    now = {key: _state(entry) for key, entry in zip(keys, entries, strict=True) if key in known}
    before = {key: state for key, state in now.items() if known[key] == _SENT_ONCE}
    stamped = {key: state for key, state in now.items() if known[key] != state and _same_text(known[key], state)}
    anew = stamped if len(stamped) == len(now) > 1 else {}
    cursor.mark_sent({**before, **anew})


def _same_text(one: bytes, other: bytes) -> bool:
    return one[:_TEXT_BYTES] == other[:_TEXT_BYTES]


async def _poll(
    http: httpx.AsyncClient, source: FeedSource, publisher: Publisher, cursor: Cursor, settings: Settings
) -> None:
    """One request: what is new or corrected is sent, and the cursor moves past what Kafka has."""
    headers = {name: fill(value) for name, value in source.headers.items()}
    answer = await get(http, settings, source, fill(source.url), {**headers, **cursor.conditions("")})
    if answer.status != 200:
        return
    kind, url = answer.headers.get("content-type", ""), str(answer.url)
    found = await asyncio.to_thread(parse_feed, source, answer.body, date_ms(answer), settings.http_bytes, kind, url)
    _take_over(cursor, found)
    await send_new(publisher, cursor, found, READING)
    cursor.mark_answered("", answer.headers)
    cursor.commit()


async def run(source: FeedSource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """Poll until `stop`; SourceError when the feed gives none."""
    with Cursor.open(settings, source) as cursor:
        async with client() as http:
            while not stop.is_set():
                await _poll(http, source, publisher, cursor, settings)
                publisher.answer()
                await pause(stop, source.every_seconds)
