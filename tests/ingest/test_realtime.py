"""A day of the streaming database: the same rows, as the same text, in the partition, the lake and the warehouse."""

import csv
import gzip
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from ingest.sources import realtime
from realtime import copy_out
from realtime.slices import in_csv
from tests.conftest import Stack
from tests.ingest.conftest import Query
from tidemark.categories import table_columns
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

DAY = date(2024, 8, 8)
NOON = datetime(2024, 8, 8, 12, 0, 0, 5, UTC)
TEXTS = [
    "",
    " ",
    "N/A",
    "a\tb\nc\r\nd",
    'say "no"',
    "\\.",
    "\\N",
    "\\\\n",
    "NULL",
    "Ünï ¢ødé 🌊",
    "a,b;c",
    "\x1f",
    "x" * 200_000,
]
DOUBLES = {
    0.1: "0.1",
    1e-7: "1e-07",
    1e22: "1e+22",
    5e-324: "5e-324",
    1.7976931348623157e308: "1.7976931348623157e+308",
    -0.0: "-0",
    60000.1: "60000.1",
    123456789.12345679: "123456789.12345679",
}


def add(stack: Stack, topic: str, *rows: tuple[Any, ...]) -> None:
    """Rows of a topic's table, in the order of its columns, into partitions that are made for them."""
    table, values = sql.Identifier("realtime", topic), sql.SQL(", ").join(sql.Placeholder() * len(table_columns(topic)))
    with psycopg.connect(stack.dsn("realtime", "stream_writer")) as database:
        for row in rows:
            database.execute("select realtime.ensure_partition(%s, %s)", [topic, row[-1].date()])
            database.execute(sql.SQL("insert into {} values ({})").format(table, values), row)


def tick(offset: int, price: float = 1.5, epoch: int = 1, partition: int = 0, at: datetime = NOON) -> tuple[Any, ...]:
    return ("binance", "BTC/USDT", NOON, price, 0.25, Jsonb({"id": str(offset)}), epoch, partition, offset, at)


@pytest.fixture
def stack_(clean_realtime: Stack) -> Stack:
    return clean_realtime


def promote(settings: Settings, topic: str, promotion_id: str) -> tuple[str, int]:
    """Copy and load; all three places must hold the same."""
    path, held = realtime.copy_day_to_lake(settings, topic, DAY, promotion_id)
    assert copy_out.day_slices(settings, topic, DAY) == held
    assert realtime.slices_in_lake(settings, path) == held
    rows = realtime.load_day(settings, topic, path)
    assert realtime.slices_in_ingestion(settings, topic, path) == held
    return path, rows


def test_awkward_text_arrives_as_it_was(stack_: Stack, settings: Settings, warehouse: Query) -> None:
    rows = [
        ("edgar", "SEC", text, "", text or "-", Jsonb({"text": text, text: [1.10, None, {}]}), 1, 0, offset, NOON)
        for offset, text in enumerate(TEXTS)
    ]
    add(stack_, "economic_event_text", *rows)
    _, loaded = promote(settings, "economic_event_text", "p1")
    assert loaded == len(TEXTS)
    found = warehouse(
        "select value, unit, attributes::jsonb ->> 'text', received_at "
        "from ingestion.realtime__economic_event_text order by kafka_offset::int"
    )
    assert found == [(text, "", text, "2024-08-08T12:00:00.000005Z") for text in TEXTS]


def test_doubles_are_their_shortest_text_that_reads_back_as_the_same(
    stack_: Stack, settings: Settings, warehouse: Query
) -> None:
    add(stack_, "market_tick", *(tick(offset, price=double) for offset, double in enumerate(DOUBLES)))
    promote(settings, "market_tick", "p1")
    prices = [
        price for (price,) in warehouse("select price from ingestion.realtime__market_tick order by kafka_offset")
    ]
    assert prices == list(DOUBLES.values())
    assert [float(price) for price in prices] == list(DOUBLES)


def test_slices_are_told_apart_by_epoch_and_partition_and_hold_the_day_alone(stack_: Stack, settings: Settings) -> None:
    places = [(1, 0), (1, 1), (2, 0)]
    add(stack_, "market_tick", *(tick(offset, epoch=e, partition=p) for e, p in places for offset in (7, 9, 8)))
    add(stack_, "market_tick", tick(10, at=NOON + timedelta(days=1)))
    promote(settings, "market_tick", "p1")
    found = copy_out.day_slices(settings, "market_tick", DAY)
    assert [(s.log_epoch, s.kafka_partition, s.row_count, s.first_offset, s.last_offset) for s in found] == [
        (epoch, partition, 3, 7, 9) for epoch, partition in places
    ]
    assert len({s.checksum for s in found}) == 3


def test_a_file_that_is_loaded_twice_changes_nothing(stack_: Stack, settings: Settings, warehouse: Query) -> None:
    add(stack_, "market_tick", tick(1), tick(2))
    path, rows = promote(settings, "market_tick", "p1")
    before = warehouse("select * from ingestion.realtime__market_tick order by kafka_offset")
    assert (rows, realtime.load_day(settings, "market_tick", path)) == (2, 0)
    assert warehouse("select * from ingestion.realtime__market_tick order by kafka_offset") == before


def test_a_second_promotion_of_a_day_adds_only_what_came_late(
    stack_: Stack, settings: Settings, warehouse: Query
) -> None:
    add(stack_, "market_tick", tick(1), tick(2))
    promote(settings, "market_tick", "p1")
    add(stack_, "market_tick", tick(3))
    _, rows = promote(settings, "market_tick", "p2")
    assert rows == 1
    loaded = warehouse("select kafka_offset, load_id from ingestion.realtime__market_tick order by 1")
    assert loaded == [("1", "p1"), ("2", "p1"), ("3", "p2")]


def test_a_row_that_differs_in_one_place_is_seen(stack_: Stack, settings: Settings) -> None:
    add(stack_, "market_tick", tick(1), tick(2))
    path, _ = promote(settings, "market_tick", "p1")
    with psycopg.connect(stack_.dsn("warehouse")) as database:
        database.execute("update ingestion.realtime__market_tick set price = '1.50' where kafka_offset = '2'")
    assert realtime.slices_in_ingestion(settings, "market_tick", path) != realtime.slices_in_lake(settings, path)


def test_the_same_promotion_writes_the_same_bytes_again(stack_: Stack, settings: Settings) -> None:
    add(stack_, "market_tick", *(tick(offset) for offset in random.Random(1).sample(range(100), 100)))
    path, _ = realtime.copy_day_to_lake(settings, "market_tick", DAY, "p1")
    first = (settings.home / "lake" / path).read_bytes()
    assert realtime.copy_day_to_lake(settings, "market_tick", DAY, "p1")[0] == path
    assert (settings.home / "lake" / path).read_bytes() == first
    offsets = [int(row["kafka_offset"]) for row in csv.DictReader(gzip.decompress(first).decode().splitlines())]
    assert offsets == list(range(100))


def test_a_copy_that_fails_leaves_no_file_of_that_name(
    stack_: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(stack_, "market_tick", tick(1))
    failing = sql.SQL("copy (select 1 / (n - 5000) from generate_series(1, 9000) as n) to stdout").format()
    monkeypatch.setattr(copy_out, "_copy_out", lambda topic, partition: failing)
    with pytest.raises(psycopg.errors.DivisionByZero):
        realtime.copy_day_to_lake(settings, "market_tick", DAY, "p1")
    assert list((settings.home / "lake" / "realtime" / "market_tick").glob("*.csv.gz")) == []


def test_a_day_without_a_partition_holds_nothing_and_cannot_be_copied(stack_: Stack, settings: Settings) -> None:
    day = date(1999, 1, 1)
    assert copy_out.day_slices(settings, "market_tick", day) == []
    with pytest.raises(TidemarkError, match="market_tick in realtime for 1999-01-01"):
        realtime.copy_day_to_lake(settings, "market_tick", day, "p1")


def test_the_checksum_does_not_depend_on_the_order_of_rows_and_does_on_every_character() -> None:
    header = "price,log_epoch,kafka_partition,kafka_offset"
    rows = [f"{offset}.5,1,0,{offset}" for offset in range(50)]
    shuffled = random.Random(2).sample(rows, len(rows))
    assert in_csv([header, *rows]) == in_csv([header, *shuffled])
    assert in_csv([header, *rows]) != in_csv([header, "0.50,1,0,0", *rows[1:]])
