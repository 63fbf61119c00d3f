"""Promote and trim on the real stack: nothing lost, nothing doubled, no hole, whatever happens meanwhile."""

import json
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import psycopg
import pytest

from flows.account import Balance, account
from flows.errors import AlreadyRunning, NotClosed, NotPromoted
from flows.promote import build, only_one, stage
from flows.running import run_flow
from realtime.trim import trim
from tests.dbt_project.conftest import Databases, level
from tests.flows.conftest import AS_OF, DAY, TOPIC, Feed
from tests.stream_shim.conftest import until
from tidemark.dbt import DbtError


def promote(feed: Feed) -> list[dict[str, Any]]:
    return [row for row in run_flow(feed.stack.settings, "promote", as_of=AS_OF) if row["topic"] == "market_tick"]


def the_balance(feed: Feed) -> Balance:
    [found] = [balance for balance in account(feed.stack.settings) if balance.partition == 0]
    return found


class Watcher(threading.Thread):
    """Counts `realtime`, then the mart, again and again, from before the block begins: the least sum ever seen."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self.feed, self.done, self.least, self.looks = feed, threading.Event(), 10**9, 0

    def run(self) -> None:
        while not self.done.is_set():
            self.least = min(self.least, sum(self.feed.counts()))
            self.looks += 1

    def __enter__(self) -> "Watcher":
        self.start()
        self.look()
        return self

    def look(self) -> None:
        """Return when it has looked once more, from the first count to the last."""
        seen = self.looks
        until(lambda: self.looks > seen + 1 or not self.is_alive(), "another look")

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.join()


@pytest.mark.timeout(600)  # on a machine that is busy dbt builds for minutes
def test_a_closed_day_moves_without_a_hole_and_a_late_row_opens_it_again(feed: Feed) -> None:
    feed.add(300)
    feed.add(7, day=AS_OF.date())
    with Watcher(feed) as watcher, ThreadPoolExecutor() as aside:
        with psycopg.connect(feed.stack.dsn("realtime")) as reader:  # it keeps the day from leaving
            reader.execute("lock table only realtime.market_tick in access share mode")
            promotion = aside.submit(promote, feed)
            blocked(feed, "realtime", "realtime.market_tick")
            assert feed.counts() == (307, 300)  # in the mart before it leaves
            watcher.look()
        [moved] = promotion.result()
        watcher.look()
    assert (moved["outcome"], moved["rows_in"], moved["rows_out"]) == ("promoted", 300, 300)
    assert feed.counts() == (7, 300)
    assert watcher.least == 307
    assert the_balance(feed) == Balance("market_tick", 1, 0, consumed=307, realtime=7, promoted=300)

    feed.add(2)
    [late] = promote(feed)
    assert (late["rows_in"], late["rows_out"]) == (2, 2)
    assert feed.counts() == (7, 302)
    assert feed.count("warehouse", "ingestion.realtime__market_tick") == 302
    assert the_balance(feed) == Balance("market_tick", 1, 0, consumed=309, realtime=7, promoted=302)
    assert promote(feed) == []

    shown = feed.stack.run("account").stdout
    [first, second] = [line.split() for line in shown.splitlines() if str(DAY) in line]
    assert [first[5], second[5]] == ["300", "2"]
    assert "not yet" not in shown

    files = sorted((feed.stack.settings.home / "lake" / "ops" / "promotion").glob("*.json"))
    in_lake = [row for file in files for row in json.loads(file.read_text())]
    with psycopg.connect(feed.stack.dsn("warehouse")) as connection:
        ledger = connection.execute(
            "select promotion_id::text, row_count from ops.promotion where verified_at is not null"
        )
        assert {(r["promotion_id"], r["row_count"]) for r in in_lake} >= set(ledger.fetchall())


def test_a_row_missing_from_its_table_holds_the_topics_days_and_is_named(feed: Feed) -> None:
    feed.add(10)
    with psycopg.connect(feed.stack.dsn("realtime")) as connection:
        connection.execute("delete from realtime.market_tick where kafka_offset = %s", (feed.first + 3,))
    with pytest.raises(NotPromoted, match=r"market_tick epoch 1 partition 0: balance \+1"):
        promote(feed)
    assert feed.counts() == (9, 0)
    shown = feed.stack.run("account", "--json")
    assert shown.returncode == 1
    [row] = [row for row in json.loads(shown.stdout) if row["partition"] == 0]
    assert (row["consumed"], row["realtime"], row["balance"]) == (10, 9, 1)


@pytest.mark.faults
def test_a_bad_cast_of_another_source_holds_no_day(feed: Feed) -> None:
    feed.add(3)
    Databases(feed.stack).ingest("ecb__reference_rates", [{"Date": "no date", "USD": "1.1"}], "bad")
    try:
        [moved] = promote(feed)
    finally:
        with psycopg.connect(feed.stack.dsn("warehouse")) as connection:
            connection.execute("delete from ingestion.ecb__reference_rates where load_id = 'bad'")
    assert (moved["outcome"], moved["rows_out"]) == ("promoted", 3)


def test_a_trim_whose_commit_was_not_answered_is_done(feed: Feed) -> None:
    feed.add(3)
    settings, long_ago = feed.stack.settings, datetime(2024, 8, 8, 12, tzinfo=UTC)
    promotion = stage(settings, TOPIC, DAY, datetime.now(UTC))
    assert promotion is not None
    for _ in range(2):
        trim(settings, TOPIC, DAY, promotion.promotion_id, promotion.slices)
        trim(settings, TOPIC, DAY, None, ())  # a day without rows, which has no partition any more
    assert feed.count("realtime", "realtime.market_tick") == 0
    with pytest.raises(NotClosed, match="is not over"):
        stage(settings, TOPIC, DAY, long_ago)


def test_a_consumer_that_lags_holds_the_day(feed: Feed) -> None:
    feed.add(5)
    feed.produce(1)
    with pytest.raises(NotPromoted, match=f"expected a consumer past offset {feed.next + 1}, it is at {feed.next}"):
        promote(feed)
    assert feed.counts() == (5, 0)


def test_of_two_promotions_at_once_the_second_says_so(feed: Feed) -> None:
    feed.add(5)
    with only_one(feed.stack.settings), pytest.raises(AlreadyRunning, match="another promotion is running"):
        promote(feed)
    assert feed.counts() == (5, 0)


@pytest.mark.faults
def test_a_row_that_arrives_after_the_copy_is_promoted_with_its_day(feed: Feed) -> None:
    ensure_tables(feed)
    feed.add(40)

    def add_late() -> None:
        blocked(feed, "warehouse", "marts.fct_market_ticks")
        feed.add(1)

    late = threading.Thread(target=add_late)
    with psycopg.connect(feed.stack.dsn("warehouse")) as connection:
        connection.execute("lock table marts.fct_market_ticks in exclusive mode")
        late.start()
        mover = threading.Thread(target=promote, args=(feed,))
        mover.start()
        late.join()
    mover.join()
    assert feed.counts() == (0, feed.next - feed.first)
    assert the_balance(feed).balance == 0


def ensure_tables(feed: Feed) -> None:
    """The ingestion table and the mart are there to be locked; where no test made them, one row's promotion does."""
    with psycopg.connect(feed.stack.dsn("warehouse")) as connection:
        made = "select from pg_tables where tablename = 'fct_market_ticks' or tablename = 'realtime__market_tick'"
        there = connection.execute(made).rowcount == 2
    if not there:
        feed.add(1)
        promote(feed)


def blocked(feed: Feed, database: str, table: str) -> None:
    """Return when somebody waits for a lock on the table; an assertion where nobody ever does."""
    deadline = monotonic() + 240
    with psycopg.connect(feed.stack.dsn(database), autocommit=True) as connection:
        waiting = "select from pg_locks where relation = to_regclass(%s) and not granted"
        while not connection.execute(waiting, (table,)).fetchall():
            assert monotonic() < deadline, f"nobody came to wait for {table}"
            threading.Event().wait(0.02)


@pytest.mark.faults
@pytest.mark.timeout(600)  # three processes are started and killed
def test_a_promotion_killed_at_any_step_is_taken_up_by_the_next(feed: Feed) -> None:
    ensure_tables(feed)
    feed.add(500)
    command = [sys.executable, "-m", "tidemark.cli", "promote", "--as-of", AS_OF.isoformat()[:10]]
    for database, table, mode in (
        ("warehouse", "ops.promotion", "exclusive"),  # copied, not yet in the ledger
        ("warehouse", "marts.fct_market_ticks", "exclusive"),  # loaded, not yet in the mart
        ("realtime", "realtime.market_tick", "access share"),  # verified, not yet trimmed
    ):
        with psycopg.connect(feed.stack.dsn(database)) as connection:
            connection.execute(f"lock table only {table} in {mode} mode")
            process = subprocess.Popen(
                command, env=feed.stack.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            blocked(feed, database, table)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert feed.count("realtime", "realtime.market_tick") == 500
        assert the_balance(feed).balance == 0
    finished = feed.stack.run("promote", "--as-of", "2024-08-12", "--json")
    assert finished.returncode == 0, finished.stderr
    assert feed.counts() == (0, feed.next - feed.first)
    assert feed.count("warehouse", "ingestion.realtime__market_tick") == feed.next - feed.first
    assert the_balance(feed) == Balance(
        "market_tick", 1, 0, consumed=feed.next - feed.first, promoted=feed.next - feed.first
    )
    assert str(DAY) in finished.stdout


@pytest.mark.faults
def test_in_a_replay_days_leave_only_as_of_a_time_that_is_said(feed: Feed) -> None:
    """As of now every day of a replay is due; who follows the refusal's words leaves each topic its newest."""
    for day in (-1, 0, 1):
        feed.add(3, DAY + timedelta(days=day))
    databases = Databases(feed.stack)
    databases.stream("order_book_l2", [level(0, "s", ("bid", 1), 99, "08 10:00:00", of=1)])
    with psycopg.connect(feed.stack.dsn("realtime", "stream_writer")) as connection:
        connection.execute("insert into realtime.feed values ('market_tick', 'binance', 'BTC/USDT')")
    mark = feed.stack.settings.home / "mark"
    mark.write_text("replay\n")
    try:
        refused = feed.stack.run("promote")
        assert refused.returncode == 2, refused.stderr
        (words,) = set(re.findall(r"`(--as-of \S+)`", refused.stderr))
        newest = f"{DAY + timedelta(days=1)} of market_tick, {DAY} of order_book_l2"
        assert f"keeps the newest day of each topic: {newest}" in refused.stderr
        assert feed.counts()[0] == 9
        assert feed.stack.run("promote", *words.split()).returncode == 0
        assert feed.counts() == (6, 3)
        for view in ("last_price", "top_of_book"):
            assert len(databases.query("realtime", f"select * from live.{view}")) == 1, view
    finally:
        mark.unlink()


@pytest.mark.faults
def test_a_topic_that_cannot_be_built_stops_no_other(feed: Feed) -> None:
    """Nor does a model that only reads what was built hold a day: its failure is said when the day has left."""
    feed.add(3)
    promote(feed)
    settings, broken = feed.stack.settings, "alter table marts.{} add column other int"
    mended = broken.replace("add column other int", "drop column if exists other")
    with psycopg.connect(feed.stack.dsn("warehouse"), autocommit=True) as connection:
        try:
            connection.execute(broken.format("fct_order_book_levels"))
            built = build(settings, [TOPIC, "order_book_l2"])
            assert set(built.held) == {"order_book_l2"}
            connection.execute(broken.format("dim_instruments"))
            feed.add(2)
            with pytest.raises(DbtError, match=r"dim_instruments \(error"):
                promote(feed)
        finally:
            for table in ("fct_order_book_levels", "dim_instruments"):
                connection.execute(mended.format(table))
    assert feed.counts() == (0, 5)
    promote(feed)
