"""`/v1/last`, `/v1/book` and `/v1/series`: what one side alone answers."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from psycopg.sql import SQL
from starlette.responses import Response

from serve.callers import Caller, CallerOf, may, note_rows
from serve.crossing import moments
from serve.databases import Databases, Name
from serve.formats import ARROW, CSV, JSON, NDJSON, Output, Statement, negotiated, read
from serve.problems import Problem
from serve.relations import SCHEMAS
from serve.spool import SpoolResponse

router = APIRouter(prefix="/v1", tags=["latest"])

OLDEST = 0.1  # seconds that an answer of `/v1/last` may be old
RENEWED = 0.05  # seconds after which the next request has the prices read again, behind it
FORMATS = (JSON, NDJSON, CSV, ARROW)
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Rows", "content": {form.media_type: {} for form in FORMATS}},
}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LAST = SQL(
    "select source_system, symbol, row_to_json(prices)::text from live.last_price as prices "
    "order by source_system, symbol"
)
BOOK = (
    Output("source_system", "text"), Output("symbol", "text"), Output("side", "text"), Output("snapshot_id", "text"),
    Output("level", "smallint"), Output("price", "double precision"), Output("size", "double precision"),
    Output("book_at", "timestamp with time zone"), Output("received_at", "timestamp with time zone"),
)  # fmt: skip
_BOOK = SQL("select {} from live.book where source_system = %s and symbol = %s order by side, level")
SERIES = (
    Output("observation_key", "text"), Output("series_key", "text"), Output("source_system", "text"),
    Output("series_id", "text"), Output("unit", "text"), Output("value", "double precision"),
    Output("reference_date", "date"), Output("vintage_date", "date"),
    Output("available_at", "timestamp with time zone"), Output("superseded_at", "timestamp with time zone"),
)  # fmt: skip
_SERIES = SQL(
    "select {} from asof.fct_economic_observations({}) as known where series_key = %s "
    "order by reference_date, available_at"
)
Word = Annotated[str, Query(min_length=1, max_length=200)]
Wanted = Annotated[str | None, Query(alias="format", description="`json`, `ndjson`, `csv` or `arrow`")]


@dataclass(frozen=True)
class Prices:
    """The last prices as one role may see them, each encoded already."""

    read_at: float  # monotonic clock, before they were read
    prices: dict[tuple[str, str], bytes]
    whole: bytes

    @property
    def age(self) -> float:
        """Seconds since they were read."""
        return time.monotonic() - self.read_at


class Latest:
    """One query for all who ask, of each role: at most OLDEST seconds old."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._known: dict[str, Prices] = {}
        self._asking: dict[str, asyncio.Task[Prices]] = {}

    async def of(self, caller: Caller) -> Prices:
        """The prices; Problem where `realtime` does not answer."""
        known = self._known.get(caller.name)
        if known is None or known.age > RENEWED:
            asking = self._renew(caller)
            if known is None or known.age > OLDEST:
                return await asyncio.shield(asking)
        return known

    def _renew(self, caller: Caller) -> asyncio.Task[Prices]:
        asking = self._asking.get(caller.name)
        if asking is None:
            asking = self._asking[caller.name] = asyncio.create_task(self._read(caller))
            asking.add_done_callback(lambda task: self._done(caller.name, task))
        return asking

    def _done(self, name: str, task: asyncio.Task[Prices]) -> None:
        del self._asking[name]
        if task.cancelled() or task.exception() is not None:
            self._known.pop(name, None)  # whoever asks next asks the database, and is told
        else:
            self._known[name] = task.result()

    async def _read(self, caller: Caller) -> Prices:
        read_at = time.monotonic()
        async with self._databases.reading("realtime", caller) as connection:
            found = await (await connection.execute(_LAST)).fetchall()
        prices = {(source, symbol): text.encode() for source, symbol, text in found}
        return Prices(read_at, prices, b"[" + b",\n".join(prices.values()) + b"]")


@router.get("/last", summary="The last price of each symbol", response_model=None, operation_id="last")
async def last(request: Request, caller: CallerOf, source: Word | None = None, symbol: Word | None = None) -> Response:
    """At most 100 ms old; by the venue's clock. `source` and `symbol` narrow it."""
    _check(caller, "live")
    negotiated(request, (JSON,))
    state = request.app.state
    if not hasattr(state, "latest"):
        state.latest = Latest(state.databases)
    prices: Prices = await state.latest.of(caller)
    body, rows = prices.whole, len(prices.prices)
    if source is not None and symbol is not None:
        one = prices.prices.get((source, symbol))
        body, rows = (b"[]", 0) if one is None else (b"[" + one + b"]", 1)
    elif source is not None or symbol is not None:
        some = [text for key, text in prices.prices.items() if key[0] == source or key[1] == symbol]
        body, rows = b"[" + b",\n".join(some) + b"]", len(some)
    note_rows(request, rows)
    return Response(body, media_type=JSON.media_type, headers=_HEADERS)


_HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Accept, Authorization, X-API-Key"}


@router.get(
    "/book",
    summary="The newest whole order book of a symbol",
    response_model=None,
    operation_id="book",
    responses=ANSWERS,
)
async def book(request: Request, caller: CallerOf, source: Word, symbol: Word, form: Wanted = None) -> Response:
    """A row a level, of one snapshot; nothing where no whole snapshot is here."""
    _check(caller, "live")
    names = (moments.name(source, "source"), moments.name(symbol, "symbol"))
    return await _answered(request, caller, ("live", "book"), Statement(_BOOK.format(_columns(BOOK)), names), BOOK)


@router.get(
    "/series/{series:path}",
    summary="A series as it was known",
    response_model=None,
    operation_id="series",
    responses=ANSWERS,
)
async def series(
    request: Request, caller: CallerOf,
    series: Annotated[str, Path(max_length=500, description="Its `series_key`", examples=["fred:GDP"])],
    as_of: Annotated[
        str | None, Query(max_length=40, description="A moment with its offset, or a date: its end in UTC")
    ] = None,
    form: Wanted = None,
) -> Response:  # fmt: skip
    """Each period's value as known at a moment, by default now: what was published or corrected later is not in it."""
    _check(caller, "marts")
    moment: Any = "now"
    kind = SQL("%s::timestamptz")
    if as_of is not None:
        moment = moments.moment(as_of, "as_of")
        if _DATE.fullmatch(as_of):
            moment, kind = date.fromisoformat(as_of), SQL("%s::date")
    statement = Statement(_SERIES.format(_columns(SERIES), kind), (moment, moments.name(series, "series")))
    return await _answered(request, caller, ("marts", "fct_economic_observations"), statement, SERIES)


def _check(caller: Caller, schema: str) -> None:
    if not may(caller, schema):
        raise Problem(404, "not found", f"expected a key that may read `{schema}`, received another")


def _columns(outputs: Sequence[Output]) -> Any:
    return SQL(", ").join(SQL(each.name) for each in outputs)


async def _answered(
    request: Request, caller: Caller, relation: Name, statement: Statement, outputs: Sequence[Output]
) -> Response:
    form = negotiated(request, FORMATS)
    databases: Databases = request.app.state.databases
    spool = request.app.state.spools.new()
    try:
        async with databases.reading(SCHEMAS[relation[0]], caller, relation) as connection:
            rows = await read(connection, statement, outputs, form, spool)
        note_rows(request, rows)
        if form is ARROW:
            from serve.arrow import arrow_of

            spool = await asyncio.to_thread(arrow_of, spool, outputs, rows)
        return SpoolResponse(spool, form.media_type, _HEADERS)
    except BaseException:
        spool.close()
        raise
