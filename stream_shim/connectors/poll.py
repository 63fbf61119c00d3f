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
import decimal
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from httpx import AsyncClient

from stream_shim.buffer.encoding import Datum, NoValue, Unsendable
from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors import pause, records
from stream_shim.connectors.cursor import Cursor, short
from stream_shim.connectors.decoding import Undecodable
from stream_shim.connectors.entries import PollSource
from stream_shim.connectors.http import date_ms, get
from stream_shim.connectors.records import Above, NoRecord
from stream_shim.connectors.refusals import PLACEHOLDER
from stream_shim.connectors.sending import Reading, joined, send_new
from tidemark.bounded import MOST_BYTES, BeyondBounds
from tidemark.categories import required_fields
from tidemark.errors import SourceError
from tidemark.http import client
from tidemark.numbers import Digits, number
from tidemark.secrets import fill, hide
from tidemark.settings import Settings

_DISPLACED = "displaced_by_rename"  # a record's own fields of names that others were given
_OURS = ("source_system", "value_as_sent")  # names of ours that a record may have too
_SHOWN = 300  # characters of an answer, in an error
_EXACT = decimal.Context(decimal.MAX_PREC, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)
Record = dict[str, Any] | NoRecord


def parse_records(  # noqa: PLR0917 - the answer, then what is known of it
    source: PollSource,
    request: dict[str, str],
    body: bytes,
    most_bytes: int = MOST_BYTES,
    content_type: str = "",
    place: str = "",
) -> list[Record]:
    """One response's records, renamed, each with the request's own values. SourceError where there is no such list.

    `place` is what was asked, for the error. What is no record among them comes as a NoRecord.
    """
    try:
        found = records.find(source, body, content_type, most_bytes)
    except ValueError as error:
        where = (f" at {source.records!r}" if source.records else "") + (f" from {place}" if place else "")
        shown = "" if isinstance(error, BeyondBounds | Undecodable) else f"{_start(body)}, "
        raise SourceError(
            f"{source.name}: expected {source.format} with a list of records{where}, received {shown}{hide(str(error))}"
        ) from None
    return [_whole(source, request, *one) for one in found]


def _start(body: bytes) -> str:
    """How an answer begins, for an error: a message of its own is often within. A key goes before anything is cut."""
    text = hide(body[: 8 * _SHOWN].decode(errors="replace"))
    return repr(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "")


def _whole(source: PollSource, request: dict[str, str], record: Record, above: list[Above]) -> Record:
    """A record with what it stands in and the request's values: its own word first, then the request's."""
    if isinstance(record, NoRecord):
        return record
    if above:
        record = {**_inherited(source, request, record, above), **record}
    return {**request, **_renamed(source.rename, record)}


def _inherited(
    source: PollSource, request: dict[str, str], record: dict[str, Any], above: list[Above]
) -> dict[str, Any]:
    """What the elements above a record say, under the names that they have there, as SDMX-CSV has them.

    A name that the record, its request or a nearer element has, or the value's, is told apart by the element's name.
    """
    found: dict[str, Any] = {}
    for name, qualified, value in above:
        nearer = record.get(name, found.get(name))
        if nearer == value:
            continue
        taken = nearer is not None or source.rename.get(name, name) in {*request, "value"}
        if not taken:
            found[name] = value
        elif qualified not in record:
            found.setdefault(qualified, value)
    return found


def _renamed(names: dict[str, str], record: dict[str, Any]) -> dict[str, Any]:
    """The record under the names of the entry; a field of its own of such a name goes along as displaced.

    `a.b` is the field b of the field a, where the record has none of that name.
    """
    inner = {name: _inner(record, name) for name in names if "." in name and name not in record}
    record = record | {name: value for name, value in inner.items() if value is not None}
    if not names.keys() & record.keys():
        return record
    renamed = {names[name]: value for name, value in record.items() if name in names}
    others = {name: value for name, value in record.items() if name not in names}
    displaced = {name: others.pop(name) for name in renamed if name in others}
    return {**others, **renamed, **({_DISPLACED: displaced} if displaced else {})}


def _inner(record: Any, name: str) -> Any:
    for step in name.split("."):
        record = record.get(step) if isinstance(record, dict) else None
    return record


def parse_record(source: PollSource, record: Record, time_ms: int) -> Datum:
    """A numeric event; a text event, its value as sent, where the value is no finite number. Unsendable if no record.

    `value_as_sent` has the digits, of a JSON number too. A value that is blank is none.
    """
    if isinstance(record, NoRecord):
        raise Unsendable(record.reason)
    sent = _text(record.get("value"))
    value = number(record.get("value"), source.dialect.decimal, source.dialect.thousands)
    topic = "economic_event_numeric" if value is not None else "economic_event_text"
    named = {**record, "source_system": source.source_system, "value": sent if value is None else value}
    names = required_fields(topic)
    fields = {name: named.get(name) for name in names}
    rest = {name: one for name, one in named.items() if name not in (*names, *_OURS)}
    if own := {name: record[name] for name in _OURS if name in record}:
        others = record.get(_DISPLACED)
        rest[_DISPLACED] = {**(others if isinstance(others, dict) else {}), **own}
    return Datum(topic, fields, rest if value is None else {**rest, "value_as_sent": sent}, time_ms)


def _text(value: Any) -> str | None:
    """A value as the text that was sent: of JSON, `true` and a number's digits. None where there is none."""
    if isinstance(value, str):
        return str(value) if value.strip() else None
    return None if value is None else msgspec.json.encode(value, enc_hook=Digits.on_the_wire).decode()


def _url(source: PollSource, request: dict[str, str]) -> str:
    """The entry's url with the request's values in it; it may hold a key: for the request alone."""
    return fill(_placed(source.url, {name: quote(value, safe="") for name, value in request.items()}))


def _placed(text: str, values: dict[str, str]) -> str:
    """A text with each {name} of these in its place, at once: a value's own braces are its text."""
    return PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def _body(part: Any, request: dict[str, str]) -> Any:
    """The entry's body, or a part of it, filled as its url is; it may hold a key too."""
    if isinstance(part, dict):
        return {name: _body(inner, request) for name, inner in part.items()}
    if isinstance(part, list):
        return [_body(inner, request) for inner in part]
    return fill(_placed(part, request)) if isinstance(part, str) else part


def _known_as(value: Any) -> str:
    """A value as cursors know it: of JSON a number by its exact value, whatever digits say it."""
    if isinstance(value, bool) or not isinstance(value, int | Digits):
        return str(value)
    try:
        exact = decimal.Decimal(value).normalize(_EXACT)
    except decimal.DecimalException:  # its exponent is beyond all bounds: a text
        return str(value)
    return f"={exact if exact else 0}"


def _once_known_as(value: Any) -> str:
    """The same as older versions knew it, and in an identity still: a double."""
    return str(float(value)) if isinstance(value, Digits) else str(value)


def reading(source: PollSource, found: Sequence[Record], time_ms: int) -> Reading[Record]:
    """How the records of an answer of this time are read.

    A record without a value is a NoValue where the entry names the value rightly: some record of the answer has it, or
    it is CSV, whose header has it. Else each is a reject: the entry lacks a `rename`.
    """
    names = source.identity
    has_value = source.format == "csv" or any("value" in record for record in found if isinstance(record, dict))

    def identity(record: Record) -> str | None:
        values = [None] if isinstance(record, NoRecord) else [record.get(name) for name in names]
        return None if None in values else joined(*map(_once_known_as, values))

    def value(record: Record) -> bytes:
        return short("" if isinstance(record, NoRecord) else _known_as(record.get("value", "")))

    def once(record: Record) -> bytes | None:
        value = "" if isinstance(record, NoRecord) else record.get("value", "")
        if isinstance(value, str) and not isinstance(value, Digits):  # where a source quotes now what it did not
            return None if number(value) is None else short(_known_as(Digits(value)))
        return short(_once_known_as(value))

    def make(record: Record) -> Datum:
        if isinstance(record, dict) and identity(record) is None:
            raise Unsendable(f"missing one of {', '.join(names)}")
        datum = parse_record(source, record, time_ms)
        if has_value and [name for name, value in datum.fields.items() if value is None] == ["value"]:
            raise NoValue("no value")
        return datum

    def message(record: Record) -> Any:
        return record if isinstance(record, dict) else {"at": record.at, "raw": record.raw}

    def remembered(record: Record) -> Any:
        return record if isinstance(record, dict) else record.raw  # its line moves as records come before it

    return Reading(identity, value, message, make, remembered, once)


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
                publisher.answer()
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
    posted = None if source.body is None else _body(source.body, request)
    answer = await get(http, settings, source, _url(source, request), {**headers, **conditions}, posted)
    if answer.status != 200:
        return
    kind, place = answer.headers.get("content-type", ""), answer.place
    found = await asyncio.to_thread(parse_records, source, request, answer.body, settings.http_bytes, kind, place)
    await send_new(publisher, cursor, found, reading(source, found, date_ms(answer)))
    cursor.mark_answered(request, answer.headers)
    cursor.commit()
