"""The conservation law, counted in the tables: every consumed offset is a row, or accounted for by name."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tidemark.categories import CATEGORIES
from tidemark.connections import connect
from tidemark.settings import Settings

Figures = dict[tuple[str, int, int], dict[str, int]]  # by topic, log epoch and Kafka partition


@dataclass(frozen=True)
class Balance:
    """Where one topic's, epoch's and partition's offsets are; `balance`: what nobody accounts for."""

    topic: str
    epoch: int
    partition: int
    consumed: int = 0  # offsets that the processor's committed position has passed
    realtime: int = 0  # rows in the topic's table
    promoted: int = 0  # rows that left for the warehouse, by the ledger's verified counts
    quarantined: int = 0
    dropped: int = 0  # quarantined, then given up by a person
    lost: int = 0  # gone for good, acknowledged by a person
    empty: int = 0  # offsets that held no record
    balance: int = field(init=False)

    def __post_init__(self) -> None:
        known = self.realtime + self.promoted + self.quarantined + self.dropped + self.lost + self.empty
        object.__setattr__(self, "balance", self.consumed - known)

    def __str__(self) -> str:
        return f"{self.topic} epoch {self.epoch} partition {self.partition}: balance {self.balance:+d}"


# Each yields topic, epoch, partition and a number, in the snapshot of `realtime`.
_QUERIES: dict[str, sql.SQL | sql.Composed] = {
    "consumed": sql.SQL(
        "select topic, log_epoch, kafka_partition, next_offset - first_offset from realtime.consumer_offset"
    ),
    "empty": sql.SQL("select topic, log_epoch, kafka_partition, empty_offsets from realtime.consumer_offset"),
    "quarantined": sql.SQL(
        "select topic, log_epoch, kafka_partition, count(*) from realtime.quarantine "
        "where dropped_at is null group by topic, log_epoch, kafka_partition"
    ),
    "dropped": sql.SQL(
        "select topic, log_epoch, kafka_partition, count(*) from realtime.quarantine "
        "where dropped_at is not null group by topic, log_epoch, kafka_partition"
    ),
    "lost": sql.SQL(
        "select topic, log_epoch, kafka_partition, sum(end_offset - first_offset)::bigint from realtime.lost "
        "group by topic, log_epoch, kafka_partition"
    ),
    "realtime": sql.SQL(" union all ").join(
        sql.SQL("select {}, log_epoch, kafka_partition, count(*) from {} group by log_epoch, kafka_partition").format(
            sql.Literal(topic), sql.Identifier("realtime", topic)
        )
        for topic in CATEGORIES
    ),
}
_PROMOTED = (
    "select topic, log_epoch, kafka_partition, sum(row_count)::bigint from ops.promotion "
    "where promotion_id = any(%s) and verified_at is not null group by topic, log_epoch, kafka_partition"
)


def account(settings: Settings) -> list[Balance]:
    """The balance of each topic, epoch and partition; exact while the processor and a promotion run.

    `realtime` is read first, in one snapshot; then the ledger, for exactly the promotions that had left by
    then. A promotion is verified before it leaves, so the later read knows each of them, and counts no other.
    """
    figures: Figures = defaultdict(dict)
    with connect(settings, "realtime", "promoter") as connection:
        left = _snapshot(connection, figures)
    with connect(settings, "warehouse", "promoter") as connection:
        _note(figures, "promoted", connection.execute(_PROMOTED, (left,)))
    return [Balance(*key, **figures[key]) for key in sorted(figures)]  # type: ignore[arg-type]


def _snapshot(connection: psycopg.Connection[Any], figures: Figures) -> list[UUID]:
    """Note all that `realtime` holds; return the promotions that have left it."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    # A dropped partition is gone from old snapshots too: the lock keeps trims out, and comes before ours.
    tables = sql.SQL(", ").join(sql.Identifier("realtime", topic) for topic in CATEGORIES)
    connection.execute(sql.SQL("lock table {} in access share mode").format(tables))
    for name, query in _QUERIES.items():
        _note(figures, name, connection.execute(query))
    return [promotion_id for (promotion_id,) in connection.execute("select promotion_id from realtime.trimmed")]


def _note(figures: Figures, name: str, rows: Iterator[tuple[str, int, int, int]]) -> None:
    for topic, epoch, partition, number in rows:
        figures[topic, epoch, partition][name] = number
