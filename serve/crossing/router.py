"""`/v1/ticks`, `/v1/bars`, `/v1/events`: ranges that cross the tidemark."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from serve import parameters
from serve.caching import PRIVATE, is_known, unchanged
from serve.callers import Caller, CallerOf, note_rows, require
from serve.crossing import bars as of_bars
from serve.crossing import events as of_events
from serve.crossing import rule
from serve.crossing import ticks as of_ticks
from serve.crossing.away import away, gone, missing
from serve.crossing.encode import rows_of, shaped, writer
from serve.crossing.rows import Rows, cursor, place_of
from serve.crossing.sides import SideAway, SideRefused, Sides
from serve.formats import JSON, ROWS, Format, negotiated
from serve.parameters import ANSWERS, Name, Wanted
from serve.problems import Problem, bad_request, busy
from serve.spool import Spool, SpoolResponse

router = APIRouter(prefix="/v1", tags=["ranges"])

MOST_ROWS, DEFAULT_ROWS = 1_000_000, 10_000
MOST_DAYS = {
    "ticks": timedelta(days=31), "events": timedelta(days=3_660),
    "1m": timedelta(days=8), "5m": timedelta(days=32), "1h": timedelta(days=93), "1d": timedelta(days=367),
}  # fmt: skip

From = Annotated[
    str, Query(alias="from", max_length=40, description="A moment with its offset, or a date", examples=["2024-08-08"])
]
To = Annotated[str, Query(max_length=40, description="The same; itself not inside", examples=["2024-08-09T12:00:00Z"])]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Most rows; `Link` has the next page")]
After = Annotated[str | None, Query(max_length=2_000, description="The cursor of a next page, as `Link` has it")]
RESPONSES: dict[int | str, dict[str, Any]] = ANSWERS | {
    304: {"description": "Unchanged since the answer of that `ETag`"},
    410: {"description": "Ticks of the range were deleted from the warehouse: `missing_days`"},
}
Answered = TypeVar("Answered")


async def at_turn(request: Request, caller: Caller, answer: Callable[[], Answered]) -> Answered:
    """What reads ranges, in a thread at the caller's turn: whoever asks for many at once waits for the own ones."""
    of: Sides = request.app.state.sides
    async with of.turns.turn(caller):
        return await run_in_threadpool(answer)


@router.get(
    "/ticks", summary="Ticks of a symbol, from both sides of the tidemark", response_model=None, responses=RESPONSES
)
async def ticks(
    request: Request, caller: CallerOf, *, source: Name, symbol: Name, from_: From, to: To,
    limit: Limit = DEFAULT_ROWS, after: After = None, attributes: bool = False, form: Wanted = None,
) -> Response:  # fmt: skip
    """By the venue's clock, each record of the log once; sorted by `traded_at` and place in the log.

    A trade that the venue sent twice is two records: `trade_id` says so, and bars leave out the second.
    """
    from_at, to_at = parameters.half_open(from_, to, MOST_DAYS["ticks"])
    place = place_of(after, (int, int, int, int, str)) if after else None
    asked = of_ticks.TickRange(
        parameters.name(source, "source"), parameters.name(symbol, "symbol"), from_at, to_at, limit, place, attributes
    )
    page = _Page(request, caller, negotiated(request, ROWS), from_at, to_at)
    names = {"source_system": source, "symbol": symbol}
    return await at_turn(request, caller, lambda: page.of_rows(of_ticks, asked, names, asked.check))


@router.get(
    "/events",
    summary="Events of a publisher or a series, from both sides of the tidemark",
    response_model=None,
    responses=RESPONSES,
)
async def events(
    request: Request, caller: CallerOf, *, source: Name, from_: From, to: To, publisher: Name | None = None,
    series: Name | None = None, limit: Limit = DEFAULT_ROWS, after: After = None, attributes: bool = False,
    form: Wanted = None,
) -> Response:  # fmt: skip
    """By the time from which on each could be known (`available_at`); each record of the log once."""
    from_at, to_at = parameters.half_open(from_, to, MOST_DAYS["events"])
    if publisher is None and series is None:
        raise bad_request("without a name", "publisher or series", "neither")
    names = {"source": source, "publisher": publisher, "series": series}
    checked = {key: None if value is None else parameters.name(value, key) for key, value in names.items()}
    place = place_of(after, (int, str, int, int, int, str)) if after else None
    asked = of_events.EventRange(
        source, checked["publisher"], checked["series"], from_at, to_at, limit, place, attributes
    )
    page = _Page(request, caller, negotiated(request, ROWS), from_at, to_at)
    return await at_turn(request, caller, lambda: page.of_rows(of_events, asked, {"source_system": source}))


@router.get(
    "/bars", summary="Bars of a symbol, from both sides of the tidemark", response_model=None, responses=RESPONSES
)
async def bars(
    request: Request, caller: CallerOf, *, source: Name, symbol: Name, interval: Literal["1m", "5m", "1h", "1d"],
    from_: From, to: To, form: Wanted = None,
) -> Response:  # fmt: skip
    """Bars that begin in the range, each whole; `1d` is the venue's session. A time without a trade has no bar.

    Numbers are the doubles nearest to exact sums, which the marts have.
    """
    from_at, to_at = parameters.half_open(from_, to, MOST_DAYS[interval])
    asked = of_bars.Bars(parameters.name(source, "source"), parameters.name(symbol, "symbol"), interval, from_at, to_at)
    page = _Page(request, caller, negotiated(request, ROWS), from_at, to_at)
    return await at_turn(request, caller, lambda: page.of_bars(asked))


class _Page:
    """One request, from what it asks to what is sent."""

    def __init__(self, request: Request, caller: Caller, form: Format, from_at: datetime, to_at: datetime) -> None:
        require(caller, "live", "marts")
        self._request, self._caller, self._form = request, caller, form
        self._range = (from_at, to_at)

    def of_rows(self, kind: Any, asked: Any, constants: dict[str, str], check: Any = None) -> Response:
        """A page of ticks or events."""
        schema = kind.SCHEMA
        if not asked.with_attributes:
            schema = schema.remove(schema.get_field_index("attributes"))
        spools = self._request.app.state.spools
        with _closed_on_error(spools.new()) as spool:
            write = writer(self._form, spool, schema)
            rows = Rows(
                kind.TOPICS, kind.RELATIONS, asked.realtime(), asked.warehouse(), kind.ORDER, asked.limit,
                spools.new, lambda batches: self._note(write(shaped(batches, schema, constants))), check,
            )  # fmt: skip
            last = self._asked(rows)
            return self._sent(spool, None if last is None else cursor(last))

    def of_bars(self, asked: of_bars.Bars) -> Response:
        """All bars of the range."""
        with _closed_on_error(self._request.app.state.spools.new()) as spool:
            found = self._asked(asked)
            constants = {"source_system": asked.source, "symbol": asked.symbol}
            batches = shaped(iter(found), of_bars.SCHEMA, constants)
            self._note(writer(self._form, spool, of_bars.SCHEMA)(batches))
            return self._sent(spool, None)

    def _asked(self, question: Any) -> Any:
        role, of = self._caller.name, self._request.app.state.sides
        try:
            if isinstance(question, of_bars.Bars):
                return of_bars.answer(of, role, question)
            return rule.answer(of, role, question)
        except SideAway as error:
            raise away(of, role, question, error, self._range) from None
        except rule.ReadAgain as error:
            raise busy(str(error), missing_days=missing(*self._range)) from None
        except of_ticks.TicksDeleted as error:
            raise gone(error.days) from None
        except of_bars.TooManyTicks as error:
            raise Problem(413, "the query takes too much", f"{error}: ask for a shorter range") from None
        except SideRefused as error:
            raise error.problem from None

    def _note(self, rows: int) -> None:
        note_rows(self._request, rows)

    def _sent(self, spool: Spool, next_page: str | None) -> Response:
        etag = spool.etag()
        headers = {**PRIVATE, "Tidemark-Pages": "by time and place in the log"}
        if next_page is not None:
            url = self._request.url.include_query_params(after=next_page)
            headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
        if etag is not None:
            headers["ETag"] = etag
            if is_known(self._request, etag):
                spool.close()
                return unchanged(etag)
        return SpoolResponse(spool, self._form.media_type, headers)


class _closed_on_error:  # noqa: N801 (used as a function)
    """Closes the spool of an answer that is not sent."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __enter__(self) -> Spool:
        return self._spool

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._spool.close()


def bars_of(request: Request, caller: Caller, asked: of_bars.Bars) -> list[dict[str, Any]]:
    """Bars by the rule, for other routes: each once, by their beginning. Problem as `/v1/bars` has it."""
    batches = _Page(request, caller, JSON, asked.from_at, asked.to_at)._asked(asked)
    return [row for batch in batches for row in rows_of(batch)]
