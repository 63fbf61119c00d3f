"""Promote and trim, step by step: each can be killed and run again, and none leaves a hole.

realtime partition → lake → ingestion table → mart: each copy compared, the mart counted; only then the partition goes.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from flows import closing, ledger
from flows.account import account
from flows.errors import AlreadyRunning, Disagreement, NotClosed, Unbalanced
from flows.ledger import Promotion
from ingest import tables
from ingest.sources import realtime
from realtime import copy_out, partitions
from realtime.slices import Slice
from realtime.trim import DayChanged, trim
from tidemark import turns
from tidemark.categories import CATEGORIES
from tidemark.connections import connect
from tidemark.dbt import DbtError
from tidemark.dbt.tables import holdings
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.home_kind import home_kind
from tidemark.settings import Settings

REJECTED = "rpt_rejected_rows"  # what cannot be a row of its mart
WAIT_SECONDS = 3.0  # for a run that was killed a moment ago
# What must be built before a day of the topic leaves: the mart that its rows are counted in, and what readers of `live`
# would miss with them. Of any other model the failure is said, and holds no day.
ALSO_HOLDING = {"market_tick": {"fct_bars_1m"}}
Due = tuple[str, date]  # topic, day


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the turn of promotion; AlreadyRunning where another run has it. It ends with its connection."""
    with ExitStack() as turn:
        try:
            turn.enter_context(turns.held(settings, "warehouse", "promoter", "promote", WAIT_SECONDS))
        except turns.TurnTaken as error:
            raise AlreadyRunning(f"another promotion is running: {error}") from None
        yield


def first_kept_day(settings: Settings, as_of: datetime | None) -> date:
    """The oldest day (UTC) that stays in `realtime` at this time, or now; the days before it are due."""
    at = as_of or datetime.now(UTC)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).date() - timedelta(days=settings.keep_days)


def refuse_now_in_a_replay(settings: Settings) -> None:
    """ConfigurationError in a demo's state folder, whose days are its recordings': now, every one of them is due."""
    if home_kind(settings) != "replay":
        return
    with connect(settings, "realtime", "promoter") as connection:
        newest = partitions.newest_days_with_rows(connection)
    rest = ""
    if newest:
        first = min(newest.values())
        rest = f", as `--as-of {first + timedelta(days=settings.keep_days)}` does, which keeps the newest day of each "
        rest += f"topic: {', '.join(f'{day} of {topic}' for topic, day in sorted(newest.items()))}"
    raise ConfigurationError(
        f"expected --as-of TIME in {settings.home}, a demo's replay of days that are long past: as of now every one of "
        f"them would leave `realtime`, and `live` would be empty. Name the time to promote as of{rest}"
    )


def due_days(settings: Settings, limit: date) -> dict[Due, bool]:
    """Each topic with each day before `limit` that any topic still has, oldest first; True where it has a partition."""
    with connect(settings, "realtime", "promoter") as connection:
        there = set(partitions.days(connection))
    days = sorted({day for _, day in there if day < limit})
    return {(topic, day): (topic, day) in there for day in days for topic in CATEGORIES}


def refusals(settings: Settings, topics: list[str]) -> dict[str, TidemarkError]:
    """Why no day of a topic may leave: its consumer lags behind the log's end, or its law does not hold."""
    refused: dict[str, TidemarkError] = {}
    ends = closing.log_ends(settings, topics)
    for topic in topics:
        try:
            closing.await_consumer(settings, topic, ends.get(topic))
        except NotClosed as error:
            refused[topic] = error
    wrong = [balance for balance in account(settings) if balance.balance]
    for topic in topics:
        if lines := [str(balance) for balance in wrong if balance.topic == topic]:
            refused[topic] = Unbalanced(
                f"expected a balance of 0, received {'; '.join(lines)}: no day of {topic} leaves "
                "`realtime` before `tidemark account` shows where these records are"
            )
    return refused


def stage(settings: Settings, topic: str, day: date, ends_read_after: datetime) -> Promotion | None:
    """Copy a day to the lake, load its ingestion table, compare all three; None for a day without rows.

    The consumer has passed the log's ends as they were at `ends_read_after` or later: NotClosed where the day was not
    over then. DayChanged where rows arrive meanwhile; Disagreement where a copy is not what it was copied from.
    """
    closing.check_day_over(settings, day, ends_read_after)
    slices = copy_out.day_slices(settings, topic, day)
    if not slices:
        trim(settings, topic, day, None, ())
        return None
    promotion = _copy(settings, topic, day, slices)
    _expect("the lake", promotion, realtime.slices_in_lake(settings, promotion.lake_path))
    realtime.load_day(settings, topic, promotion.lake_path)
    _expect("the ingestion table", promotion, realtime.slices_in_ingestion(settings, topic, promotion.lake_path))
    return promotion


def _copy(settings: Settings, topic: str, day: date, slices: list[Slice]) -> Promotion:
    """Copy the rows to the lake; a run that was killed has written the same file, or none."""
    promotion_id = ledger.promotion_id(topic, day, slices)
    lake_path, copied = realtime.copy_day_to_lake(settings, topic, day, str(promotion_id))
    if _ordered(copied) != _ordered(slices):
        raise DayChanged(f"{topic} {day}: rows came while it was copied: it starts again")
    promotion = Promotion(promotion_id, topic, day, lake_path, tuple(_ordered(slices)))
    ledger.begin(settings, promotion)
    return promotion


def _ordered(slices: list[Slice]) -> list[Slice]:
    return sorted(slices, key=lambda piece: (piece.log_epoch, piece.kafka_partition))


def _expect(place: str, promotion: Promotion, found: list[Slice]) -> None:
    if (received := tuple(_ordered(found))) != promotion.slices:
        raise Disagreement(
            f"{promotion.topic} {promotion.day}: expected in {place} what `realtime` has, "
            f"{promotion.slices}, received {received}; the day stays in `realtime`"
        )


@dataclass(frozen=True)
class Built:
    """What became of a build: why a topic's days must stay, by topic, and what failed, if anything did."""

    held: dict[str, DbtError]
    error: DbtError | None = None


def build(settings: Settings, topics: list[str]) -> Built:
    """dbt builds the topics' marts, what reads them, and (@) what else those models read.

    A model that cannot be built stays as it was, and those that read it are built over that: rows are counted
    afterwards. DbtError where dbt could not start.
    """
    from tidemark import dbt

    try:
        dbt.run(settings, ["run", "--select", *_selected(topics), dbt.PLATFORM])
    except DbtError as error:
        if not error.failed:
            raise
        unbuilt = _build_skipped(settings, error)
        return Built({topic: unbuilt for topic in topics if _holding(topic) & unbuilt.failed}, unbuilt)
    return Built({})


def _selected(topics: list[str]) -> list[str]:
    return sorted(f"@{mart}" for mart in set().union(*(_counted(topic) for topic in topics)))


def _counted(topic: str) -> set[str]:
    """The marts that every row of the topic is in one of."""
    holding = holdings()[topic]
    return {holding.mart, REJECTED} if holding.rejects else {holding.mart}


def _holding(topic: str) -> set[str]:
    return _counted(topic) | ALSO_HOLDING.get(topic, set())


def _build_skipped(settings: Settings, error: DbtError) -> DbtError:
    """Build what was skipped for the sake of what failed; the error that names all that could not be built."""
    from tidemark import dbt

    if error.skipped:
        try:
            dbt.run(settings, ["run", "--select", *sorted(error.skipped)])
        except DbtError as second:
            left = second.failed | second.skipped if second.failed else error.skipped
            return DbtError(f"{error}; {second}", error.failed | left)
    return error


def test(settings: Settings, topics: list[str]) -> None:
    """dbt tests what was built. What a row says holds no day: it is counted wherever it is, and the flow run fails."""
    from tidemark import dbt

    dbt.run(settings, ["test", "--exclude-resource-type", "unit_test", "--select", *_selected(topics)])


def settle(settings: Settings, promotion: Promotion) -> int:
    """Count in the mart, note the promotion as verified, let the partition go; the rows in the mart."""
    counted = sum(_count_in_mart(settings, promotion, piece) for piece in promotion.slices)
    ledger.verify(settings, promotion)
    trim(settings, promotion.topic, promotion.day, promotion.promotion_id, promotion.slices)
    return counted


_OF_TOPIC = sql.SQL("topic = %(topic)s")
_IN_SLICE = sql.SQL(
    "log_epoch = %(epoch)s and kafka_partition = %(partition)s and kafka_offset between %(first)s and %(last)s "
    "and received_at >= %(day)s and received_at < %(after)s"
)


def _count_in_mart(settings: Settings, promotion: Promotion, piece: Slice) -> int:
    """The slice's rows; Disagreement unless the mart has as many as the ingestion table, with those that were rejected.

    An earlier promotion of the day may have rows between them too: they count on both sides. Only the day's files are
    counted, which the ledger knows, and which the ingestion table is indexed by.
    """
    holding = holdings()[promotion.topic]
    first, after = promotion.day, promotion.day + timedelta(days=1)
    offsets = (piece.log_epoch, piece.kafka_partition, piece.first_offset, piece.last_offset)
    with connect(settings, "warehouse", "promoter") as connection:
        expected = connection.execute(
            sql.SQL(
                "select count(*) from {} "
                "where file_name = any(array(select lake_path from ops.promotion where topic = %s and day = %s)) "
                "and log_epoch = %s::text and kafka_partition = %s::text "
                "and kafka_offset::bigint between %s and %s and received_at >= %s and received_at < %s"
            ).format(tables.qualified(tables.table_name(realtime.SOURCE, promotion.topic))),
            (promotion.topic, promotion.day, *offsets, f"{first}T00:00:00.000000Z", f"{after}T00:00:00.000000Z"),
        ).fetchall()
        places = dict(zip(("epoch", "partition", "first", "last"), offsets, strict=True))
        values = {**places, "topic": promotion.topic, "day": f"{first}T00:00:00Z", "after": f"{after}T00:00:00Z"}
        received = {
            mart: connection.execute(
                sql.SQL("select count(*) from {} where {} and {}").format(
                    sql.Identifier("marts", mart), _OF_TOPIC if holding.rejects else sql.SQL("true"), _IN_SLICE
                ),
                values,
            ).fetchall()[0][0]
            for mart in sorted(_counted(promotion.topic))
        }
        deleted = _deleted(connection, promotion)
    there = sum(received.values())
    if not expected[0][0] - deleted <= there <= expected[0][0] or min(there, expected[0][0]) < piece.row_count:
        marts, counts = " and ".join(f"marts.{mart}" for mart in received), " and ".join(map(str, received.values()))
        raise Disagreement(
            f"{promotion.topic} {promotion.day}: expected {expected[0][0]} rows in {marts} "
            f"(epoch {piece.log_epoch}, partition {piece.kafka_partition}), received {counts}; "
            "the day stays in `realtime`"
        )
    return piece.row_count


def _deleted(connection: psycopg.Connection[Any], promotion: Promotion) -> int:
    """How many ticks of an earlier promotion of the day may have left the mart since (`warehouse_tick_days`)."""
    if promotion.topic != "market_tick":
        return 0
    days = (promotion.day - timedelta(days=1), promotion.day + timedelta(days=1))  # by the venue's clock
    query = "select coalesce(sum(row_count), 0)::bigint from ops.deleted_tick_day where traded_date between %s and %s"
    return int(connection.execute(query, days).fetchall()[0][0])
