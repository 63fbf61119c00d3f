"""A symbol on both sides of the tidemark: a day that has left `realtime`, and what came since."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from flows import ledger, promote
from ingest.sources import realtime as source
from realtime import copy_out
from realtime.trim import trim
from tests.conftest import Stack, empty_realtime, empty_warehouse
from tests.dbt_project.conftest import QUIET, Databases, level, tick
from tidemark import dbt

TOPIC = "market_tick"
EVIL = "<script>alert(1)</script>/USD"
LONG = "LONG/B"  # a minute each of eight hours of the day that left, and one of today
MODELS = (
    "+fct_bars_1m", "+fct_promotions", "+dim_instruments", "+dim_venues", "+rpt_coverage", "+fct_economic_observations",
    "+fct_dbt_runs",
)  # fmt: skip


class Market:
    """Writes ticks as the processor does: rows and position in one transaction."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.databases, self.offset = stack, Databases(stack), 0
        self.today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    def rows(self, count: int, at: datetime, price: float = 100, symbol: str = "A/B") -> list[dict[str, Any]]:
        """So many ticks of a second each."""
        found = []
        for number in range(count):
            traded_at = at + timedelta(seconds=number)
            row = tick(self.offset, "08 00:00:00", price + number, symbol=symbol, attributes={"id": f"t{self.offset}"})
            found.append(row | {"timestamp": traded_at, "received_at": traded_at})
            self.offset += 1
        return found

    def commit(self, rows: list[dict[str, Any]], topic: str = TOPIC, next_offset: int | None = None) -> datetime:
        """Rows, and the position behind them; when it was committed, by this clock."""
        end = self.offset if next_offset is None else next_offset
        columns = ", ".join(rows[0]) if rows else ""
        marks = ", ".join(["%s"] * len(rows[0])) if rows else ""
        with psycopg.connect(self.stack.dsn("realtime", "stream_writer")) as connection:
            for day in {row["received_at"].date() for row in rows}:
                connection.execute("select realtime.ensure_partition(%s, %s)", (topic, day))
            connection.commit()
            connection.execute(
                "insert into realtime.log_epoch values (%s, 1, 'x') on conflict do nothing",
                (topic,),
            )
            connection.execute(
                "insert into realtime.consumer_offset (topic, log_epoch, kafka_partition, first_offset, next_offset) "
                "values (%s, 1, 0, 0, 0) on conflict do nothing", (topic,)
            )  # fmt: skip
            for row in rows:
                values = [
                    psycopg.types.json.Jsonb(value) if isinstance(value, dict) else value for value in row.values()
                ]
                connection.execute(f"insert into realtime.{topic} ({columns}) values ({marks})", values)
                name = row.get("symbol", row.get("event_publisher"))
                connection.execute(
                    "insert into realtime.feed values (%s, %s, %s) on conflict do nothing",
                    (topic, row["source_system"], name),
                )
            connection.execute(
                "update realtime.consumer_offset set next_offset = %s, updated_at = now() where topic = %s",
                (end, topic),
            )
        return datetime.now(UTC)

    def fill(self) -> None:
        """A day of ticks that leaves, and some of today and of a symbol that is markup."""
        empty_realtime(self.stack)
        empty_warehouse(self.stack)
        dbt.run(self.stack.settings, [*QUIET, "run"], "realtime")
        day = self.today - timedelta(days=1)
        old = [row for n in range(20) for row in self.rows(3, day + timedelta(hours=23, minutes=40 + n), 90 + n)]
        long = [self.rows(1, day + timedelta(hours=12, minutes=n), n, LONG)[0] for n in range(480)]
        self.commit([*old, *long, *self.rows(3, day + timedelta(hours=23, minutes=50), 5, EVIL)])
        self._promote(day)
        fresh = [row for n in range(10) for row in self.rows(3, self.today + timedelta(minutes=n), 110 + n)]
        fresh += self.rows(1, self.today + timedelta(minutes=9), 480, LONG)
        self.commit([*fresh, *self.rows(3, self.today + timedelta(minutes=1), 7, EVIL)])

    def _promote(self, day: datetime) -> None:
        settings, date = self.stack.settings, day.date()
        promotion = promote._copy(settings, TOPIC, date, copy_out.day_slices(settings, TOPIC, date))
        source.load_day(settings, TOPIC, promotion.lake_path)
        dbt.run(settings, [*QUIET, "run", "--select", *MODELS])
        ledger.verify(settings, promotion)
        trim(settings, TOPIC, date, promotion.promotion_id, promotion.slices)

    def book(self) -> list[Any]:
        """A whole snapshot of three levels a side."""
        rows = []
        for number, (side, price) in enumerate([("bid", 99), ("bid", 98), ("ask", 101), ("ask", 102)]):
            place = (side, number % 2 + 1)
            row = dict(level(number, "s1", place, price, "08 00:00:00", of=4))
            rows.append(row | {"received_at": self.today + timedelta(minutes=5)})
        return rows
