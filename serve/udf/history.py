"""Bars as UDF's client wants them: of a range, or the last so many before its end."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.sql import SQL, Literal

from serve.crossing.bars import SESSION_MOST, STEPS, Bars
from serve.crossing.sides import SideAway, Sides
from serve.udf.symbols import Instrument

INTERVALS = {"1": "1m", "5": "5m", "60": "1h", "1D": "1d", "D": "1d"}
STEP = {**STEPS, "1d": timedelta(days=1)}
MOST_BARS = 10_000  # of one answer
MOST_READS = 8  # of windows further back, when so many bars are wanted
FIRST = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, Any]
Ask = Callable[[Bars], list[Row]]

_OF_WAREHOUSE = SQL(
    "select max(bar_start_at) from marts.fct_bars_1m "
    "where instrument_key = marts.joined_key({}, {}) and bar_start_at < {}"
)
_OF_REALTIME = SQL(
    "select max(minute_start_at) from live.ticks where source_system = {} and symbol = {} and minute_start_at < {}"
)


def newest_before(sides: Sides, role: str, source: str, symbol: str, at: datetime) -> datetime | None:
    """The last minute with a trade before a moment, on either side; None where there is none. SideAway, SideRefused."""
    values = (Literal(source), Literal(symbol), Literal(at))
    with sides.snapshot("realtime", role, ("live.ticks",)) as realtime:
        [(live,)] = realtime.rows(_OF_REALTIME.format(*values))
    try:
        with sides.snapshot("warehouse", role, ("marts.fct_bars_1m",)) as warehouse:
            [(kept,)] = warehouse.rows(_OF_WAREHOUSE.format(*values))
    except SideAway as error:
        if not sides.has_nothing(error, role):
            raise
        kept = None
    return max(filter(None, (live, kept)), default=None)


def last_bars(
    ask: Ask, before: Callable[[datetime], datetime | None], bars: Bars, count: int, most: timedelta
) -> list[Row]:
    """The range's bars and, where they are fewer than `count`, those before it, by windows that touch."""
    rows, step, from_at = ask(bars), STEP[bars.interval], bars.from_at
    for _ in range(MOST_READS):
        if len(rows) >= count or (newest := before(from_at)) is None:
            break
        missing = count - len(rows)
        span = min(max(step * missing * 2, SESSION_MOST if bars.interval == "1d" else step * 2), most)
        # A bar that began before has its last minute here.
        start = max(FIRST, newest - span)
        rows = ask(Bars(bars.source, bars.symbol, bars.interval, start, from_at)) + rows
        from_at = start
    return rows[-max(count, 0) :] if count else rows


def table(rows: list[Row], interval: str, instrument: Instrument) -> dict[str, Any]:
    """UDF's answer: an array a column, times in seconds since 1970."""
    if not rows:
        return {"s": "no_data"}
    columns = {"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
    return {
        "s": "ok",
        "t": [bar_time(row["bar_start_at"], interval, instrument) for row in rows],
        **{name: [row[column] for row in rows] for name, column in columns.items()},
    }


def bar_time(at: datetime, interval: str, instrument: Instrument) -> int:
    """When the bar of a moment begins; of a day, midnight UTC of the session's date, as the library wants it."""
    if interval == "1d":
        at = datetime.combine(instrument.sessions.date_of(at), datetime.min.time(), UTC)
    return int((at - (at - FIRST) % STEP[interval]).timestamp())


def range_of(begin: int, end: int, interval: str, instrument: Instrument) -> tuple[datetime, datetime]:
    """Seconds since 1970 as moments: bars whose `bar_time` is in them begin between these."""
    from_at, to_at = (FIRST + timedelta(seconds=at) for at in (begin, end))
    if interval != "1d":
        return from_at, to_at
    # The first date whose midnight is not before.
    from_day, to_day = ((at + STEP["1d"] - timedelta(seconds=1)).date() for at in (from_at, to_at))
    return instrument.sessions.begin_of(from_day), instrument.sessions.begin_of(to_day)
