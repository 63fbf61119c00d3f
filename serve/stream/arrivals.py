"""What was committed since: rows of `live` by their place in the log.

The processor moves a partition's position in the transaction of its rows, and in the order of offsets: whoever has read
a position can read every row below it, and no row comes below it later. So positions are asked, which costs one row a
partition; rows only between the place that was seen and the one that is there now.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from serve.stream.places import Places, Stretch, of_rows

MARKET, NUMERIC, TEXT = "market_tick", "economic_event_numeric", "economic_event_text"
CHANNELS = {"ticks": (MARKET,), "bars": (MARKET,), "events": (NUMERIC, TEXT)}
VIEWS = {"ticks": "ticks", "bars": "bars_1m", "events": "events"}  # of `live`
# The transaction of a trim began at most so long before it was committed.
TRIM_SECONDS = timedelta(seconds=60)

_POSITIONS = SQL(
    "select now(), topic, kafka_partition, log_epoch, next_offset from live.positions where topic = any(%s)"
)
_TRIMMED = SQL("select exists (select from live.trimmed_days where topic = any(%s) and trimmed_at >= %s)")
_TIDEMARK = SQL(
    "select (max(received_date) + 1)::timestamp at time zone 'UTC' from live.trimmed_days where topic = 'market_tick'"
)
# By the index of arrivals, whatever the planner thinks of the symbols': of a symbol that would read all its rows.
_BY_ARRIVAL = SQL(
    "set local enable_seqscan = off; set local enable_indexscan = off; set local enable_indexonlyscan = off"
)
_TICKS = SQL("""
select source_system, symbol, side, trade_id, price, size, log_epoch, kafka_partition, kafka_offset,
    traded_at, received_at
from live.ticks
where kafka_offset >= %s and kafka_offset < %s and kafka_partition = %s and log_epoch = %s and symbol || '' = any(%s)
order by kafka_offset
""")
_EVENTS = SQL("""
select
    topic, source_system, event_publisher, series_id, unit, description, text_value, value,
    log_epoch, kafka_partition, kafka_offset, reference_date, vintage_date, available_at, received_at
from live.events
where topic = %s and kafka_offset >= %s and kafka_offset < %s and kafka_partition = %s and log_epoch = %s
order by kafka_offset
""")
_BARS = SQL("""
select
    source_system, symbol, volume_unit, open::float8, high::float8, low::float8, close::float8, vwap::float8,
    volume::float8, quote_volume::float8, trade_count, is_final, bar_start_at
from live.bars_1m
where source_system = %s and symbol = %s and bar_start_at = %s
""")

Row = dict[str, Any]
Minute = tuple[str, str, datetime]  # source, symbol, its first instant


async def positions(connection: AsyncConnection[Any], topics: Sequence[str]) -> Places:
    """Where the logs are now."""
    rows = await (await connection.execute(_POSITIONS, (list(topics),))).fetchall()
    if not rows:
        [(now,)] = await (await connection.execute(SQL("select now()"))).fetchall()
        return of_rows(now, [])
    return of_rows(rows[0][0], [row[1:] for row in rows])


async def rows(connection: AsyncConnection[Any], stretch: Stretch, symbols: Sequence[str]) -> list[Row]:
    """The rows of a stretch of a log in its order; of ticks, those of the symbols."""
    bounds = (stretch.first, stretch.end, stretch.partition, stretch.log_epoch)
    async with connection.cursor(row_factory=dict_row) as cursor:
        if stretch.topic == MARKET:
            await connection.execute(_BY_ARRIVAL, prepare=False)
            await cursor.execute(_TICKS, (*bounds, list(symbols)))
        else:
            await cursor.execute(_EVENTS, (stretch.topic, *bounds))
        return await cursor.fetchall()


async def bars(connection: AsyncConnection[Any], minutes: Sequence[Minute]) -> list[Row]:
    """The bars of minutes, as realtime has them."""
    found: list[Row] = []
    async with connection.cursor(row_factory=dict_row) as cursor:
        for minute in minutes:
            await cursor.execute(_BARS, minute)
            found += await cursor.fetchall()
    return found


async def tidemark(connection: AsyncConnection[Any]) -> datetime | None:
    """What arrived before it has left for the warehouse; None where nothing has."""
    [(found,)] = await (await connection.execute(_TIDEMARK)).fetchall()
    return found  # type: ignore[no-any-return]


async def may_have_left(connection: AsyncConnection[Any], topics: Sequence[str], since: datetime) -> bool:
    """Whether a day of the topics was dropped since, so that a row of then may not be here any more."""
    [(found,)] = await (await connection.execute(_TRIMMED, (list(topics), since - TRIM_SECONDS))).fetchall()
    return bool(found)


async def check_readable(connection: AsyncConnection[Any], channel: str) -> None:
    """psycopg.Error where the session's role may not read a channel's view."""
    await connection.execute(SQL("select 1 from {} limit 0").format(Identifier("live", VIEWS[channel])))
