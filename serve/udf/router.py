"""`/udf`: configuration, symbols, history and time, as TradingView's charting library asks for them."""

import time
from datetime import datetime, timedelta
from math import floor, log10
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serve import parameters
from serve.callers import CallerOf, note_rows
from serve.crossing.bars import Bars
from serve.crossing.router import MOST_DAYS, at_turn, bars_of
from serve.crossing.sides import SideAway, SideRefused
from serve.databases import Databases
from serve.problems import bad_request, down
from serve.udf import history as of_history
from serve.udf.answers import UdfRoute
from serve.udf.symbols import MOST_FOUND, Instrument, find, one

router = APIRouter(prefix="/udf", tags=["TradingView's UDF"], route_class=UdfRoute)

RESOLUTIONS = ["1", "5", "60", "1D"]
MOST_SECONDS = 253_370_764_800  # the year 9999
DIGITS = 7  # significant ones of a price, as nothing says its tick
Symbol = Annotated[str, Query(min_length=1, max_length=400, examples=["binance:BTC/USDT"])]


@router.get("/config", response_model=None, summary="What the feed can do")
async def config(request: Request, caller: CallerOf) -> Response:
    """The exchanges are the sources whose symbols the caller may read."""
    sources = sorted({each.source for each in await find(_databases(request), caller, "", None, 10_000)})
    return JSONResponse({
        "supported_resolutions": RESOLUTIONS,
        "supports_search": True,
        "supports_group_request": False,
        "supports_marks": False,
        "supports_timescale_marks": False,
        "supports_time": True,
        "exchanges": [{"value": "", "name": "All", "desc": "Every source"}]
        + [{"value": source, "name": source, "desc": source} for source in sources],
        "symbols_types": [{"name": "All", "value": ""}],
    })  # fmt: skip


@router.get("/time", response_model=None, response_class=PlainTextResponse, summary="The server's clock")
async def clock(caller: CallerOf) -> Response:
    """Seconds since 1970."""
    return PlainTextResponse(str(int(time.time())))


@router.get("/search", response_model=None, summary="Symbols that hold a text")
async def search(
    request: Request, caller: CallerOf, *, query: Annotated[str, Query(max_length=200)] = "",
    type_: Annotated[str, Query(alias="type", max_length=100)] = "",
    exchange: Annotated[str, Query(max_length=200)] = "", limit: Annotated[int, Query(ge=1, le=1_000)] = 30,
) -> Response:  # fmt: skip
    """By source and symbol, whatever the case."""
    source = parameters.name(exchange, "exchange") or None
    found = await find(_databases(request), caller, parameters.name(query, "query"), source, min(limit, MOST_FOUND))
    note_rows(request, len(found))
    return JSONResponse([
        {
            "symbol": each.symbol, "full_name": each.ticker, "description": _description(each),
            "exchange": each.source, "ticker": each.ticker, "type": _type(each),
        }
        for each in found
    ])  # fmt: skip


@router.get("/symbols", response_model=None, summary="One symbol")
async def symbols(request: Request, caller: CallerOf, symbol: Symbol) -> Response:
    """Its bars are of whenever it is traded, so that its session is all day; a day's bar is of the venue's session."""
    found = await one(_databases(request), caller, parameters.name(symbol, "symbol"))
    scale, zone = _scale(found.last_price), found.sessions.time_zone
    return JSONResponse({
        "name": found.symbol, "full_name": found.ticker, "ticker": found.ticker, "description": _description(found),
        "type": _type(found), "session": "24x7", "timezone": "Etc/UTC" if zone == "UTC" else zone,
        "exchange": found.source, "listed_exchange": found.source, "format": "price", "minmov": 1, "pricescale": scale,
        "has_intraday": True, "has_daily": True, "has_weekly_and_monthly": False,
        "intraday_multipliers": ["1", "5", "60"], "daily_multipliers": ["1"],
        "supported_resolutions": RESOLUTIONS, "volume_precision": 8,
        "data_status": "streaming", **({"currency_code": found.currency} if found.currency else {}),
    })  # fmt: skip


@router.get("/history", response_model=None, summary="Bars of a symbol, from both sides of the tidemark")
async def history(
    request: Request, caller: CallerOf, *, symbol: Symbol,
    resolution: Annotated[str, Query(max_length=10, examples=["60"])],
    from_: Annotated[int, Query(alias="from", description="Seconds since 1970", examples=[1723075200])],
    to: Annotated[int, Query(description="The same; itself not inside", examples=[1723161600])],
    countback: Annotated[int | None, Query(ge=1, description="So many bars before `to`, however early")] = None,
) -> Response:  # fmt: skip
    """By the rule of `/v1/bars`: no bar twice. Where the range has none, `nextTime` says where an earlier one is.

    Of `1D`, `from`, `to` and every time are midnights (UTC) of dates of sessions, whenever these begin.
    """
    interval = of_history.INTERVALS.get(resolution)
    if interval is None:
        raise bad_request("no such resolution", f"resolution to be one of {', '.join(RESOLUTIONS)}", resolution)
    found = await one(_databases(request), caller, parameters.name(symbol, "symbol"))
    bars = _asked(found, interval, from_, to, countback)
    count = min(countback or 0, of_history.MOST_BARS)

    def before(at: datetime) -> datetime | None:
        try:
            return of_history.newest_before(request.app.state.sides, caller.name, found.source, found.symbol, at)
        except SideAway as error:
            raise down(error.database, error.received) from None
        except SideRefused as error:
            raise error.problem from None

    def read() -> dict[str, Any]:
        rows = of_history.last_bars(
            lambda part: bars_of(request, caller, part), before, bars, count, MOST_DAYS[interval]
        )
        note_rows(request, len(rows))
        answer = of_history.table(rows, interval, found)
        if not rows and not count and (newest := before(bars.from_at)):
            answer["nextTime"] = of_history.bar_time(newest, interval, found)
        return answer

    return JSONResponse(await at_turn(request, caller, read), headers={"Cache-Control": "private, no-cache"})


def _asked(found: Instrument, interval: str, from_: int, to: int, countback: int | None) -> Bars:
    """The range as the library asks: with `countback`, how early it begins does not count."""
    end, begin = min(max(to, 2), MOST_SECONDS), min(max(from_, 1), MOST_SECONDS)
    most = int(MOST_DAYS[interval] / timedelta(seconds=1))
    if begin >= end:
        raise bad_request("not a range", "from to be before to", f"{from_} to {to}")
    if end - begin > most:
        if countback is None:
            raise bad_request(
                "the range is too long", f"at most {MOST_DAYS[interval].days} days, or countback", f"{from_} to {to}"
            )
        begin = end - most
    return Bars(found.source, found.symbol, interval, *of_history.range_of(begin, end, interval, found))


def _databases(request: Request) -> Databases:
    found: Databases = request.app.state.databases
    return found


def _description(found: Instrument) -> str:
    return f"{found.symbol} ({found.venue or found.source})"


def _type(found: Instrument) -> str:
    return {"spot": "crypto", "swap": "crypto", "future": "futures", "equity": "stock"}.get(found.kind or "", "")


def _scale(price: float | None) -> int:
    """10 to the digits behind the point that show a price with some significant ones."""
    if not price or price < 0:
        return 100
    return int(10 ** min(max(2, DIGITS - 1 - floor(log10(price))), 12))
