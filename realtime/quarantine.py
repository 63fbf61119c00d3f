"""Records that cannot be rows go to quarantine, as they came, with what explains them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import sql

from realtime.rows import received_at
from realtime.tables import QUARANTINE

REFUSED = "refused_by_database"  # the reason of a record that only Postgres could refuse


class KeptRecord(Protocol):
    """What is kept of a record, whoever read it: `timestamp` is its time in Kafka, ms since 1970."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be a row: `reason` is one of few words, to count by; `detail` says expected and received."""

    record: KeptRecord
    reason: str
    detail: str


_INSERT = sql.SQL(
    "insert into {} (topic, log_epoch, kafka_partition, kafka_offset, "
    "received_at, reason, detail, record_key, payload) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
).format(QUARANTINE)
_KNOWN = sql.SQL(
    "select kafka_offset from {} "
    "where topic = %s and log_epoch = %s and kafka_partition = %s and kafka_offset = any(%s)"
).format(QUARANTINE)


def keep_rejects(cursor: Any, topic: str, log_epoch: int, partition: int, rejects: Sequence[Reject]) -> None:
    """Keep the rejects with all that identifies and explains them."""
    if rejects:
        cursor.executemany(
            _INSERT,
            [
                (topic, log_epoch, partition, record.offset, received_at(record.timestamp),
                 reason, detail.replace("\0", "\\0"), record.key, record.value)
                for record, reason, detail in ((r.record, r.reason, r.detail) for r in rejects)
            ],
        )  # fmt: skip


def known_rejects(connection: Any, topic: str, log_epoch: int, partition: int, offsets: Iterable[int]) -> set[int]:
    """Which of these offsets are in quarantine."""
    found = connection.execute(_KNOWN, (topic, log_epoch, partition, list(offsets))).fetchall()
    return {offset for (offset,) in found}
