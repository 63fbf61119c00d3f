"""Ticks of a symbol in a range of the venue's clock, from both sides."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
from psycopg.sql import SQL, Composable, Literal

from serve.crossing.sides import Snapshot
from serve.crossing.union import Key, Order
from tidemark.connections import Database
from tidemark.errors import TidemarkError

TOPICS = ("market_tick",)
RELATIONS: dict[Database, tuple[str, ...]] = {
    "realtime": ("live.ticks",),
    "warehouse": ("marts.fct_market_ticks", "marts.fct_deleted_tick_days"),
}
# `lake_key` is what orders ticks of one time that have no place in a log.
ORDER = Order(("traded_at", "log_epoch", "kafka_partition", "kafka_offset", "lake_key"))
_MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = (
    "side, trade_id, {attributes}price, size, log_epoch, kafka_partition, kafka_offset, traded_at, received_at, "
    "{lake_key} "
)
_REALTIME = (
    "from live.ticks where source_system = {source} and symbol = {symbol} "
    "and minute_start_at >= {from_minute} and minute_start_at < {to_at} and traded_at >= {from_at} "
    "and traded_at < {to_at} and ({after}) "
    "order by minute_start_at, traded_at, log_epoch, kafka_partition, kafka_offset limit {limit}"
)
_WAREHOUSE = (
    "from marts.fct_market_ticks where instrument_key = marts.joined_key({source}, {symbol}) "
    "and traded_at >= {from_at} and traded_at < {to_at} "
    "and ({after}) order by traded_at, log_epoch, kafka_partition, kafka_offset, lake_key limit {limit}"
)
_LAKE_KEY = 'case when log_epoch is null then market_tick_key end collate "C"'


TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema({
    "source_system": pa.string(), "symbol": pa.string(), "side": pa.string(), "trade_id": pa.string(),
    "attributes": pa.string(), "price": pa.float64(), "size": pa.float64(), "log_epoch": pa.int16(),
    "kafka_partition": pa.int16(), "kafka_offset": pa.int64(), "traded_at": TIME, "received_at": TIME,
})  # fmt: skip


class TicksDeleted(TidemarkError):
    """Ticks of the range were deleted from the mart: `days` (UTC)."""

    def __init__(self, days: list[date]) -> None:
        super().__init__(f"expected every tick of the range, those of {len(days)} of its days were deleted")
        self.days = days


@dataclass(frozen=True)
class TickRange:
    """Which ticks: half-open by `traded_at`, after a place in their order, one more than `limit` at most."""

    source: str
    symbol: str
    from_at: datetime
    to_at: datetime
    limit: int
    after: Key | None = None
    with_attributes: bool = False

    def realtime(self) -> Composable:
        """What realtime is asked."""
        return self._query(_REALTIME, "null::text as lake_key")

    def warehouse(self) -> Composable:
        """What the warehouse is asked."""
        return self._query(_WAREHOUSE, f"{_LAKE_KEY} as lake_key")

    def _query(self, rest: str, lake_key: str) -> Composable:
        attributes = SQL("attributes::text as attributes, " if self.with_attributes else "")
        columns = SQL("select " + _COLUMNS).format(attributes=attributes, lake_key=SQL(lake_key))
        from_at = max(self.from_at, time_of(self.after)) if self.after else self.from_at
        bounds = {"from_at": from_at, "to_at": self.to_at, "from_minute": minute_of(from_at)}
        return columns + SQL(rest).format(
            source=Literal(self.source),
            symbol=Literal(self.symbol),
            after=_after(self.after),
            limit=Literal(self.limit + 1),
            **{name: Literal(value) for name, value in bounds.items()},
        )

    def check(self, warehouse: Snapshot) -> None:
        """TicksDeleted where the warehouse has no longer all of them."""
        query = SQL(
            "select traded_date from marts.fct_deleted_tick_days where instrument_key = marts.joined_key({}, {}) "
            "and traded_date between {} and {} order by traded_date"
        ).format(
            Literal(self.source), Literal(self.symbol), Literal(self.from_at.date()),
            Literal((self.to_at - timedelta(microseconds=1)).date()),
        )  # fmt: skip
        if days := [row[0] for row in warehouse.rows(query)]:
            raise TicksDeleted(days)


def minute_of(at: datetime) -> datetime:
    """The first instant of a time's minute."""
    return at - (at - EPOCH) % _MINUTE


def time_of(place: Key) -> datetime:
    """The time of a place in the order."""
    return EPOCH + timedelta(microseconds=place[0][1])


def _after(place: Key | None) -> Composable:
    """Whether a row comes after a place in the order; bounds on the time reach the index."""
    if place is None:
        return SQL("true")
    values = {"time": Literal(time_of(place)), "key": Literal(place[4][1])}
    if place[1][0]:
        beyond = SQL("(log_epoch is null and " + _LAKE_KEY + " > {key})").format(**values)
    else:
        identity = SQL(", ").join(Literal(value) for _, value in place[1:4])
        beyond = SQL("(log_epoch, kafka_partition, kafka_offset) > ({}) or log_epoch is null").format(identity)
    return SQL("traded_at > {time} or {beyond}").format(beyond=beyond, **values)
