"""The symbols that a caller may read, of both sides of the tidemark: `source:symbol`."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg.sql import SQL

from serve.callers import Caller
from serve.databases import Databases
from serve.problems import NotLoaded, Problem
from serve.udf.sessions import Sessions, Terms

MOST_FOUND = 200
_LISTED = SQL("""
select source_system, symbol, instrument_kind, quote_currency from marts.dim_instruments
where (%(source)s::text is null or source_system = %(source)s) and (%(symbol)s::text is null or symbol = %(symbol)s)
and strpos(lower(source_system || ':' || symbol), lower(%(text)s)) > 0
order by source_system, symbol limit %(most)s
""")
# By the source: a symbol of which no day was promoted yet is in realtime alone, its venue is not.
_VENUES = SQL("""
select
    venues.source_system, venues.venue_name, history.effective_at, history.time_zone,
    extract(epoch from history.session_shift)::float8
from marts.dim_venues as venues
inner join marts.dim_venues_history as history on history.venue_key = venues.venue_key
where %(source)s::text is null or venues.source_system = %(source)s
order by venues.source_system, history.effective_at
""")
_RELATIONS = (("marts", "dim_instruments"), ("marts", "dim_venues"), ("marts", "dim_venues_history"))
_LIVE = SQL("""
select source_system, symbol, price from live.last_price
where (%(source)s::text is null or source_system = %(source)s) and (%(symbol)s::text is null or symbol = %(symbol)s)
and strpos(lower(source_system || ':' || symbol), lower(%(text)s)) > 0
order by source_system, symbol limit %(most)s
""")
_LAST = SQL(
    "select close::float8 from marts.fct_bars_1m where instrument_key = marts.joined_key(%s, %s) "
    "order by bar_start_at desc limit 1"
)


@dataclass
class Instrument:
    """One symbol; the last price says how many digits are shown."""

    source: str
    symbol: str
    kind: str | None = None
    currency: str | None = None
    venue: str | None = None
    sessions: Sessions = field(default_factory=Sessions)
    last_price: float | None = None

    @property
    def ticker(self) -> str:
        """What names it here."""
        return f"{self.source}:{self.symbol}"


def parts(ticker: str) -> tuple[str, str]:
    """Source and symbol; a source has no colon. Problem 404 of what is no ticker."""
    source, colon, symbol = ticker.partition(":")
    if not (source and colon and symbol):
        raise Problem(404, "unknown symbol", f"expected source:symbol, received {ticker[:200]}: /udf/search lists them")
    return source, symbol


async def find(databases: Databases, caller: Caller, text: str, source: str | None, most: int) -> list[Instrument]:
    """Symbols that hold a text, whatever its case."""
    return await _found(databases, caller, {"text": text, "source": source, "symbol": None, "most": most})


async def one(databases: Databases, caller: Caller, ticker: str) -> Instrument:
    """One of them; Problem 404 where there is none of that name."""
    source, symbol = parts(ticker)
    found = await _found(databases, caller, {"text": "", "source": source, "symbol": symbol, "most": 1})
    if not found:
        raise Problem(
            404, "unknown symbol", f"expected a symbol that is here, received {ticker[:200]}: /udf/search lists them"
        )
    if found[0].last_price is None:
        with suppress(NotLoaded):
            async with databases.reading("warehouse", caller, ("marts", "fct_bars_1m")) as connection:
                row = await (await connection.execute(_LAST, (source, symbol))).fetchone()
            found[0].last_price = row[0] if row else None
    return found[0]


async def _found(databases: Databases, caller: Caller, asked: dict[str, Any]) -> list[Instrument]:
    found: dict[str, Instrument] = {}
    venues: list[Any] = []
    with suppress(NotLoaded):
        async with databases.reading("warehouse", caller, *_RELATIONS) as connection:
            for listed in await (await connection.execute(_LISTED, asked)).fetchall():
                one_of = Instrument(*listed)
                found[one_of.ticker] = one_of
            venues = await (await connection.execute(_VENUES, asked)).fetchall()
    async with databases.reading("realtime", caller) as connection:
        for source, symbol, price in await (await connection.execute(_LIVE, asked)).fetchall():
            found.setdefault(f"{source}:{symbol}", Instrument(source, symbol)).last_price = price
    for one_of in found.values():
        _tell_venue(one_of, venues)
    return [found[ticker] for ticker in sorted(found)][: asked["most"]]


def _tell_venue(instrument: Instrument, venues: list[Any]) -> None:
    """Name and sessions, of what held of the venue from each time on."""
    terms = [Terms()]
    for source, name, effective_at, time_zone, shift in venues:
        if source == instrument.source:
            instrument.venue = name
            terms.append(Terms(effective_at, time_zone, timedelta(seconds=shift)))
    instrument.sessions = Sessions(tuple(terms))
