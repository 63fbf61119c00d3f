"""Topic to committed, partitioned, indexed row: the processor, the Debezium JDBC sink, and Postgres alone by COPY.

One topic with one partition each, filled before anything is timed; one process each, started anew for every round, one
after the other. Both tables have the same columns, the same partitions and the same index by symbol and time. The
clock runs from the moment a reader can see the record at 5 % of the log until it can see the last one: of both sides it
leaves out how long a process takes to start, and it sees what is committed, nothing else. CPU-seconds are of the same
span. The processor runs as a user runs it: exactly once, fenced, validated, with quarantine. The peer has less to do:
it stores no position with the rows, and the identity columns of its table are defaults.

The limit is the time that one COPY of the same rows, as text that is ready, takes into the same table.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic

import psutil
from psycopg.sql import SQL, Identifier, Literal

from bench import connect
from bench.filling import BEGUN, DONE, TOPIC, begun_at, fill, make_topics, marked
from bench.report import Measure
from bench.stack import BenchmarkFailed, Connection, Stack, Usage, own_stack, peak_mb, until
from bench.ticks import blocks, copy_line, wire, wire_with_schema
from realtime import tables

PEER_TOPIC = "peer_tick"
OURS, PEER = tables.of_topic(TOPIC), Identifier("bench", TOPIC)
EMPTIED = (OURS, PEER, *tables.FILLED)
# What the peer's records do not say: the processor writes each row's own, the peer's table has it as a default.
DEFAULTS = {"log_epoch": "1", "kafka_partition": "0", "kafka_offset": "0", "received_at": "now()"}
BLOCK_BYTES = 1024 * 1024

_expected: dict[int, tuple[object, ...] | None] = {}  # of so many records, what the first round has brought


@dataclass(frozen=True)
class Run:
    """One round of one side: seconds and use of the timed span; `peak` in MB."""

    rows: int
    seconds: float
    usage: Usage
    peak: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    @property
    def rate_of_cpu(self) -> float:
        """Rows a CPU-second of the process itself."""
        return self.rows / self.usage.processes


def measure(records: int, rounds: int, whole: bool) -> list[Measure]:
    """All rounds of all three, alternating."""
    ours: list[Run] = []
    peer: list[Run] = []
    limit: list[float] = []
    with own_stack() as stack, stack.connect() as connection:
        # With no statistics yet, looking for the marks would read the whole table, at the cost of those who write.
        connection.execute("set enable_seqscan = off")
        make_topics(stack, PEER_TOPIC)
        make_peer_table(connection)
        fill(stack, TOPIC, records, whole, wire)
        fill(stack, PEER_TOPIC, records, whole, wire_with_schema)
        text = write_text(stack, connection, records, whole)
        for number in range(rounds):
            empty(connection)
            with stack.running("processor", "realtime") as process:
                ours.append(watch(stack, connection, OURS, process, records))
            empty(connection)
            with connect.sink(stack, PEER_TOPIC, f"bench.{TOPIC}", f"peer-{number}") as process:
                peer.append(watch(stack, connection, PEER, process, records))
            empty(connection)
            limit.append(copy_alone(connection, text, records))
    return _measures(ours, peer, limit)


def _measures(ours: list[Run], peer: list[Run], limit: list[float]) -> list[Measure]:
    wall, cpu = [run.rate for run in peer], [run.rate_of_cpu for run in peer]
    found = [
        Measure(
            "sink_rows_per_second", [run.rate for run in ours], wall, limit,
            goal=max(3 * median(wall), 0.45 * median(limit)),
        ),
        Measure("sink_rows_per_cpu_second", [run.rate_of_cpu for run in ours], cpu, goal=3 * median(cpu)),
        Measure(
            "sink_peak_resident_mb", [run.peak for run in ours], [run.peak for run in peer],
            goal=200, lower_is_better=True,
        ),
    ]  # fmt: skip
    for part in ("database", "broker"):
        name = f"sink_{part}_cpu_seconds_per_million_rows"
        found.append(Measure(name, _per_million(ours, part), _per_million(peer, part)))
    return found


def _per_million(runs: list[Run], part: str) -> list[float]:
    return [getattr(run.usage, part) / run.rows * 1e6 for run in runs]


def make_peer_table(connection: Connection) -> None:
    """The same columns, partitions and index as the lane's own table."""
    columns = [
        SQL("alter table {} alter {} set default {}").format(PEER, Identifier(name), SQL(value))
        for name, value in DEFAULTS.items()
    ]
    connection.execute("create schema bench")
    like = SQL("create table {} (like {} including all) partition by range (received_at)")
    connection.execute(like.format(PEER, OURS))
    for statement in columns:
        connection.execute(statement)
    bounds = connection.execute(
        "select relname, pg_get_expr(relpartbound, oid), array_to_string(reloptions, ', ') from pg_class "
        "where oid in (select inhrelid from pg_inherits where inhparent = %s::regclass)",
        (OURS.as_string(None),),
    ).fetchall()
    for name, bound, options in bounds:
        made = SQL("create table {} partition of {} {} with ({})")
        connection.execute(made.format(Identifier("bench", name), PEER, SQL(bound), SQL(options)))


def write_text(stack: Stack, connection: Connection, records: int, whole: bool) -> Path:
    """The same rows as COPY's text, all of them of today's partition."""
    (now,) = connection.execute("select now()::text").fetchone() or ("",)
    path = stack.settings.home / "ticks.copy"
    with path.open("wb") as file:
        file.writelines(blocks(copy_line(marked(n, records, whole), n, now) for n in range(records)))
    return path


def empty(connection: Connection) -> None:
    """Every round begins with empty tables, no position, and nothing left to be written out."""
    connection.execute(SQL("truncate {} cascade").format(SQL(", ").join(EMPTIED)))
    connection.execute("checkpoint")


def watch(stack: Stack, connection: Connection, table: Identifier, process: psutil.Process, records: int) -> Run:
    """Wait for the two marks, and take the clock and the use at each. BenchmarkFailed where a row is missing."""
    seen = SQL("select exists (select from {} where symbol = {})")
    points = []
    for mark in (BEGUN, DONE):
        probe = seen.format(table, Literal(mark))
        until(lambda probe=probe: connection.execute(probe).fetchone()[0], f"the record {mark} of {table}", [process])  # type: ignore[index, misc]
        points.append((monotonic(), stack.usage([process])))
    (began, before), (ended, after) = points
    check_content(connection, table, records)
    return Run(records - 1 - begun_at(records), ended - began, after - before, peak_mb(process))


def check_content(connection: Connection, table: Identifier, records: int) -> None:
    """BenchmarkFailed where the table does not hold exactly the ticks of all sides, whatever their order."""
    said = SQL("hash_record_extended((source_system, symbol, timestamp, price, size, attributes), 0)")
    sums = SQL("select count(1), sum({}) from {}")
    found = connection.execute(sums.format(said, table)).fetchone()
    expected = _expected.setdefault(records, found)
    if found is None or found[0] != records or found != expected:
        raise BenchmarkFailed(f"expected {records:,} rows and the sum {expected} in {table}, found {found}")


def copy_alone(connection: Connection, text: Path, records: int) -> float:
    """Rows a second of one COPY of the text, in one transaction."""
    began = monotonic()
    statement = SQL("copy {} from stdin").format(OURS)
    with text.open("rb") as file, connection.cursor() as cursor, cursor.copy(statement) as copy:
        while block := file.read(BLOCK_BYTES):
            copy.write(block)
    seconds = monotonic() - began
    check_content(connection, OURS, records)
    return records / seconds
