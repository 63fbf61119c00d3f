"""Bars of a symbol in a range, from both sides: `marts.bars_across` computes them by dbt's own rule.

What realtime has is passed to it: the ticks of every minute that the warehouse may hold too, and of all later minutes,
which are realtime's alone, its own bars. Where that parts is asked of the warehouse beforehand (`since`). Nothing rests
on that answer: should the warehouse's snapshot hold a later minute after all, both are read again.

Bars of a minute are rolled up of nothing, so that those of realtime alone are not passed: they follow the warehouse's.
And where no minute has ticks of realtime's that the warehouse may hold too, there is nothing to compute: the bars of
the mart are taken as they are. `is_final` is by the clock of realtime's snapshot, whosever the bar is.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from psycopg.sql import SQL, Composable, Literal

from serve.crossing import rule
from serve.crossing.rule import ReadAgain
from serve.crossing.sides import SideAway, Sides, Snapshot
from serve.crossing.ticks import EPOCH, TIME, TOPICS, minute_of
from serve.problems import NotLoaded
from tidemark.connections import Database
from tidemark.errors import TidemarkError

RELATIONS: dict[Database, tuple[str, ...]] = {
    "realtime": ("live.ticks", "live.bars_1m"),
    "warehouse": (
        "marts.fct_market_ticks", "marts.fct_bars_1m", "marts.fct_deleted_tick_days", "marts.dim_venues_history",
    ),
}  # fmt: skip
STEPS = {"1m": timedelta(minutes=1), "5m": timedelta(minutes=5), "1h": timedelta(hours=1)}
SESSION_MOST = timedelta(hours=26)  # a session of a day on which a clock is put back, with an hour to spare
MOST_TICKS = 2_000_000  # of minutes that both sides may hold
# Each array of `marts.bars_across`, as the text of Postgres: no value becomes an object on its way.
ARRAYS = {
    "traded_at": "timestamptz", "received_at": "timestamptz", "price": "double precision", "size": "double precision",
    "trade_id": "text", "log_epoch": "smallint", "kafka_partition": "smallint", "kafka_offset": "bigint",
}  # fmt: skip
_TICKS = (
    "select now()::text, count(*), {arrays} from (select * from live.ticks "
    "where source_system = {source} and symbol = {symbol} "
    "and minute_start_at >= {from_at} and minute_start_at < {since} limit {most}) as ticks"
)
_OF_SYMBOL = (
    "from live.bars_1m as bars "
    "where source_system = {source} and symbol = {symbol} and bar_start_at >= {since} and bar_start_at < {read_to}"
)
_BARS = "select coalesce(jsonb_agg(to_jsonb(bars)), '[]')::text " + _OF_SYMBOL
_OWN = (
    "select volume_unit, {numbers}, trade_count, is_final, "
    "bar_start_at, bar_start_at + interval '1 minute' as bar_end_at " + _OF_SYMBOL + " order by bar_start_at"
)
_NEWEST = (
    "select greatest("
    "(select max(traded_at) from marts.fct_market_ticks where instrument_key = marts.joined_key({source}, {symbol}) "
    "and traded_at >= {from_at} and traded_at < {read_to}), "
    "(select max(bar_start_at) from marts.fct_bars_1m where instrument_key = marts.joined_key({source}, {symbol}) "
    "and bar_start_at >= {from_at} and bar_start_at < {read_to}))"
)
_NUMBERS = ("open", "high", "low", "close", "vwap", "volume", "quote_volume")
_ACROSS = (
    "select volume_unit, {numbers}, trade_count, is_final, bar_start_at, bar_end_at from marts.bars_across("
    "{source}, {symbol}, {interval}, {from_at}::timestamptz, {to_at}::timestamptz, {read_to}::timestamptz, "
    "{seen_at}::timestamptz, {arrays}, {bars}::jsonb)"
)


_KEPT = (
    "select volume_unit, {numbers}, trade_count, "
    "coalesce(is_of_batch, false) or bar_start_at + interval '1 minute' <= marts.final_until({seen_at}) as is_final, "
    "bar_start_at, bar_start_at + interval '1 minute' as bar_end_at from marts.fct_bars_1m "
    "where instrument_key = marts.joined_key({source}, {symbol}) "
    "and bar_start_at >= {from_at} and bar_start_at < {read_to} order by bar_start_at"
)
_FINAL_UNTIL = "select marts.final_until({seen_at})"


SCHEMA = pa.schema({
    "source_system": pa.string(), "symbol": pa.string(), "volume_unit": pa.string(),
    **dict.fromkeys(_NUMBERS, pa.float64()), "trade_count": pa.int64(), "is_final": pa.bool_(),
    "bar_start_at": TIME, "bar_end_at": TIME,
})  # fmt: skip


class TooManyTicks(TidemarkError):
    """The minutes that both sides may hold have more ticks than one answer is computed of."""


@dataclass(frozen=True)
class HeldBars:
    """What realtime had: when it was read, and its ticks as arrays, as Postgres's text; and its own bars.

    Of minutes these are `own`, batches as the answer has them; of longer bars JSON, to be rolled up.
    """

    seen_at: str
    arrays: tuple[str | None, ...]
    bars: str = "[]"
    own: tuple[pa.RecordBatch, ...] = ()


@dataclass
class Bars:
    """Bars that begin in a half-open range, as rule.Question asks for them."""

    source: str
    symbol: str
    interval: str  # 1m, 5m, 1h, or 1d: the venue's session
    from_at: datetime
    to_at: datetime
    since: datetime | None = None  # the first minute that realtime alone holds; None: not asked yet
    numbers: str = "double precision"
    topics: tuple[str, ...] = TOPICS
    relations: dict[Database, tuple[str, ...]] = field(default_factory=lambda: RELATIONS)

    @property
    def read_to(self) -> datetime:
        """The end of the last bar of the range."""
        if self.interval == "1d":
            return minute_of(self.to_at) + SESSION_MOST
        last, step = self.to_at - timedelta(microseconds=1), STEPS[self.interval]
        return last - (last - EPOCH) % step + step

    def ask_since(self, warehouse: Snapshot) -> datetime:
        """The first minute of the range after all that the warehouse holds of it."""
        [(newest,)] = warehouse.rows(self._query(_NEWEST))
        return self.from_at if newest is None else minute_of(newest) + STEPS["1m"]

    def hold(self, realtime: Snapshot) -> HeldBars:
        """realtime's ticks before `since`, and its bars from then on."""
        assert self.since is not None
        arrays = SQL(", ").join(SQL("array_agg({})::text").format(SQL(name)) for name in ARRAYS)
        query = self._query(_TICKS, arrays=arrays, most=Literal(MOST_TICKS + 1))
        [(seen_at, count, *texts)] = realtime.rows(query)
        if count > MOST_TICKS:
            raise TooManyTicks(f"expected at most {MOST_TICKS:,} ticks in minutes that both databases hold, found more")
        if self.interval == "1m":
            return HeldBars(seen_at, tuple(texts), own=self.own(realtime))
        [(bars,)] = realtime.rows(self._query(_BARS))
        return HeldBars(seen_at, tuple(texts), bars)

    def own(self, realtime: Snapshot) -> tuple[pa.RecordBatch, ...]:
        """realtime's bars of minutes from `since` on, as it has them."""
        return tuple(realtime.batches(self._query(_OWN, numbers=self._numbers())))

    def join(self, held: HeldBars, warehouse: Snapshot) -> list[pa.RecordBatch]:
        """The bars."""
        newest = self.ask_since(warehouse)
        if self.since is None or newest > self.since:
            self.since = newest
            raise ReadAgain("expected no promotion to fill the warehouse meanwhile, one did")
        return self.united(held, warehouse)

    def united(self, held: HeldBars, warehouse: Snapshot) -> list[pa.RecordBatch]:
        """The warehouse's bars, those of both sides computed; behind them realtime's own."""
        has_ticks = any(held.arrays)
        query = _KEPT if self.interval == "1m" and not has_ticks else _ACROSS
        found = list(warehouse.batches(self._of_warehouse(query, held)))
        if held.own:
            [(until,)] = warehouse.rows(self._query(_FINAL_UNTIL, seen_at=Literal(held.seen_at)))
            found += [_final(batch, until) for batch in held.own]
        return found

    def _of_warehouse(self, query: str, held: HeldBars) -> Composable:
        arrays = SQL(", ").join(
            SQL("{}::{}[]").format(Literal(text or "{}"), SQL(kind))
            for text, kind in zip(held.arrays, ARRAYS.values(), strict=True)
        )
        return self._query(
            query, arrays=arrays, numbers=self._numbers(), seen_at=Literal(held.seen_at), bars=Literal(held.bars)
        )

    def _numbers(self) -> Composable:
        return SQL(", ").join(SQL("{0}::{1} as {0}").format(SQL(name), SQL(self.numbers)) for name in _NUMBERS)

    def alone(self, held: HeldBars) -> list[pa.RecordBatch]:
        """realtime's own bars of minutes. NotLoaded for longer ones, which are rolled up by a function of the marts."""
        if self.interval != "1m":
            raise NotLoaded
        return list(held.own)

    def release(self, held: HeldBars) -> None:
        """Nothing is open."""

    def _query(self, words: str, **more: Composable) -> Composable:
        values = {
            "source": self.source, "symbol": self.symbol, "interval": self.interval, "from_at": self.from_at,
            "to_at": self.to_at, "read_to": self.read_to, "since": min(self.since or self.read_to, self.read_to),
        }  # fmt: skip
        return SQL(words).format(**{name: Literal(value) for name, value in values.items()}, **more)


def _final(batch: pa.RecordBatch, until: datetime) -> pa.RecordBatch:
    """With `is_final` by the warehouse's rule: a minute of realtime's first day may be, as its day is whole here."""
    column = pc.less_equal(batch.column("bar_end_at"), pa.scalar(until, TIME))
    return batch.set_column(batch.schema.get_field_index("is_final"), "is_final", column)


def answer(sides: Sides, role: str, asked: Bars) -> list[pa.RecordBatch]:
    """The bars by the rule; the warehouse is asked beforehand where realtime's own begin."""
    try:
        with rule.reading(sides, "warehouse", role, asked) as warehouse:
            asked.since = asked.ask_since(warehouse)
    except SideAway as error:
        if not error.is_absent:
            raise
        asked.since = asked.from_at
    return rule.answer(sides, role, asked)
