"""Kind `feed`: RSS and Atom, polled with conditional requests; an entry is sent when it is new or was corrected.

One entry of SEC EDGAR's Atom feed, as feedparser gives it:

    {"title": "4 - Smith John (0001234567) (Reporting)", "id": "urn:tag:sec.gov,2008:accession-number=0001-25-000001",
     "link": "https://www.sec.gov/Archives/..", "updated": "2025-12-12T18:02:30-05:00", "tags": [..], ..}

Source: feedparser's reference. One accession number appears once per filer, so its id alone tells no entry apart: it is
known by its id (without one by its link) and its title.

An entry that comes again is a correction where its text is another, or its times (`published`, `updated`) are, as Atom
means `updated`. Some feeds stamp all of their entries anew, when they are made or whenever they are asked: where all
that are known come with the same texts and other times, nothing was corrected if that is one time for several, or the
time of the answer. Of an entry that has the time of an answer, the next one says whether it keeps it.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
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
_AT_ONCE_SECONDS = 3.0  # between an entry that is stamped at a request and the time of the answer
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


def _to_send(cursor: Cursor, entries: Sequence[Entry], time_ms: int) -> Sequence[Entry]:
    """The entries without those that their feed stamps at each request: of which the next answer says whether it does.

    What an older version has sent is marked as it is now, and so is all that was stamped anew with one time.
    """
    keys = [short(identity) for identity, _ in entries]
    known = {key: value for start in range(0, len(keys), 10_000) for key, value in
             cursor.sent_values(keys[start : start + 10_000]).items()}  # fmt: skip
    now = {key: _state(entry) for key, entry in zip(keys, entries, strict=True) if key in known}
    before = {key: state for key, state in now.items() if known[key] == _SENT_ONCE}
    stamped = {key: state for key, state in now.items() if known[key] != state and _same_text(known[key], state)}
    times = {_latest(entry) for key, entry in zip(keys, entries, strict=True) if key in stamped}
    if len(stamped) != len(now) or not stamped:
        cursor.mark_sent(before)
        return entries
    if all(isinstance(time, float) and abs(time - time_ms / 1000) <= _AT_ONCE_SECONDS for time in times):
        return [entry for key, entry in zip(keys, entries, strict=True) if key not in stamped]
    if len(stamped) > 1 and len(times) == 1:
        cursor.mark_sent(stamped)
    return entries


def _latest(entry: Entry) -> float | str:
    """The later of an entry's times, in seconds since 1970 UTC; as they are written where neither can be read."""
    written = [str(entry[1].attributes.get(name) or "") for name in ("published", "updated")]
    moments = [moment for text in written if (moment := _moment(text)) is not None]
    return max(moments) if moments else "|".join(written)


def _moment(text: str) -> float | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return None


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
    time_ms = date_ms(answer)
    found = await asyncio.to_thread(parse_feed, source, answer.body, time_ms, settings.http_bytes, kind, url)
    to_send = _to_send(cursor, found, time_ms)
    await send_new(publisher, cursor, to_send, READING)
    if len(to_send) == len(found):  # else the next answer is to come whole
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
