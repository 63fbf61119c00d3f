"""The read API: last prices at a rate that is offered, bars across the tidemark, and a million ticks of both sides.

One Postgres, one server of the API as the stack starts it, one client on the same machine. The warehouse has the ticks
of the afternoon before midnight, `realtime` those of the morning after it: one symbol with all that Arrow is asked for,
and others whose bars and prices are asked. `last` is offered, not asked in turn: a request is due at its time, whether
or not those before it are answered, and its latency is counted from then. `stream` is 50 listeners of one symbol whose
ticks are committed one by one: from the commit until each has the tick. The limit of ticks is what psycopg takes to
COPY the same columns of the same rows, as text, from one database and then from the other.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from time import perf_counter
from typing import Any, LiteralString

import httpx
import psycopg
from psycopg.sql import SQL, Literal

from bench import stream_bench
from bench.report import Measure
from bench.stack import NOWHERE, BenchmarkFailed, new_home
from realtime import partitions, positions, tables
from realtime.rows import note_feeds
from tidemark import dbt
from tidemark.access import key_file
from tidemark.connections import dsn
from tidemark.settings import Settings
from tidemark.stack import local, process
from tidemark.stack.ports import free_ports

TOPIC, PERSON, SOURCE, MANY = "market_tick", "bi_reader", "venue", "MANY/USDT"
MODELS = ("+fct_bars_1m", "+fct_promotions")
MIDNIGHT = datetime(2024, 8, 9, tzinfo=UTC)
HALF = timedelta(hours=12)
SYMBOLS, TICKS_OF_EACH = 100, 10_000
CLIENTS, SEED = 32, 9
P99_LAST, P99_BARS, RATE, OF_COPY, BEFORE_MB, AFTER_MB = 20.0, 50.0, 300_000.0, 0.4, 150.0, 300.0

# Tick number n of a symbol that has so many, spread over the day around midnight, half of them before it.
_MADE: LiteralString = """
select
    symbol, {begin}::timestamptz + n * (interval '24 hours' / {count}) as traded_at, 100 + n % 977 / 100.0 as price,
    0.001 * (1 + n % 89) as size, n, {first} + row_number() over (order by n, symbol) as place
from generate_series({low}::bigint, {high}::bigint - 1) as n cross join unnest({symbols}::text[]) as symbol
"""
_REALTIME: LiteralString = """
insert into {table} (source_system, symbol, timestamp, price, size, attributes, log_epoch, kafka_partition,
    kafka_offset, received_at)
select {source}, symbol, traded_at, price, size,
    jsonb_build_object('id', n::text, 'side', 'buy'), 1, 0, place, traded_at
from ({made}) as made
"""
_WAREHOUSE: LiteralString = """
insert into marts.fct_market_ticks (market_tick_key, instrument_key, source_table, source_system, symbol, side,
    trade_id, load_id, attributes, price, size, log_epoch, kafka_partition, kafka_offset, is_resent, traded_at,
    received_at, loaded_at, built_at)
select 'market_tick:1:0:' || place, {source} || ':' || symbol, 'realtime__market_tick', {source}, symbol, 'buy',
    n::text, 'load', jsonb_build_object('id', n::text, 'side', 'buy'), price, size, 1, 0, place, false, traded_at,
    traded_at, now(), now()
from ({made}) as made
"""
_COLUMNS = "side, trade_id, price, size, log_epoch, kafka_partition, kafka_offset, traded_at, received_at"


@dataclass(frozen=True)
class Api:
    """A running server, and a key for it."""

    settings: Settings
    key: str

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.settings.api_port}"

    def resident_mb(self) -> float:
        """What its process has resident."""
        server = process.find(self.settings.home, "serve")
        if server is None:
            raise BenchmarkFailed("expected the server of the API, it has ended")
        return float(server.memory_info().rss / 1e6)


@contextmanager
def own_api() -> Iterator[Api]:
    """A new Postgres and a server of the API; nothing of it is left afterwards."""
    with new_home() as home:
        postgres_port, api_port = free_ports(2)
        settings = Settings(
            home=home, prefect_url=NOWHERE, kafka_bootstrap="127.0.0.1:9", postgres_port=postgres_port,
            api_port=api_port,
        )  # fmt: skip
        try:
            local.up(settings)
            yield Api(settings, key_file.make(settings, PERSON, 86_400, rate=1_000_000)[1])
        finally:
            local.down(settings)


def measure(ticks: int, rate: int, seconds: int, queries: int, rounds: int) -> list[Measure]:
    """`ticks` of both sides as Arrow, `rate` requests a second for last prices, `queries` for bars."""
    with own_api() as api:
        fill(api.settings, ticks)
        last = [asyncio.run(offered(api, rate, seconds)) for _ in range(rounds)]
        bars = [ask_bars(api, queries, number) for number in range(rounds)]
        before = api.resident_mb()
        both = [(read_arrow(api, ticks), copy_out(api.settings, ticks)) for _ in range(rounds)]
        after = api.resident_mb()
        streamed = listen(api)
    ours, limit = ([ticks / taken for taken in side] for side in zip(*both, strict=True))
    ratios = [mine / most for mine, most in zip(ours, limit, strict=True)]
    return [
        Measure("api_last_p99_ms", [_percentile(one, 99) for one in last], goal=P99_LAST, lower_is_better=True),
        Measure("api_last_p50_ms", [_percentile(one, 50) for one in last]),
        Measure(
            "api_bars_of_a_day_p99_ms", [_percentile(one, 99) for one in bars], goal=P99_BARS, lower_is_better=True
        ),
        Measure("api_bars_of_a_day_p50_ms", [_percentile(one, 50) for one in bars]),
        Measure("api_arrow_rows_per_s", ours, limit=limit, goal=RATE),
        Measure("api_arrow_to_copy_ratio", ratios, goal=OF_COPY),
        Measure("api_resident_mb", [before], goal=BEFORE_MB, lower_is_better=True),
        Measure("api_resident_after_arrow_mb", [after], goal=AFTER_MB, lower_is_better=True),
        *streamed,
    ]


def fill(settings: Settings, ticks: int) -> None:
    """Both halves of every symbol's ticks, the bars of the first, and the note that it has left."""
    dbt.run(settings, ["run"], target="realtime")
    dbt.run(settings, ["run", "--select", *MODELS])
    names = [f"S{number:03}/USDT" for number in range(SYMBOLS)]
    days = [MIDNIGHT.date(), MIDNIGHT.date() - timedelta(days=1)]
    with psycopg.connect(dsn(settings, "realtime"), autocommit=True) as connection:
        partitions.ensure(connection, [(TOPIC, day) for day in days])
        for statement in _statements(_REALTIME, ticks, names, of_second_half=True):
            connection.execute(statement)
        with connection.cursor() as cursor:
            note_feeds(cursor, {(TOPIC, SOURCE, name) for name in (MANY, *names)})
        note = SQL("insert into {} (promotion_id, topic, day, row_count) values (gen_random_uuid(), %s, %s, 1)")
        connection.execute(note.format(tables.TRIMMED), (TOPIC, days[1]))
        [(promotion,)] = connection.execute(SQL("select promotion_id from {}").format(tables.TRIMMED)).fetchall()
        connection.execute(SQL("vacuum (analyze) {}").format(tables.of_topic(TOPIC)))
    with psycopg.connect(dsn(settings, "warehouse"), autocommit=True) as connection:
        for statement in _statements(_WAREHOUSE, ticks, names, of_second_half=False):
            connection.execute(statement)
        connection.execute(
            "insert into ops.promotion values (%s, %s, %s, 1, 0, 1, 1, 1, '', '', now(), now())",
            (promotion, TOPIC, days[1]),
        )  # fmt: skip
        connection.execute("vacuum (analyze) marts.fct_market_ticks")
        dbt.run(settings, ["run", "--select", "fct_bars_1m"])
        connection.execute("vacuum (analyze) marts.fct_bars_1m")
        connection.execute("checkpoint")


def _statements(insert: LiteralString, ticks: int, names: list[str], *, of_second_half: bool) -> Iterator[Any]:
    first = 0
    for count, symbols in ((ticks, [MANY]), (TICKS_OF_EACH, names)):
        low, high = (count // 2, count) if of_second_half else (0, count // 2)
        made = SQL(_MADE).format(
            begin=Literal(MIDNIGHT - HALF), count=Literal(count), low=Literal(low), high=Literal(high),
            symbols=Literal(symbols), first=Literal(first + low * len(symbols)),
        )  # fmt: skip
        yield SQL(insert).format(table=tables.of_topic(TOPIC), source=Literal(SOURCE), made=made)
        first += count * len(symbols)


def listen(api: Api) -> list[Measure]:
    """Ticks of today, committed one by one, at all who listen to the stream."""
    with psycopg.connect(dsn(api.settings, "realtime"), autocommit=True) as connection:
        partitions.ensure(connection, [(TOPIC, datetime.now(UTC).date())])
        # Behind every offset that the filled ticks have.
        positions.read_position(connection, TOPIC, 0, positions.LogState(topic_id="bench", start=10**9, end=10**9))
        return stream_bench.measure(api.url, api.key, connection)


def _percentile(times: list[float], percent: int) -> float:
    return quantiles(times, n=100)[percent - 1]


async def offered(api: Api, rate: int, seconds: int) -> list[float]:
    """Milliseconds from when each request was due until it was answered; BenchmarkFailed where one was not."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CLIENTS):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", api.settings.api_port))
    by_chance, times, began = random.Random(SEED), [], perf_counter() + 0.1

    async def one(due: float) -> None:
        reader, writer = await free.get()
        name = f"S{by_chance.randrange(SYMBOLS):03}/USDT"
        asked = f"GET /v1/last?source={SOURCE}&symbol={name} HTTP/1.1"
        writer.write(f"{asked}\r\nhost: localhost\r\nx-api-key: {api.key}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        times.append((perf_counter() - due) * 1000)
        if b" 200 " not in head[:20] or name.encode() not in body:
            raise BenchmarkFailed(f"expected the last price of {name}, received {head[:200]!r}")
        free.put_nowait((reader, writer))

    async with asyncio.TaskGroup() as all_of_them:
        for number in range(rate * seconds):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - perf_counter()))
            all_of_them.create_task(one(due))
    while not free.empty():
        free.get_nowait()[1].close()
    return times


def ask_bars(api: Api, queries: int, number: int) -> list[float]:
    """Milliseconds of each query for the minutes of a day, half of them on each side."""
    by_chance, times = random.Random(SEED + number), []
    query = {"source": SOURCE, "interval": "1m", "from": _text(MIDNIGHT - HALF), "to": _text(MIDNIGHT + HALF)}
    with httpx.Client(base_url=api.url, headers={"x-api-key": api.key}) as client:
        for _ in range(queries):
            began = perf_counter()
            answer = client.get("/v1/bars", params={**query, "symbol": f"S{by_chance.randrange(SYMBOLS):03}/USDT"})
            times.append((perf_counter() - began) * 1000)
            if answer.status_code != 200 or len(answer.json()) != 1440:
                raise BenchmarkFailed(f"expected 1440 bars, received {answer.status_code} {answer.text[:300]}")
    return times


def read_arrow(api: Api, ticks: int) -> float:
    """Seconds until a client has the bytes of all ticks."""
    query = {"source": SOURCE, "symbol": MANY, "from": _text(MIDNIGHT - HALF), "to": _text(MIDNIGHT + HALF)}
    query |= {"limit": str(ticks), "format": "arrow"}
    began = perf_counter()
    with httpx.stream(
        "GET", f"{api.url}/v1/ticks", params=query, headers={"x-api-key": api.key}, timeout=120
    ) as answer:
        body = b"".join(answer.iter_raw(1 << 20))
    taken = perf_counter() - began
    import pyarrow as pa

    rows = pa.ipc.open_stream(body).read_all().num_rows if answer.status_code == 200 else 0
    if rows != ticks:
        raise BenchmarkFailed(f"expected {ticks} ticks, received {rows}: {answer.status_code} {body[:300]!r}")
    return taken


def copy_out(settings: Settings, ticks: int) -> float:
    """Seconds of psycopg's COPY of the same rows, of one side and then of the other."""
    began, rows = perf_counter(), 0
    for database, relation, order in (
        ("realtime", SQL("live.ticks"), SQL("minute_start_at, traded_at")),
        ("warehouse", SQL("marts.fct_market_ticks"), SQL("traded_at")),
    ):
        query = SQL(
            "copy (select {} from {} where source_system = {} and symbol = {} order by {}) to stdout"
        ).format(SQL(_COLUMNS), relation, Literal(SOURCE), Literal(MANY), order)  # fmt: skip
        with psycopg.connect(dsn(settings, database, PERSON)) as connection, connection.cursor() as cursor:
            with cursor.copy(query) as copy:
                for _ in copy:
                    pass
            rows += cursor.rowcount
    if rows != ticks:
        raise BenchmarkFailed(f"expected {ticks} ticks, copied {rows}")
    return perf_counter() - began


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
