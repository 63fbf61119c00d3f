"""How new what people read is: each feed's newest row, each source against its promise, each mart's last run."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.sql import SQL

from flows.running import FLOWS
from tidemark.home_kind import home_kind
from tidemark.output import utc
from tidemark.settings import Settings
from watch.databases import enter
from watch.observation import Observation

FEED, MART, SOURCE = "newest row", "mart is late", "source is late"
PROMISED = timedelta(hours=26)  # of a mart: a day, and what its daily run may take

_FEEDS = SQL(
    "select topic, source_system, count(*), max(last_received_at), "
    "sum(rows_per_minute) filter (where silent_for < interval '2 minutes') "
    "from live.feed_health group by topic, source_system order by topic, source_system"
)
_SOURCES = SQL(
    "select source_system, source_table, is_late, last_new_at, extract(epoch from promised_age)::double precision "
    "from marts.rpt_source_health order by source_system, source_table"
)
_MARTS = SQL("select mart, invocation_id, published_at, failed_nodes, is_under_way from ops.publication order by mart")


def _rows(settings: Settings, database: Any, query: SQL) -> list[tuple[Any, ...]] | None:
    """What a view says; None where dbt has not made it yet."""
    with enter(settings, database) as connection:
        try:
            return connection.execute(query).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return None


def feeds(settings: Settings) -> Iterator[Observation]:
    """The newest row of each topic and source of `realtime`, and how many come; too old is said of its source."""
    for topic, source, count, newest, rate in _rows(settings, "realtime", _FEEDS) or []:
        said = f"the newest row of its {count} feeds came at {utc(newest)}" if newest else "it has no row any more"
        numbers = {"rows_per_minute": float(rate or 0.0), "feeds": count, "newest_at": newest and newest.isoformat()}
        yield Observation(FEED, "feed", f"{source} {topic}", "ok", said, newest, numbers=numbers)


def sources(settings: Settings) -> Iterator[Observation]:
    """Each source's newest row in the warehouse against the promise of its file in staging."""
    is_live = home_kind(settings) == "live"
    for source, table, is_late, newest, promised in _rows(settings, "warehouse", _SOURCES) or []:
        late = is_live and is_late and newest is not None
        said = f"its newest row came at {utc(newest)}" if newest else "it was never loaded"
        wanted = f"expected a new row every {timedelta(seconds=promised)}, " if late else ""
        yield Observation(
            SOURCE, "source table", f"{source} {table}", "failing" if late else "ok", wanted + said,
            newest, "tidemark flow run" if late else "",
            {"promised_seconds": promised, "newest_at": newest and newest.isoformat()},
        )  # fmt: skip


def marts(settings: Settings) -> Iterator[Observation]:
    """Each mart: when it was built last, by which run of dbt, and whether that is as new as is promised."""
    is_live = home_kind(settings) == "live"
    for mart, run, published_at, failed, under_way in _rows(settings, "warehouse", _MARTS) or []:
        age = datetime.now(published_at.tzinfo) - published_at
        late = is_live and age > PROMISED
        said = f"it was built at {utc(published_at)}"
        wanted = f"expected it to be built within {PROMISED}, " if late else ""
        yield Observation(
            MART, "mart", mart, "failing" if late else "ok", wanted + said, published_at,
            f"tidemark flow run {FLOWS[1]}" if late else "",
            {"published_at": published_at.isoformat(), "run": run, "failed_nodes": failed,
             "is_under_way": int(under_way), "promised_seconds": PROMISED.total_seconds(),
             "age_seconds": age.total_seconds()},
        )  # fmt: skip


def rows_of_marts(observations: Sequence[Observation]) -> list[dict[str, Any]]:
    """The marts as status.json has them, of what was seen."""
    return [
        {"mart": one.identity, "state": one.state, "sentence": one.sentence, **one.numbers}
        for one in observations
        if one.kind == "mart" and one.name == MART
    ]
