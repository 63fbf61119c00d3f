"""The rule of a range that crosses the tidemark. What it promises: each row once, whatever promotion does meanwhile.

1. Realtime first: its rows and which promotions have left it, in one snapshot, read whole into a spool. The transaction
   ends before anything else is done, so that nobody who reads an answer slowly holds up a trim.
2. Only then the warehouse, in a snapshot of its primary. A row leaves realtime after it is in the marts: what the first
   snapshot did not have any more, the second one has. In the other order a row can be in neither.
3. Both are united by identity, as a row can be in both: union.py, and `marts.bars_across` for bars.
4. Every promotion that had left the first snapshot is verified in the second. Else that is older than it should be (a
   standby, a restored backup), and both are read again, a few times.
5. Bars of a minute that both sides hold are computed of the union's ticks: bars.py.

Where a side does not answer, nothing is answered. A warehouse that does, and never had anything that a load or a build
makes, while nothing has left realtime, has no row of any range: then realtime's are all of them.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol, TypeVar

from psycopg.sql import SQL, Literal

from serve.crossing.sides import SideAway, Sides, Snapshot
from tidemark.connections import Database
from tidemark.errors import TidemarkError

PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4)  # seconds before each try
# What has left, and what has come.
ACCOUNT: dict[Database, str] = {"realtime": "live.trimmed_days", "warehouse": "marts.fct_promotions"}
Held = TypeVar("Held")
Answer_co = TypeVar("Answer_co", covariant=True)


class Question(Protocol[Held, Answer_co]):
    """What is asked of both sides."""

    topics: tuple[str, ...]
    relations: dict[Database, tuple[str, ...]]  # what it reads of each database, as schema.name

    def hold(self, realtime: Snapshot) -> Held:
        """Read whole what realtime has."""

    def join(self, held: Held, warehouse: Snapshot) -> Answer_co:
        """The answer, of that and of what the warehouse has; ReadAgain where the two do not fit each other."""

    def alone(self, held: Held) -> Answer_co:
        """The answer of that alone, where the warehouse never had anything; NotLoaded where none can be made of it."""

    def release(self, held: Held) -> None:
        """Let go of what was held."""


@dataclass(frozen=True)
class Left:
    """A promotion whose rows have left realtime."""

    promotion_id: str
    topic: str
    day: date  # UTC, by the record's time in Kafka


class ReadAgain(TidemarkError):
    """The warehouse's snapshot does not fit realtime's."""

    retriable = True


def answer(sides: Sides, role: str, question: Question[Held, Answer_co]) -> Answer_co:
    """Ask both sides by the rule, as a role. SideAway, SideRefused; ReadAgain when no try fitted."""
    refusal = ReadAgain("never asked")
    for pause in PAUSES:
        time.sleep(pause)
        with reading(sides, "realtime", role, question) as realtime:
            left, held = have_left(realtime, question.topics), question.hold(realtime)
        try:
            with reading(sides, "warehouse", role, question) as warehouse:
                check_verified(warehouse, left)
                return question.join(held, warehouse)
        except ReadAgain as error:
            refusal = error
        except SideAway as error:
            if left or not sides.has_nothing(error, role):
                raise
            return question.alone(held)
        finally:
            question.release(held)
    raise refusal


def reading(
    sides: Sides, database: Database, role: str, question: Question[Any, Any]
) -> AbstractContextManager[Snapshot]:
    """A snapshot of what the question reads of a database. SideAway where there is none, SideRefused."""
    return sides.snapshot(database, role, (ACCOUNT[database], *question.relations[database]))


def have_left(realtime: Snapshot, topics: Sequence[str]) -> list[Left]:
    """The promotions of these topics whose rows are not in the snapshot any more."""
    query = SQL("select promotion_id, topic, received_date from live.trimmed_days where topic = any({})")
    return [Left(*row) for row in realtime.rows(query.format(Literal(list(topics))))]


def check_verified(warehouse: Snapshot, left: Sequence[Left]) -> None:
    """ReadAgain where the warehouse's snapshot does not have each of these promotions as verified."""
    query = SQL(
        "select promotion_id from unnest({}::text[]) as gone (promotion_id) where not exists ("
        "select 1 from marts.fct_promotions as promotions "
        "where promotions.promotion_id = gone.promotion_id and promotions.is_verified)"
    )
    missing: set[Any] = {row[0] for row in warehouse.rows(query.format(Literal([one.promotion_id for one in left])))}
    if missing:
        days = sorted({f"{one.topic} {one.day}" for one in left if one.promotion_id in missing})
        raise ReadAgain(
            f"expected in the warehouse what has left `realtime`, it lacks {len(missing)} promotions "
            f"({', '.join(days[:3])}{', ..' if len(days) > 3 else ''}): it is a standby that is behind, or a backup "
            "that was restored"
        )
