"""The ledger of promotions: `ops.promotion` in the warehouse, and a file for each in the lake."""

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid5

from psycopg.rows import dict_row

from realtime.slices import Slice
from tidemark.connections import connect
from tidemark.lake import new_file
from tidemark.settings import Settings

_NAMESPACE = UUID("6f1d3c0a-52d7-5d0e-9c1b-7a4f6f0d2e11")  # any constant: it sets our ids apart from others'


@dataclass(frozen=True)
class Promotion:
    """One set of rows of a topic's day on its way to the warehouse, by log epoch and partition."""

    promotion_id: UUID
    topic: str
    day: date
    lake_path: str
    slices: tuple[Slice, ...]

    @property
    def row_count(self) -> int:
        return sum(piece.row_count for piece in self.slices)


def promotion_id(topic: str, day: date, slices: list[Slice]) -> UUID:
    """The id of exactly these rows: the same in every run; with one row more it is another promotion.

    So a run that was killed is taken up where it was, and a day that is opened again is promoted again.
    """
    ordered = sorted((asdict(piece) for piece in slices), key=lambda s: (s["log_epoch"], s["kafka_partition"]))
    return uuid5(_NAMESPACE, json.dumps([topic, day.isoformat(), ordered]))


def begin(settings: Settings, promotion: Promotion) -> None:
    """Write the promotion's rows, not yet verified, all or none; again, it changes nothing."""
    with connect(settings, "warehouse", "promoter") as connection:
        connection.cursor().executemany(
            "insert into ops.promotion (promotion_id, topic, day, log_epoch, kafka_partition, row_count, "
            "first_offset, last_offset, checksum, lake_path) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "on conflict do nothing",
            [
                (
                    promotion.promotion_id, promotion.topic, promotion.day,
                    piece.log_epoch, piece.kafka_partition, piece.row_count,
                    piece.first_offset, piece.last_offset, piece.checksum, promotion.lake_path,
                )
                for piece in promotion.slices
            ],
        )  # fmt: skip


def verify(settings: Settings, promotion: Promotion) -> None:
    """Note that the copies agree by checksum and the mart by count, and copy the ledger's rows to the lake."""
    with connect(settings, "warehouse", "promoter", row_factory=dict_row) as connection:
        rows = connection.execute(
            "update ops.promotion set verified_at = coalesce(verified_at, now()) where promotion_id = %s returning *",
            (promotion.promotion_id,),
        ).fetchall()
    _write_to_lake(settings, promotion, rows)


def promotions(settings: Settings) -> list[dict[str, Any]]:
    """Each promotion's topic, day, rows, and when (UTC) it was begun and verified, if it was; by day."""
    with connect(settings, "warehouse", "promoter", row_factory=dict_row) as connection:
        return connection.execute(
            "select topic, day, sum(row_count)::bigint as rows, "
            "to_char(min(promoted_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SSZ') as promoted_at, "
            "coalesce(to_char(min(verified_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SSZ'), 'not yet') "
            "as verified_at "
            "from ops.promotion group by promotion_id, topic, day order by day, topic, min(promoted_at)"
        ).fetchall()


def slices_of_files(settings: Settings, topic: str, verified: bool = False) -> dict[tuple[date, str], list[Slice]]:
    """What each lake file of the topic held when it was promoted, by day and path; `verified`: of those alone."""
    found: dict[tuple[date, str], list[Slice]] = defaultdict(list)
    with connect(settings, "warehouse", "promoter") as connection:
        rows = connection.execute(
            "select day, lake_path, log_epoch, kafka_partition, row_count, first_offset, last_offset, checksum "
            "from ops.promotion where topic = %s and (verified_at is not null or not %s) order by day, promoted_at",
            (topic, verified),
        )
        for day, lake_path, *piece in rows:
            found[day, lake_path].append(Slice(*piece))
    return found


def ledger_path(promotion: UUID) -> str:
    """Where below the lake's root one promotion is copied: a JSON list of objects with the columns of ops.promotion."""
    return f"ops/promotion/{promotion}.json"


def _write_to_lake(settings: Settings, promotion: Promotion, rows: list[dict[str, Any]]) -> None:
    rows.sort(key=lambda row: (row["log_epoch"], row["kafka_partition"]))
    with new_file(settings, ledger_path(promotion.promotion_id)) as file:
        file.write(json.dumps(rows, indent=1, default=_text).encode())


def _text(value: UUID | date | datetime) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)
