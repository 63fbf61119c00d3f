"""Events of a publisher or a series in a range of the time from which on they could be known, from both sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from psycopg.sql import SQL, Composable, Literal

from serve.crossing.ticks import TIME, time_of
from serve.crossing.union import IDENTITY, Key, Order
from tidemark.connections import Database

TOPICS = ("economic_event_numeric", "economic_event_text")
RELATIONS: dict[Database, tuple[str, ...]] = {
    "realtime": ("live.events",),
    "warehouse": ("marts.fct_economic_events",),
}
ORDER = Order(("available_at", "topic", *IDENTITY, "lake_key"), ("topic", *IDENTITY))
_COLUMNS = (
    'topic collate "C" as topic, event_publisher, series_id, unit, description, text_value, {attributes}value, '
    "log_epoch, kafka_partition, kafka_offset, reference_date, vintage_date, available_at, received_at, {lake_key} "
)
_ROWS = (
    "from {relation} where {of} and available_at >= {from_at} and available_at < {to_at} and ({after}) "
    "order by available_at, topic, log_epoch, kafka_partition, kafka_offset, lake_key limit {limit}"
)
_LAKE_KEY = 'case when log_epoch is null then event_key end collate "C"'


SCHEMA = pa.schema({
    "topic": pa.string(), "source_system": pa.string(), "event_publisher": pa.string(), "series_id": pa.string(),
    "unit": pa.string(), "description": pa.string(), "text_value": pa.string(), "attributes": pa.string(),
    "value": pa.float64(), "log_epoch": pa.int16(), "kafka_partition": pa.int16(), "kafka_offset": pa.int64(),
    "reference_date": pa.date32(), "vintage_date": pa.date32(), "available_at": TIME, "received_at": TIME,
})  # fmt: skip


@dataclass(frozen=True)
class EventRange:
    """Which events: of a source's publisher or series (or of both), half-open by `available_at`."""

    source: str
    publisher: str | None
    series: str | None
    from_at: datetime
    to_at: datetime
    limit: int
    after: Key | None = None
    with_attributes: bool = False

    def realtime(self) -> Composable:
        """What realtime is asked."""
        of = [SQL("source_system = {}").format(Literal(self.source))]
        if self.series is not None:
            of.append(SQL("series_id = {}").format(Literal(self.series)))
        return self._query(SQL("live.events"), of, "null::text as lake_key")

    def warehouse(self) -> Composable:
        """What the warehouse is asked."""
        of = [SQL("source_system = {}").format(Literal(self.source))]
        if self.series is not None:
            of.append(SQL("series_key = marts.joined_key({}, {})").format(Literal(self.source), Literal(self.series)))
        return self._query(SQL("marts.fct_economic_events"), of, f"{_LAKE_KEY} as lake_key")

    def _query(self, relation: SQL, of: Sequence[Composable], lake_key: str) -> Composable:
        attributes = SQL("attributes::text as attributes, " if self.with_attributes else "")
        columns = SQL("select " + _COLUMNS).format(attributes=attributes, lake_key=SQL(lake_key))
        if self.publisher is not None:
            of = [*of, SQL("event_publisher = {}").format(Literal(self.publisher))]
        return columns + SQL(_ROWS).format(
            relation=relation,
            of=SQL(" and ").join(of),
            from_at=Literal(max(self.from_at, time_of(self.after)) if self.after else self.from_at),
            to_at=Literal(self.to_at),
            after=_after(self.after),
            limit=Literal(self.limit + 1),
        )


def _after(place: Key | None) -> Composable:
    """Whether a row comes after a place in the order."""
    if place is None:
        return SQL("true")
    time, topic = Literal(time_of(place)), Literal(place[1][1])
    if place[2][0]:
        beyond = SQL("log_epoch is null and " + _LAKE_KEY + " > {}").format(Literal(place[5][1]))
    else:
        identity = SQL(", ").join(Literal(value) for _, value in place[2:5])
        beyond = SQL("(log_epoch, kafka_partition, kafka_offset) > ({}) or log_epoch is null").format(identity)
    return SQL('available_at > {} or topic collate "C" > {} or (topic = {} and ({}))').format(
        time, topic, topic, beyond
    )
