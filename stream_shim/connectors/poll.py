"""Kind `poll`: a list of records over HTTP; a record that is new or revised is sent, as a number or else as text.

One FRED observation (`records: observations`; a value that is missing is "."):

    {"realtime_start": "2024-11-03", "realtime_end": "2024-11-03", "date": "2024-07-01", "value": "29349.924"}

Source: FRED API, /fred/series/observations.
"""

import asyncio
import math
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from stream_shim.config import PollSource, fill
from stream_shim.connectors import pause
from stream_shim.connectors.cursor import Cursor
from stream_shim.connectors.http import date_ms, get
from stream_shim.publisher import Datum, Publisher
from tidemark.categories import required_fields
from tidemark.errors import SourceError
from tidemark.settings import Settings


def parse_records(source: PollSource, request: dict[str, str], body: bytes) -> list[dict[str, Any]]:
    """One response's records, renamed, each with the request's own values. SourceError where there is no such list."""
    try:
        found: Any = msgspec.json.decode(body)
        for step in source.records.split(".") if source.records else []:
            found = found[step]
        return [{**request, **{source.rename.get(k, k): v for k, v in record.items()}} for record in found]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{source.name}: expected JSON with a list of records at {source.records or 'its root'!r}, "
            f"received {body[:80]!r} ({type(error).__name__})"
        ) from None


def parse_record(source: PollSource, record: dict[str, Any], time_ms: int) -> Datum:
    """A numeric event; a text event, its value as sent, where the value is no finite number."""
    number = _number(record.get("value"))
    topic = "economic_event_numeric" if number is not None else "economic_event_text"
    named = {**record, "source_system": source.source_system}
    names = required_fields(topic)
    fields = {name: named.get(name) for name in names}
    rest = {key: value for key, value in named.items() if key not in names}
    if number is not None:
        return Datum(topic, {**fields, "value": number}, {**rest, "value_as_sent": record["value"]}, time_ms)
    return Datum(topic, fields, rest, time_ms)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _url(source: PollSource, request: dict[str, str]) -> str:
    """The entry's url with the request's values in it; it may hold a key: for the request alone."""
    url = source.url
    for name, value in request.items():
        url = url.replace(f"{{{name}}}", quote(value, safe=""))
    return fill(url)


async def run(source: PollSource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """Poll until `stop`; SourceError when a request gives no records after every retry."""
    cursor = Cursor.load(settings, source.name)
    headers = {name: fill(value) for name, value in source.headers.items()}
    async with httpx.AsyncClient(timeout=30) as client:
        while not stop.is_set():
            for request in source.requests:
                response = await get(client, settings, source.name, _url(source, request), headers)
                for record in parse_records(source, request, response.content):
                    identity = "|".join(str(record.get(name)) for name in source.identity)
                    if cursor.is_new(identity, record.get("value")):
                        publisher.send(parse_record(source, record, date_ms(response)))
            publisher.flush()  # the cursor moves only past what Kafka has
            cursor.save()
            await pause(stop, source.every_seconds)
