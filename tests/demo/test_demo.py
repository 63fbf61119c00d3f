"""The whole demo, on recordings and without: what the databases hold is what was counted from the raw files."""

import json
import re
import subprocess
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loopback.session import Level, Session
from tidemark.connections import dsn
from tidemark.home_kind import home_kind
from tidemark.settings import PROJECT, Settings

PROMOTED, KEPT = date(2024, 8, 8), date(2024, 8, 9)
TOPICS = ("market_tick", "order_book_l2", "economic_event_numeric", "economic_event_text")


class Databases:
    """Rows of both databases, as their owner."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, database: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(dsn(self.settings, database)) as connection:
            connection.execute("set timezone = 'UTC'")
            return connection.execute(query, parameters or None).fetchall()


def check_trades(rows: Databases, session: Session) -> None:
    """By the trade's own day: one day in the marts, the other in `realtime`, none in both or in neither."""
    found: dict[str, Counter[date]] = {market: Counter() for market in session.trades}
    days = "select symbol, timestamp::date, count(distinct attributes ->> 'id') from realtime.market_tick group by 1, 2"
    for symbol, day, count in rows("realtime", days):
        assert day == KEPT
        found[symbol][day] += count
    days = "select symbol, traded_at::date, count(distinct trade_id) from marts.fct_market_ticks group by 1, 2"
    for symbol, day, count in rows("warehouse", days):
        assert day == PROMOTED
        found[symbol][day] += count
    assert found == session.trades


def check_book(rows: Databases, session: Session) -> None:
    """Whole snapshots only, and the last one is the book as it was then."""
    for database, table, snapshot, size in (
        ("realtime", "realtime.order_book_l2", "attributes ->> 'snapshot_id'", "(attributes ->> 'snapshot_size')::int"),
        ("warehouse", "marts.fct_order_book_levels", "snapshot_id", "snapshot_size"),
    ):
        snapshots = rows(database, f"select {snapshot}, count(*), max({size}) from {table} group by 1")
        assert snapshots
        assert [found for found in snapshots if found[1] != found[2]] == []
    levels = rows(
        "realtime",
        "select side, price, size, (attributes ->> 'timestamp')::timestamptz from realtime.order_book_l2 "
        "where attributes ->> 'snapshot_id' = (select attributes ->> 'snapshot_id' from realtime.order_book_l2 "
        "order by log_epoch desc, kafka_offset desc limit 1) order by side, level",
    )
    last: dict[str, list[Level]] = {"bid": [], "ask": []}
    for side, price, size, _ in levels:
        last[side].append((Decimal(str(price)), Decimal(str(size))))
    assert (last["bid"], last["ask"]) == session.book_at("BTC/USDT")


def check_events(rows: Databases, session: Session) -> None:
    numeric, text = session.fred_sent(2)
    assert rows("realtime", "select count(*) from realtime.economic_event_numeric") == [(numeric,)]
    texts = "select attributes ->> 'id', value from realtime.economic_event_text where attributes ? 'id'"
    assert set(rows("realtime", texts)) == session.edgar_entries
    assert rows("realtime", "select count(*) from realtime.economic_event_text where value = '.'") == [(text,)]


def check_batch(rows: Databases, session: Session) -> None:
    assert rows("warehouse", "select count(*) from ingestion.ecb__reference_rates") == [(len(session.ecb_rows) - 1,)]
    rates = "select count(value) from marts.fct_numeric_events where source_table like '%ecb__reference_rates'"
    assert rows("warehouse", rates) == [(session.ecb_rates,)]
    for (series, on), value in list(session.fred_observations[1].items())[-3:]:
        latest = "select value from ingestion.fred__observations where series_id = %s and date = %s order by loaded_at"
        assert rows("warehouse", latest, series, on)[-1] == (value,)


def source_systems(rows: Databases) -> set[str]:
    tables = [("realtime", f"realtime.{topic}") for topic in TOPICS]
    facts = ("market_ticks", "order_book_levels", "numeric_events", "text_events")
    tables += [("warehouse", f"marts.fct_{name}") for name in facts]
    return {name for database, table in tables for (name,) in rows(database, f"select source_system from {table}")}


def check_report(report: dict[str, Any], settings: Settings) -> None:
    assert (report["problems"], report["balance"]) == ([], 0)
    assert {stage["stage"] for stage in report["stages"]} >= {
        "stack", "connector", "buffer", "processor", "ingest", "live", "promote", "quality", "catalog",
    }  # fmt: skip
    promoted = {line["topic"]: line["promoted"] for line in report["account"]}
    assert promoted["market_tick"] > 0
    assert promoted["order_book_l2"] > 0
    assert home_kind(settings) == "replay"
    assert (settings.home / "docs" / "dbt.html").stat().st_size > 1_000_000


def check_memory(new_stack: Any) -> None:
    """The stack's own servers, once the demo's processes are gone."""
    servers = json.loads(new_stack.run("status", "--json").stdout)
    assert sum(server["resident_bytes"] for server in servers) < 1.2e9


def check_pasted_lines(report: dict[str, Any], environ: dict[str, str]) -> None:
    """What the demo says to look at can be pasted into a shell, one line after the other."""
    lines = [one["line"] for one in report["look"] if one["line"].startswith(("eval", "psql"))]
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)], env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "BTC/USDT" in done.stdout


def table_of_the_readme() -> list[tuple[str, str, list[int]]]:
    """(stage, source, the numbers of rows) of each line of the README's table but the sum."""
    found, stage = [], ""
    table = (PROJECT / "README.md").read_text().partition("```text\n")[2].partition("```")[0]
    for line in table.splitlines()[2:-1]:
        stage = line[:11].strip() or stage
        source, numbers = re.fullmatch(r"(.*?)((?: +[\d,]+)*)", line[11:]).groups()  # type: ignore[union-attr]
        found.append((stage, source, [int(number.replace(",", "")) for number in numbers.split()]))
    return found


def check_demo(new_stack: Any, session: Session, **environ: str) -> tuple[set[str], list[dict[str, Any]]]:
    """Run it, compare everything; the source systems that its rows name, and the report's stages."""
    done = new_stack.run("demo", "--json", **environ)
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    rows = Databases(new_stack.settings)
    check_report(report, new_stack.settings)
    check_trades(rows, session)
    check_book(rows, session)
    check_events(rows, session)
    check_batch(rows, session)
    check_pasted_lines(report, new_stack.environ)
    check_memory(new_stack)
    return source_systems(rows), report["stages"]


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_the_demo_without_recordings_is_all_simulated_and_every_record_is_accounted_for(
    new_stack: Any, generated: Session
) -> None:
    assert check_demo(new_stack, generated)[0] == {"simulated"}


@pytest.mark.recordings
@pytest.mark.timeout(600)
def test_the_demo_replays_the_recordings_and_every_record_is_accounted_for(
    new_stack: Any, recorded: Session, recordings: Path
) -> None:
    assert recorded.trades["BTC/USDT"] == {PROMOTED: 9_738, KEPT: 10_166}
    found, stages = check_demo(new_stack, recorded, TIDEMARK_RECORDINGS=str(recordings))
    assert found == {"binance", "sec_edgar", "fred", "ecb"}
    numbers = ("rows_in", "rows_out", "quarantined")
    assert table_of_the_readme() == [
        (stage["stage"], stage["source"], [stage[name] for name in numbers if stage[name] is not None])
        for stage in stages
    ]
