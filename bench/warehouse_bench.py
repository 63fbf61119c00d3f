"""The warehouse: a full build of the recordings, a run with nothing new, new ticks against a bare load, as-of queries.

1. The recorded trades, rates and vintages are text in their ingestion tables; dbt builds every mart of nothing,
   then again with nothing new. Seconds are of the whole command, dbt's start included.
2. New ticks onto none: dbt builds `fct_market_ticks` and `fct_bars_1m`; its own start is not counted. The limit, in
   turn with it, is one typed `insert .. select` of the same text and one `group by` into tables with the same columns,
   keys and indexes: no trade is looked up, nothing is marked.
3. The same onto many, where one tick in a hundred is late.
4. As-of queries of one series, and of all, over so many vintages.
"""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from bench.marts_bench import Warehouse, fill, load, own_warehouse
from bench.report import Measure
from ingest import tables
from ingest.sources.realtime import SOURCE
from tidemark import dbt
from tidemark.categories import table_columns
from tidemark.connections import dsn

BUILT = ("fct_market_ticks", "fct_bars_1m")
SERIES = 100  # of the as-of queries


def measure(fresh: int, held: int, vintages: int, rounds: int, recordings: Path | None) -> list[Measure]:
    """`fresh` ticks onto none and onto `held`, in turn with the bare load; as-of over `vintages`."""
    found: list[Measure] = []
    with own_warehouse() as warehouse:
        found += _whole(warehouse, recordings)
        found += _as_of(warehouse, vintages, rounds)
        onto_none, bare = [], []
        for _ in range(rounds):
            fill(warehouse, 0)
            load(warehouse, 0, fresh)
            bare.append(_bare(warehouse))
            onto_none.append(_built(warehouse))
        fill(warehouse, held)
        load(warehouse, held, fresh)
        bare_onto_held = _bare(warehouse)
        onto_held = _built(warehouse)
    ratios = [ours / limit for ours, limit in zip(onto_none, bare, strict=True)]
    middle = sorted(onto_none)[len(onto_none) // 2]
    return [
        *found,
        Measure("warehouse_ticks_to_bare_ratio", ratios, goal=2, lower_is_better=True),
        Measure("warehouse_ticks_seconds_onto_none", onto_none, limit=bare),
        Measure("warehouse_ticks_held_to_none_ratio", [onto_held / middle], goal=1.3, lower_is_better=True),
        Measure("warehouse_ticks_seconds_onto_held", [onto_held], limit=[bare_onto_held]),
    ]


# --- the recordings


def _whole(warehouse: Warehouse, recordings: Path | None) -> list[Measure]:
    """Every mart of the recordings, or, without them, of nothing."""
    if recordings is not None:
        _ingest_trades(warehouse, recordings)
        _ingest_batch(warehouse, recordings)
    first = _seconds(warehouse, ["run", "--full-refresh"])
    again = _seconds(warehouse, ["run"])
    rows = warehouse.rows("select count(*) from marts.fct_market_ticks")[0][0]
    print(f"{rows} recorded trades: all marts in {first:.1f} s, nothing new in {again:.1f} s", flush=True)
    return [
        Measure("warehouse_full_build_seconds", [first], goal=60, lower_is_better=True),
        Measure("warehouse_nothing_new_seconds", [again], goal=10, lower_is_better=True),
    ]


def _seconds(warehouse: Warehouse, args: list[str]) -> float:
    began = monotonic()
    dbt.run(warehouse.settings, args)
    return monotonic() - began


def _ingest_trades(warehouse: Warehouse, recordings: Path) -> None:
    """The recorded trades as a promotion loads them."""
    columns = [*table_columns("market_tick"), *tables.LOAD_COLUMNS]
    table = tables.qualified(tables.table_name(SOURCE, "market_tick"))
    into = SQL("copy {} ({}) from stdin").format(table, SQL(", ").join(map(Identifier, columns)))
    url = dsn(warehouse.settings, "warehouse", "ingest_writer")
    with psycopg.connect(url) as connection, connection.cursor().copy(into) as copy:
        for number, trade in enumerate(_recorded(recordings)):
            at = datetime.fromtimestamp(trade["T"] / 1000, UTC).isoformat()
            attributes = json.dumps({"id": str(trade["t"]), "side": "sell" if trade["m"] else "buy"})
            row = {
                "source_system": "binance", "symbol": trade["s"].replace("USDT", "/USDT"), "timestamp": at,
                "price": trade["p"], "size": trade["q"], "attributes": attributes, "log_epoch": "1",
                "kafka_partition": "0", "kafka_offset": str(number), "received_at": at, "load_id": "recorded",
                "file_name": "recorded.gz",
            }  # fmt: skip
            copy.write_row([row[column] for column in columns])


def _recorded(recordings: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((recordings / "binance_ws_hftbacktest").glob("spot_*usdt_*.gz")):
        with gzip.open(path, "rt") as lines:
            for line in lines:
                if '"e":"trade"' in line:
                    yield json.loads(line.partition(" ")[2])["data"]


def _ingest_batch(warehouse: Warehouse, recordings: Path) -> None:
    """The ECB's history and FRED's vintages, by their own pipelines from a server on loopback."""
    from pydantic import SecretStr

    from ingest.pipeline import run
    from loopback.serving import serving

    with serving(recordings) as servers:
        urls = {"ecb_url": servers.ecb.url, "fred_url": servers.fred.url}
        settings = warehouse.settings.model_copy(update={**urls, "fred_api_key": SecretStr("0" * 32)})
        for source in ("ecb", "fred"):
            run(settings, source)


# --- ticks


def _built(warehouse: Warehouse) -> float:
    """Seconds of dbt's models, its own start left out."""
    warehouse.run("checkpoint")
    results = dbt.run(warehouse.settings, ["run", "--select", *BUILT])
    seconds = {result.node.name: result.execution_time for result in results}
    print(f"dbt: {seconds}", flush=True)
    return float(sum(seconds.values()))


_BARE_TICKS = SQL("""
    insert into bare.fct_market_ticks (
        market_tick_key, instrument_key, source_table, source_system, symbol, side, trade_id, load_id, attributes,
        price, size, log_epoch, kafka_partition, kafka_offset, is_resent, traded_at, received_at, loaded_at, built_at
    )
    select
        'market_tick:' || log_epoch || ':' || kafka_partition || ':' || kafka_offset,
        source_system || ':' || symbol, {table}, source_system, symbol, fields ->> 'side', fields ->> 'id', load_id,
        fields, price::double precision, size::double precision, log_epoch::smallint, kafka_partition::smallint,
        kafka_offset::bigint, false, timestamp::timestamptz, received_at::timestamptz, loaded_at, now()
    from (select *, attributes::jsonb as fields from {loaded} offset 0) as loaded
""")
_BARE_BARS = SQL("""
    insert into bare.fct_bars_1m (
        bar_key, instrument_key, source_system, symbol, open, high, low, close, vwap, volume, quote_volume, trade_count,
        is_final, bar_start_at, loaded_at, built_at
    )
    select
        instrument_key || ':' || to_char(bar_start_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"'), instrument_key,
        source_system, symbol, opens, high, low, closes, turnover / nullif(volume, 0), volume, turnover, trade_count,
        true, bar_start_at, loaded_at, built_at
    from (
        select
            instrument_key, source_system, symbol, (array_agg(price order by traded_at, kafka_offset))[1] as opens,
            max(price) as high, min(price) as low,
            (array_agg(price order by traded_at desc, kafka_offset desc))[1] as closes,
            sum(size::text::numeric) as volume, sum(price::text::numeric * size::text::numeric) as turnover,
            count(1) as trade_count, date_bin('1 minute', traded_at, 'epoch') as bar_start_at,
            max(loaded_at) as loaded_at, max(built_at) as built_at
        from bare.fct_market_ticks
        where load_id = 'fresh'
        group by instrument_key, source_system, symbol, date_bin('1 minute', traded_at, 'epoch')
    ) as grouped
    on conflict (bar_key) do nothing
""")


def _bare(warehouse: Warehouse) -> float:
    """Seconds of the same text by two statements into tables of the same shape, as full as ours are, dropped again."""
    warehouse.run("drop schema if exists bare cascade")
    warehouse.run("create schema bare")
    for table in BUILT:
        warehouse.run(SQL("create table bare.{0} (like marts.{0} including all)").format(Identifier(table)))
        warehouse.run(SQL("insert into bare.{0} select * from marts.{0}").format(Identifier(table)))
        warehouse.run(SQL("vacuum analyze bare.{}").format(Identifier(table)))
    warehouse.run("checkpoint")
    table = tables.table_name(SOURCE, "market_tick")
    statements: list[Composed] = [
        _BARE_TICKS.format(table=table, loaded=tables.qualified(table)), _BARE_BARS.format()
    ]  # fmt: skip
    began, parts = monotonic(), []
    for statement in statements:
        started = monotonic()
        warehouse.run(statement)
        parts.append(round(monotonic() - started, 2))
    seconds = monotonic() - began
    print(f"bare: {parts}", flush=True)
    warehouse.run("drop schema bare cascade")
    return seconds


# --- as of


_VINTAGES = SQL("""
    insert into marts.fct_economic_observations (
        {columns}
    )
    select {values} from generate_series(0, {last}) as n
""")
_KNOWN = "available_at <= '2015-06-30 12:00Z' and (superseded_at is null or superseded_at > '2015-06-30 12:00Z')"
_FROM = f"from marts.fct_economic_observations where {_KNOWN}"
_ONE = "select reference_date, value " + _FROM + " and series_key = 'bench:S7'"
_ALL = "select count(value) " + _FROM


def _as_of(warehouse: Warehouse, vintages: int, rounds: int) -> list[Measure]:
    """Milliseconds of an as-of query: of one series, of all. Each period has ten vintages, a month apart."""
    warehouse.run("truncate marts.fct_economic_observations")
    series, period = f"'bench:S' || n / 10 % {SERIES}", f"n / 10 / {SERIES}"
    available = f"timestamptz '2000-02-01Z' + ({period} + n % 10 + {{}}) * interval '30 days'"
    values = {
        "observation_vintage_key": "'bench:' || n", "observation_key": "'bench:' || n / 10", "series_key": series,
        "value": "n::double precision", "availability_precision": "'date'", "is_withdrawn": "false",
        "is_latest": "n % 10 = 9", "vintage_number": "n % 10 + 1",
        "reference_date": f"date '2000-01-01' + {period} * 30",
        "available_at": available.format(0), "superseded_at": f"case when n % 10 < 9 then {available.format(1)} end",
        "loaded_at": "now()", "built_at": "now()",
    }  # fmt: skip
    names, expressions = map(Identifier, values), (SQL(value) for value in values.values())
    comma = SQL(", ")
    warehouse.run(
        _VINTAGES.format(columns=comma.join(names), values=comma.join(expressions), last=vintages - 1)
    )  # fmt: skip
    warehouse.run("vacuum analyze marts.fct_economic_observations")
    one = [_milliseconds(warehouse, _ONE) for _ in range(5 * rounds)]
    every = [_milliseconds(warehouse, _ALL) for _ in range(5 * rounds)]
    warehouse.run("truncate marts.fct_economic_observations")
    return [
        Measure("warehouse_as_of_one_series_ms", one, goal=10, lower_is_better=True),
        Measure("warehouse_as_of_all_ms", every, goal=60, lower_is_better=True),
    ]


def _milliseconds(warehouse: Warehouse, query: str) -> float:
    """Of the second time that a connection asks."""
    with psycopg.connect(dsn(warehouse.settings, "warehouse", "bi_reader")) as connection:
        connection.execute(query.encode()).fetchall()
        began = monotonic()
        connection.execute(query.encode()).fetchall()
        return (monotonic() - began) * 1000
