"""A topic as the processor leaves it: records in Kafka, their rows in `realtime`, and the position that passed them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import TopicAlreadyExistsError
from psycopg import sql

from flows.closing import log_ends
from tests.conftest import again
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client

TOPIC = "market_tick"
DAY = date(2024, 8, 8)
AS_OF = datetime(2024, 8, 12, tzinfo=UTC)


@dataclass
class Feed:
    """Rows of market_tick in partition 0, epoch 1, written as the processor writes them."""

    stack: Any
    first: int  # the log's end when the test began
    next: int

    def add(self, count: int, day: date = DAY) -> None:
        """So many more records, each with its row of `day`; the position passes them in the same transaction."""
        self.produce(count)
        at = datetime.combine(day, time(12), UTC)
        rows = [
            ("binance", "BTC/USDT", at + timedelta(microseconds=n), 0.1 + n, 1e-9, f'{{"id": "{n}"}}', 1, 0, n, at)
            for n in range(self.next, self.next + count)
        ]
        with psycopg.connect(self.stack.dsn("realtime", "stream_writer")) as connection:
            connection.execute("select realtime.ensure_partition(%s, %s)", (TOPIC, day))
            insert = sql.SQL("insert into realtime.market_tick values ({})")
            connection.cursor().executemany(insert.format(sql.SQL(", ").join([sql.Placeholder()] * 10)), rows)
            self.next += count
            connection.execute(
                "update realtime.consumer_offset set next_offset = %s where topic = %s and kafka_partition = 0",
                (self.next, TOPIC),
            )

    def produce(self, count: int) -> None:
        """So many records in Kafka that nobody has consumed yet."""
        producer = KafkaProducer(**kafka_client(self.stack.settings, KAFKA_ADMINISTRATOR))
        for _ in range(count):
            producer.send(TOPIC, b"{}", partition=0)
        producer.flush()
        producer.close()

    def counts(self) -> tuple[int, int]:
        """Rows in `realtime`, then rows in the mart: in this order a day that moves meanwhile is never missed."""
        return self.count("realtime", "realtime.market_tick"), self.count("warehouse", "marts.fct_market_ticks")

    def count(self, database: str, table: str) -> int:
        """All rows of the feed in a table; none where there is no table yet."""
        with psycopg.connect(self.stack.dsn(database)) as connection:
            found = connection.execute("select to_regclass(%s)", (table,)).fetchone()
            if not found or found[0] is None:
                return 0
            query = sql.SQL("select count(*) from {}").format(sql.Identifier(*table.split(".")))
            return int(connection.execute(query).fetchall()[0][0])


@pytest.fixture
@again
def empty_warehouse(stack: Any) -> None:
    """The warehouse without a row of the streaming lane; its tables stay, so that dbt need not make them again."""
    with psycopg.connect(stack.dsn("warehouse")) as connection:
        names = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname in ('ops', 'marts') "
            "or (schemaname = 'ingestion' and tablename like 'realtime\\_\\_%')"
        ).fetchall()
        for name in names:
            connection.execute(sql.SQL("truncate {}").format(sql.Identifier(*name)))


@pytest.fixture
def feed(clean_realtime: Any, empty_warehouse: None) -> Feed:
    """An empty feed: the topic's log may hold what earlier tests left, the epoch begins behind it."""
    settings = clean_realtime.settings
    admin = KafkaAdminClient(**kafka_client(settings, KAFKA_ADMINISTRATOR))
    for topic in ("market_tick", "order_book_l2", "economic_event_numeric", "economic_event_text"):
        try:
            admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
        except TopicAlreadyExistsError:
            continue
    admin.close()
    end = log_ends(settings, [TOPIC])[TOPIC]
    with psycopg.connect(clean_realtime.dsn("realtime")) as connection:
        connection.execute("insert into realtime.log_epoch values (%s, 1, %s)", (TOPIC, end.topic_id))
        connection.cursor().executemany(
            "insert into realtime.consumer_offset (topic, log_epoch, kafka_partition, first_offset, next_offset) "
            "values (%s, 1, %s, %s, %s)",
            [(TOPIC, partition, offset, offset) for partition, offset in end.offsets.items()],
        )
    return Feed(clean_realtime, end.offsets[0], end.offsets[0])
