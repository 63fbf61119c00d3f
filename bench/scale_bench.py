"""Two processors of one group against one, on a topic of four partitions; what a row costs; what more cores give.

Each round's records are put into the topic in one transaction, which a processor does not see. When the processors run
and hold their partitions, the transaction is committed: all records are there at once, and the clock runs until the
last of them is in the tables. Symbols are spread evenly over the partitions.

The rate for more cores is arithmetic: cores divided by the CPU-seconds that the processor, the database and the broker
need for a row. It holds while partitions and processors are enough to keep the cores busy, and the disk keeps up.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from time import monotonic

from psycopg.sql import SQL

from bench.filling import TOPIC, make_topics, producer
from bench.report import Measure
from bench.stack import Connection, Stack, Usage, own_stack, until
from bench.ticks import SYMBOLS, key, tick, wire
from realtime.tables import POSITIONS, of_topic
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import admin

PARTITIONS = 4
CORES = (4, 8)
GROUP = "tidemark-realtime"
TRANSACTION_MS = 900_000  # the most that a broker allows by default
PARTS = {"processor": "processes", "database": "database", "broker": "broker"}
_CONSUMED = SQL("select coalesce(sum(next_offset - first_offset - empty_offsets), 0)::bigint from {}").format(POSITIONS)


@dataclass(frozen=True)
class Run:
    """One round: `usage` of all its processors together."""

    rows: int
    seconds: float
    usage: Usage

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    def cost(self, part: str) -> float:
        """CPU-seconds a million rows."""
        return float(getattr(self.usage, PARTS[part])) / self.rows * 1e6


def measure(records: int, rounds: int, whole: bool) -> list[Measure]:
    """One and two processors, alternating."""
    one: list[Run] = []
    two: list[Run] = []
    with own_stack(PARTITIONS) as stack, stack.connect() as connection:
        make_topics(stack)
        for _ in range(rounds):
            one.append(run(stack, connection, 1, records, whole))
            two.append(run(stack, connection, 2, records, whole))
    ratio = median(run.rate for run in two) / median(run.rate for run in one)
    costs = {part: [each.cost(part) for each in one] for part in PARTS}
    total = sum(median(values) for values in costs.values())
    return [
        Measure("scale_one_processor_rows_per_second", [run.rate for run in one]),
        Measure("scale_two_processors_rows_per_second", [run.rate for run in two]),
        Measure("scale_two_to_one_ratio", [ratio], goal=1.25),
        *(Measure(f"scale_{part}_cpu_seconds_per_million_rows", costs[part]) for part in PARTS),
        *(Measure(f"scale_rows_per_second_that_follow_for_{cores}_cores", [cores / total * 1e6]) for cores in CORES),
    ]


def run(stack: Stack, connection: Connection, processors: int, records: int, whole: bool) -> Run:
    """One round on empty tables; positions go on from the round before."""
    connection.execute(SQL("truncate {}").format(of_topic(TOPIC)))
    connection.execute("checkpoint")
    options = {"transactional_id": "bench", "transaction_timeout_ms": TRANSACTION_MS}
    with producer(stack, **options) as client, ExitStack() as processes:
        client.init_transactions()
        client.begin_transaction()
        for number in range(records):
            one = tick(number, whole=whole)
            client.send(TOPIC, wire(one), key(one), partition=number % SYMBOLS % PARTITIONS)
        client.flush()
        running = [processes.enter_context(stack.running("processor", "realtime")) for _ in range(processors)]
        until(lambda: is_shared_out(stack, processors), f"{processors} processors that share the partitions", running)
        consumed = _consumed(connection)
        before = stack.usage(running)
        began = monotonic()
        client.commit_transaction()
        until(lambda: _consumed(connection) >= consumed + records, "every record in the tables", running)
        seconds = monotonic() - began
        return Run(records, seconds, stack.usage(running) - before)


def _consumed(connection: Connection) -> int:
    """Records whose rows are committed."""
    found = connection.execute(_CONSUMED).fetchone()
    return int(found[0]) if found else 0


def is_shared_out(stack: Stack, processors: int) -> bool:
    """Whether the group is at rest, with so many members, and each holds as many partitions as the others."""
    from kafka.errors import KafkaError

    client = admin(stack.settings, KAFKA_ADMINISTRATOR)
    try:
        group = client.describe_groups([GROUP])[GROUP]
    except KafkaError:
        return False  # before its first member, a group has no coordinator
    finally:
        client.close()
    held = [
        sum(len(topic["partitions"]) for topic in member["member_assignment"]["assigned_partitions"])
        for member in group["members"]
        if member["member_assignment"]
    ]
    return group["group_state"] == "Stable" and held == [PARTITIONS // processors] * processors
