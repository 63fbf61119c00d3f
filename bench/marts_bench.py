"""The market marts: what new ticks cost, onto none, onto many and onto few, and a bare insert of the same rows.

Ticks are loaded as text into `ingestion.realtime__market_tick`, as a promotion does; then dbt builds
`fct_market_ticks`, `fct_bars_1m` and `dim_instruments`. Of those onto many, one in a hundred is late: its trade lies on
a day that is there, and one in a thousand is sent again. The limit is one `insert .. select` of the same text, cast,
into the same mart, taken back: no trade is looked up, no bar computed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, LiteralString

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from bench.report import Measure
from bench.stack import NOWHERE, cpu_seconds, new_home
from ingest import tables
from ingest.sources.realtime import SOURCE
from tidemark import dbt
from tidemark.categories import table_columns
from tidemark.connections import dsn
from tidemark.settings import Settings
from tidemark.stack import local, process
from tidemark.stack.ports import free_ports

TOPIC = "market_tick"
TABLE = tables.table_name(SOURCE, TOPIC)
MODELS = ("fct_market_ticks", "fct_bars_1m", "dim_instruments")
SYMBOLS = 50
SPREAD = 159 * SYMBOLS + 1  # so that a late tick keeps its symbol
RATIO, SECONDS = 2.0, 120.0  # goals

# Tick number n: one every 86 ms, symbol after symbol. A late one lies anywhere among those that are held.
_TRADED = SQL("timestamptz '2024-01-01 00:00Z' + ({}) * interval '86400 microseconds'")
_MADE = SQL("""
    select
        'venue' as source_system, 'S' || n % {symbols} || '/USDT' as symbol,
        case when n % 100 = 7 then n * {spread} % {late} else n end as traded,
        case when n % 1000 = 7 then n * {spread} % {late} else n end as trade,
        100 + n % 977 / 100.0 as price, 0.001 * (1 + n % 89) as size, n
    from generate_series({first}::bigint, {last}::bigint) as n
""")
_ATTRIBUTES = """'{"id": "' || trade || '", "buyer_is_maker": false, "order": "' || trade * 7 || '"}'"""


@dataclass(frozen=True)
class Warehouse:
    """The warehouse of the benchmark's own Postgres."""

    settings: Settings

    def run(self, statement: Composed | str, role: str = "owner") -> None:
        """One statement, committed."""
        with psycopg.connect(dsn(self.settings, "warehouse", role), autocommit=True) as connection:
            connection.execute("set maintenance_work_mem = '512MB'")  # for indexes
            connection.execute(statement.encode() if isinstance(statement, str) else statement)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """The answer to one question."""
        with psycopg.connect(dsn(self.settings, "warehouse", "owner")) as connection:
            return connection.execute(statement.encode()).fetchall()

    def cpu_seconds(self) -> float:
        """What Postgres has used up to now, with all its backends."""
        return cpu_seconds(process.find(self.settings.home, "postgres"))

    def build(self, *more: str) -> dict[str, float]:
        """Seconds of each model, as dbt gives them."""
        results = dbt.run(self.settings, ["run", "--select", *MODELS, *more])
        return {result.node.name: result.execution_time for result in results}


@contextmanager
def own_warehouse() -> Iterator[Warehouse]:
    """A new Postgres with an empty ingestion table and empty marts; nothing of it is left afterwards."""
    with new_home() as home:
        settings = Settings(
            home=home, prefect_url=NOWHERE, kafka_bootstrap="127.0.0.1:9", postgres_port=free_ports(1)[0]
        )  # fmt: skip
        try:
            local.up(settings)
            with tables.only_run(settings, TABLE) as writer:
                tables.ensure_table(writer, TABLE, list(table_columns(TOPIC)))
            warehouse = Warehouse(settings)
            dbt.run(settings, ["run", "--select", f"@{MODELS[0]}"])
            yield warehouse
        finally:
            local.down(settings)


def measure(held: int, fresh: int, few: int, many: int, plans: Path | None) -> list[Measure]:
    """`fresh` ticks onto none and onto `held`, `many` onto `few`; `plans`: a file for Postgres's plans, in order."""
    with own_warehouse() as warehouse:
        if plans:
            _explain(warehouse)
        nothing = _onto(warehouse, 0, fresh)
        small = _onto(warehouse, few, many)
        large = _onto(warehouse, held, fresh)
        if plans:
            log = (warehouse.settings.home / "logs" / "postgres.log").read_text()
            plans.write_text("\n".join(re.findall(r"(?m)^.*duration: .*plan:\n(?:\t.*\n)+", log)))
    runs = {"none": nothing, "held": large, "few": small}
    return [
        Measure("marts_held_to_none_ratio", [large.seconds / nothing.seconds], goal=RATIO, lower_is_better=True),
        Measure("marts_held_to_none_cpu_ratio", [large.cpu / nothing.cpu]),
        Measure("marts_seconds_onto_few", [small.seconds], limit=[small.limit], goal=SECONDS, lower_is_better=True),
        Measure("marts_seconds_onto_none", [nothing.seconds], limit=[nothing.limit]),
        Measure("marts_seconds_onto_held", [large.seconds], limit=[large.limit]),
        *(Measure(f"marts_cpu_seconds_onto_{to}", [run.cpu], limit=[run.limit_cpu]) for to, run in runs.items()),
        *(Measure(f"marts_{name}_seconds_onto_{to}", [run.models[name]], limit=[run.limit] if name == MODELS[0] else [])
          for to, run in runs.items() for name in MODELS),
        *(Measure(f"marts_ticks_to_insert_ratio_onto_{to}", [run.models[MODELS[0]] / run.limit])
          for to, run in runs.items()),
    ]  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Seconds of each model, and of the bare insert; CPU-seconds of Postgres for the one and the other."""

    models: dict[str, float]
    limit: float
    cpu: float
    limit_cpu: float

    @property
    def seconds(self) -> float:
        """Of all models."""
        return sum(self.models.values())


def _onto(warehouse: Warehouse, held: int, fresh: int) -> Run:
    """Marts that hold so many ticks, made anew; then so many more, by the bare insert and by dbt."""
    fill(warehouse, held)
    load(warehouse, held, fresh)
    warehouse.run("checkpoint")
    before = warehouse.cpu_seconds()
    limit = _bare_insert(warehouse)
    limit_cpu = warehouse.cpu_seconds() - before
    warehouse.run("vacuum marts.fct_market_ticks")  # of the rows that were taken back
    warehouse.run("checkpoint")
    before = warehouse.cpu_seconds()
    found = Run(warehouse.build(), limit, warehouse.cpu_seconds() - before, limit_cpu)
    counted = warehouse.rows("select count(*), count(*) filter (where is_resent) from marts.fct_market_ticks")
    print(f"{fresh} onto {held}: {found}, rows and re-sent ones {counted}", flush=True)
    return found


def fill(warehouse: Warehouse, held: int) -> None:
    """The marts with so many ticks that were loaded an hour ago: indexes are made when the rows are there."""
    warehouse.run("truncate marts.fct_market_ticks, marts.fct_bars_1m, marts.dim_instruments, ingestion." + TABLE)
    indexes = warehouse.rows(
        "select indexname, indexdef from pg_indexes where schemaname = 'marts' and tablename = 'fct_market_ticks' "
        "and indexdef not like '%UNIQUE%'"
    )
    ((key,),) = warehouse.rows(
        "select conname from pg_constraint where conrelid = 'marts.fct_market_ticks'::regclass and contype = 'p'"
    )
    warehouse.run(SQL("alter table marts.fct_market_ticks drop constraint {}").format(Identifier(key)))
    for name, _ in indexes:
        warehouse.run(SQL("drop index marts.{}").format(Identifier(name)))
    if held:
        warehouse.run(_insert(SQL("marts.fct_market_ticks"), _typed(_numbers(0, held, held), "interval '1 hour'")))
    warehouse.run("alter table marts.fct_market_ticks add primary key (market_tick_key)")
    for _, definition in indexes:
        warehouse.run(definition)
    warehouse.run("vacuum analyze marts.fct_market_ticks")
    if held:
        dbt.run(warehouse.settings, ["run", "--full-refresh", "--select", *MODELS[1:]])
        warehouse.run("vacuum analyze marts.fct_bars_1m")


def load(warehouse: Warehouse, held: int, fresh: int) -> None:
    """So many ticks more, as text."""
    text = SQL(
        "select source_system, symbol, to_char({traded}, {form}), price::text, size::text, {attributes}, '1', '0', "
        "n::text, to_char({received}, {form}), 'fresh', 'fresh.csv.gz' from ({made}) as made"
    ).format(
        traded=_TRADED.format(SQL("traded")), received=_TRADED.format(SQL("n")),
        form=Literal('YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), attributes=SQL(_ATTRIBUTES),
        made=_numbers(held, held + fresh, held),
    )  # fmt: skip
    names = SQL(", ").join(map(Identifier, [*table_columns(TOPIC), *tables.LOAD_COLUMNS]))
    warehouse.run(SQL("insert into {} ({}) {}").format(tables.qualified(TABLE), names, text), "ingest_writer")
    warehouse.run(SQL("analyze {}").format(tables.qualified(TABLE)))


def _numbers(first: int, end: int, late: int) -> Composed:
    """Ticks of these numbers; where none is held, none is late."""
    return _MADE.format(
        symbols=SYMBOLS, spread=SPREAD if first else 1, first=first, last=end - 1, late=late if first else 2**62
    )  # fmt: skip


def _typed(made: Composable, ago: LiteralString) -> Composed:
    return SQL(
        "select 'market_tick:1:0:' || n, source_system || ':' || symbol, {table}, source_system, symbol, null, "
        "trade::text, 'held', ({attributes})::jsonb, price, size, null, 1, 0, n, false, {traded}, {received}, "
        "now() - {ago}, now() - {ago} from ({made}) as made"
    ).format(
        table=TABLE, attributes=SQL(_ATTRIBUTES), ago=SQL(ago), made=made,
        traded=_TRADED.format(SQL("traded")), received=_TRADED.format(SQL("n")),
    )  # fmt: skip


def _insert(into: Composable, rows: Composable) -> Composed:
    return SQL("insert into {} {}").format(into, rows)


def _bare_insert(warehouse: Warehouse) -> float:
    """Seconds of the same rows into the same mart, taken back."""
    rows = SQL(
        "select 'bare:' || kafka_offset, source_system || ':' || symbol, {table}, source_system, symbol, null, "
        "attributes::jsonb ->> 'id', load_id, attributes::jsonb, price::double precision, size::double precision, "
        "null, log_epoch::smallint, kafka_partition::smallint, kafka_offset::bigint, false, timestamp::timestamptz, "
        "received_at::timestamptz, loaded_at, now() from {loaded}"
    ).format(table=TABLE, loaded=tables.qualified(TABLE))
    with psycopg.connect(dsn(warehouse.settings, "warehouse", "owner")) as connection:
        began = monotonic()
        connection.execute(_insert(SQL("marts.fct_market_ticks"), rows))
        seconds = monotonic() - began
        connection.rollback()
    return seconds


def _explain(warehouse: Warehouse) -> None:
    """Postgres writes down the plan of every long statement of dbt, as it ran."""
    for name, value in (
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "500ms"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_timing", "on"),
        ("auto_explain.log_buffers", "on"),
    ):
        warehouse.run(SQL("alter role transformer set {} = {}").format(SQL(name), Literal(value)))
