"""What two places hold of the same rows, in a form to compare: counts, offsets and one checksum a slice.

A row's digest is the first 64 bits of the md5 of its texts, joined by the unit separator. The checksum of rows is the
sum of their digests modulo 2^64: their order does not matter, and SQL and Python compute the same number.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Any

import psycopg
from psycopg import sql

IDENTITY = ("log_epoch", "kafka_partition", "kafka_offset")
_SEPARATOR = "\x1f"
MODULUS = 1 << 64
# Of the rows of a query whose column `digest` is the digest.
SQL_CHECKSUM = sql.SQL("mod(mod(sum(digest), {modulus}) + {modulus}, {modulus})::text").format(
    modulus=sql.Literal(MODULUS)
)

_QUERY = sql.SQL("""
    select
        log_epoch::int,
        kafka_partition::int,
        count(*),
        min(kafka_offset::bigint),
        max(kafka_offset::bigint),
        {checksum}
    from (select log_epoch, kafka_partition, kafka_offset, {digest} as digest from {rows}) as digests
    group by 1, 2
    order by 1, 2
""")


@dataclass(frozen=True)
class Slice:
    """The rows of one log epoch and Kafka partition; both offsets inclusive."""

    log_epoch: int
    kafka_partition: int
    row_count: int
    first_offset: int
    last_offset: int
    checksum: str


def sql_digest(texts: Sequence[sql.Composable]) -> sql.Composed:
    """A row's digest as a signed number, where `texts` gives each column's text; none of them is null."""
    return sql.SQL("('x' || left(md5(concat_ws({}, {})), 16))::bit(64)::bigint").format(
        sql.Literal(_SEPARATOR), sql.SQL(", ").join(texts)
    )


def digest(texts: Iterable[str]) -> int:
    """The digest of a row of these texts, not negative."""
    return int.from_bytes(md5(_SEPARATOR.join(texts).encode(), usedforsecurity=False).digest()[:8], "big")


def checksum(total: int) -> str:
    """The checksum of rows whose digests have this sum."""
    return str(total % MODULUS)


def in_database(
    database: psycopg.Connection[Any], rows: sql.Composable, texts: Sequence[sql.Composable]
) -> list[Slice]:
    """The slices of `rows` (what can follow `from`), where `texts` gives each column's text in the file's order."""
    query = _QUERY.format(
        checksum=SQL_CHECKSUM,
        digest=sql_digest([sql.SQL("coalesce({}, '')").format(text) for text in texts]),
        rows=rows,
    )
    return [Slice(*found) for found in database.execute(query).fetchall()]


def in_csv(lines: Iterable[str]) -> list[Slice]:
    """The slices of a CSV with a header, computed from its text alone."""
    table = csv.reader(lines, strict=True)
    header = next(table)
    at_epoch, at_partition, at_offset = (header.index(name) for name in IDENTITY)
    found: dict[tuple[int, int], list[int]] = {}  # rows, first offset, last offset, sum of digests
    for row in table:
        offset = int(row[at_offset])
        here = found.setdefault((int(row[at_epoch]), int(row[at_partition])), [0, offset, offset, 0])
        here[0] += 1
        here[1] = min(here[1], offset)
        here[2] = max(here[2], offset)
        here[3] += digest(row)
    return [
        Slice(epoch, partition, rows, first, last, checksum(total))
        for (epoch, partition), (rows, first, last, total) in sorted(found.items())
    ]
