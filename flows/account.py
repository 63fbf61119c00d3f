"""The conservation law, counted in the tables: every consumed offset is a row, or accounted for by name."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import Connection

from realtime.account import Figures, holdings
from tidemark.connections import connect
from tidemark.settings import Settings


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


_PROMOTED = (
    "select topic, log_epoch, kafka_partition, sum(row_count)::bigint from ops.promotion "
    "where promotion_id = any(%s) and verified_at is not null group by topic, log_epoch, kafka_partition"
)


def account(settings: Settings, role: str = "promoter", **options: Any) -> list[Balance]:
    """The balance of each topic, epoch and partition; exact while the processor and a promotion run.

    `realtime` is read first, in one snapshot; then the ledger, for exactly the promotions that had left by
    then. A promotion is verified before it leaves, so the later read knows each of them, and counts no other.
    `role` may read both databases; `options` are those of its connections.
    """
    with connect(settings, "realtime", role, **options) as connection:
        figures, left = holdings(connection)
    with connect(settings, "warehouse", role, **options) as connection:
        return balances(connection, figures, left)


def balances(warehouse: Connection[Any], figures: Figures, left: list[UUID]) -> list[Balance]:
    """The same of figures of `realtime` (changed here) and of the ledger as one connection sees it."""
    for topic, epoch, partition, number in warehouse.execute(_PROMOTED, (left,)):
        figures[topic, epoch, partition]["promoted"] = number
    return [Balance(*key, **figures[key]) for key in sorted(figures)]  # type: ignore[arg-type]
