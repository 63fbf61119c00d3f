"""Kind `poll`: a list of records over HTTP; a record that is new or revised is sent, as a number or else as text.

One FRED observation in its three formats (`records: observations`, or `observations.observation` in XML; a value that
is missing is "."), and an ECB one (`format=csvdata`; `rename: {OBS_VALUE: value, TITLE: description}`):

    {"realtime_start": "2024-11-03", "realtime_end": "2024-11-03", "date": "2024-07-01", "value": "29349.924"}
    <observations ..><observation realtime_start="2024-11-03" .. date="2024-07-01" value="29349.924"/></observations>

    KEY,FREQ,CURRENCY,..,TIME_PERIOD,OBS_VALUE,..,TITLE,..
    EXR.D.USD.EUR.SP00.A,D,USD,..,2024-11-01,1.0864,..,US dollar/Euro,..

Source: FRED API, /fred/series/observations; ECB Data Portal API, /service/data.
"""

import asyncio
import csv
import io
import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from httpx import AsyncClient

from stream_shim.buffer.encoding import Datum, Unsendable
from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors import markup, pause
from stream_shim.connectors.cursor import Cursor
from stream_shim.connectors.entries import PollSource
from stream_shim.connectors.http import date_ms, get
from stream_shim.connectors.sending import Reading, joined, send_new
from tidemark.bounded import MOST_BYTES, BeyondBounds, csv_text, json_value
from tidemark.categories import required_fields
from tidemark.errors import SourceError
from tidemark.http import client
from tidemark.secrets import fill, hide
from tidemark.settings import Settings

_NAMELESS = "cells_without_name"  # the cells of a CSV's line beyond its columns
_DISPLACED = "displaced_by_rename"  # a record's own fields of names that others were given


def parse_records(
    source: PollSource, request: dict[str, str], body: bytes, most_bytes: int = MOST_BYTES
) -> list[dict[str, Any]]:
    """One response's records, renamed, each with the request's own values. SourceError where there is no such list."""
    try:
        found = _FORMATS[source.format](source, body, most_bytes)
        return [{**request, **_renamed(source.rename, record)} for record in found]
    except BeyondBounds as error:
        raise SourceError(f"{source.name}: expected {source.format} with a list of records, received {error}") from None
    except (csv.Error, LookupError, ValueError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{source.name}: expected {source.format} with a list of records at {source.records or 'its root'!r}, "
            f"received {hide(repr(body[:80]))} ({type(error).__name__})"
        ) from None


def _renamed(names: dict[str, str], record: dict[str, Any]) -> dict[str, Any]:
    """The record under the names of the entry; a field of its own of such a name goes along as displaced."""
    if not names.keys() & record.keys():
        return record
    renamed = {names[name]: value for name, value in record.items() if name in names}
    others = {name: value for name, value in record.items() if name not in names}
    displaced = {name: others.pop(name) for name in renamed if name in others}
    return {**others, **renamed, **({_DISPLACED: displaced} if displaced else {})}


def _from_json(source: PollSource, body: bytes, most_bytes: int) -> Iterable[dict[str, Any]]:
    found: Any = json_value(body, most_bytes)
    for step in source.records.split(".") if source.records else []:
        found = found[step]
    return found  # type: ignore[no-any-return]


def _from_csv(source: PollSource, body: bytes, most_bytes: int) -> Iterable[dict[str, Any]]:
    text = io.StringIO(csv_text(body, most_bytes), newline="")
    rows = csv.DictReader(text, restkey=_NAMELESS, strict=True)
    if rows.fieldnames is None or not {source.rename.get(name, name) for name in rows.fieldnames} & {"value"}:
        raise LookupError("no column is the value")  # a page of HTML is CSV too
    rows.fieldnames = _told_apart(list(rows.fieldnames))
    found: list[dict[str, Any]] = list(rows)
    for row in found:
        if not any(row.get(_NAMELESS, ["_"])):  # a comma at the line's end
            del row[_NAMELESS]
    return found


def _told_apart(names: list[str]) -> list[str]:
    """Of columns that share a name the last one has it, and the others are named by their position."""
    last = {name: at for at, name in enumerate(names)}
    found = [name if last[name] == at else f"column_{at + 1}" for at, name in enumerate(names)]
    if len(set(found)) < len(found):
        raise LookupError("columns that cannot be told apart by their names")
    return found


def _from_xml(source: PollSource, body: bytes, most_bytes: int) -> Iterable[dict[str, Any]]:
    return markup.parse("elements", body, most=most_bytes, path=source.records)  # type: ignore[no-any-return]


_FORMATS = {"json": _from_json, "csv": _from_csv, "xml": _from_xml}


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
    except (TypeError, ValueError, OverflowError):  # JSON's numbers have no largest one
        return None
    return number if math.isfinite(number) else None


def _url(source: PollSource, request: dict[str, str]) -> str:
    """The entry's url with the request's values in it; it may hold a key: for the request alone."""
    url = source.url
    for name, value in request.items():
        url = url.replace(f"{{{name}}}", quote(value, safe=""))
    return fill(url)


def reading(source: PollSource, time_ms: int) -> Reading[dict[str, Any]]:
    """How the records of an answer of this time are read."""
    names = source.identity

    def identity(record: dict[str, Any]) -> str | None:
        values = [record.get(name) for name in names]
        return None if None in values else joined(*map(str, values))

    def make(record: dict[str, Any]) -> Datum:
        if identity(record) is None:
            raise Unsendable(f"missing one of {', '.join(names)}")
        return parse_record(source, record, time_ms)

    return Reading(identity, lambda record: record.get("value"), lambda record: record, make)


async def run(source: PollSource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """Poll until `stop`. A request that fails does not keep the others from being made; SourceError afterwards."""
    with Cursor.open(settings, source) as cursor:
        async with client() as http:
            while not stop.is_set():
                failed: SourceError | None = None
                for request in source.requests:
                    try:
                        await _poll(http, source, request, publisher, cursor, settings=settings)
                    except SourceError as error:
                        failed = error
                        if error.wait_seconds:  # it asks to be left alone, by the other requests too
                            break
                if failed:
                    raise failed
                await pause(stop, source.every_seconds)


async def _poll(
    http: AsyncClient,
    source: PollSource,
    request: dict[str, str],
    publisher: Publisher,
    cursor: Cursor,
    *,
    settings: Settings,
) -> None:
    """One request: what is new or revised is sent, and the cursor moves past what Kafka has."""
    headers = {name: fill(value) for name, value in source.headers.items()}
    conditions = cursor.conditions(request)
    answer = await get(http, settings, source, _url(source, request), {**headers, **conditions})
    if answer.status != 200:
        return
    records = await asyncio.to_thread(parse_records, source, request, answer.body, settings.http_bytes)
    await send_new(publisher, cursor, records, reading(source, date_ms(answer)))
    cursor.mark_answered(request, answer.headers)
    cursor.commit()
