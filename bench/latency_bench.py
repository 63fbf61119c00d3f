"""From a connector's send to a row that a reader sees, at a steady rate.

A process of its own sends ticks through the lane's publisher, each at its moment, and notes when it called `send`. A
reader asks every few milliseconds how far the committed rows go: the processor's position is in the same transaction as
the rows, so whoever sees the position sees the rows, at the price of reading one row. With one partition and one
producer the n-th tick is offset n. A tick's latency ends when the reader's answer was there, so it is rather too long,
by up to the pause between two questions.
"""

from array import array
from bisect import bisect_left
from multiprocessing import get_context
from pathlib import Path
from statistics import quantiles
from time import monotonic, sleep

from psycopg.sql import SQL

from bench.filling import TOPIC, make_topics
from bench.report import Measure
from bench.stack import Connection, own_stack, until
from bench.ticks import SOURCE, tick
from realtime import positions
from realtime.tables import POSITIONS
from tidemark.settings import Settings

RATE = 5000  # ticks a second
WARM_UP = 5000  # ticks that are not counted: the first rows make the group, the partition, the plans
PAUSE = 0.003
BURST = 0.002

_POSITION = SQL("select coalesce(max(next_offset), 0) from {} where topic = 'market_tick'").format(POSITIONS)


def measure(seconds: int) -> list[Measure]:
    """One run of so many seconds."""
    total = WARM_UP + RATE * seconds
    with own_stack() as stack, stack.connect() as connection:
        make_topics(stack)
        with stack.running("processor", "realtime") as process:
            until(lambda: _has_position(connection), "a processor that holds its partition", [process])
            times = stack.settings.home / "sent"
            sender = get_context("spawn").Process(target=send_steadily, args=(stack.settings, total, times))
            sender.start()
            try:
                seen = watch(connection, total, seconds + 120)
                sender.join(30)
            finally:
                sender.kill()
        sent = array("d", times.read_bytes())
    return _measures(sent, latencies_ms(sent, seen))


def _measures(sent: "array[float]", found: list[float]) -> list[Measure]:
    cuts = quantiles(found, n=100)
    rate = (len(sent) - WARM_UP) / (sent[-1] - sent[WARM_UP])
    return [
        Measure("latency_sent_per_second", [rate], goal=0.98 * RATE),
        Measure("latency_p50_ms", [cuts[49]], goal=100, lower_is_better=True),
        Measure("latency_p99_ms", [cuts[98]], goal=500, lower_is_better=True),
        Measure("latency_most_ms", [max(found)]),
    ]


def _has_position(connection: Connection) -> bool:
    return positions.newest_epoch(connection, TOPIC) is not None


def send_steadily(settings: Settings, total: int, times: Path) -> None:
    """Send tick n at its moment, through the publisher; then write when each was sent, in monotonic seconds."""
    from msgspec.json import decode

    from stream_shim.buffer.encoding import Datum
    from stream_shim.buffer.publisher import Publisher

    publisher = Publisher(settings, SOURCE)
    sent = array("d")
    began = monotonic()
    while len(sent) < total:
        due = min(total, int((monotonic() - began) * RATE))
        for number in range(len(sent), due):
            one = tick(number)
            fields = {"source_system": SOURCE, "symbol": one.symbol, "timestamp": one.time, "price": one.price}
            datum = Datum(TOPIC, {**fields, "size": one.size}, decode(one.attributes), 0)
            sent.append(monotonic())
            publisher.send(datum)
        sleep(BURST)
    publisher.close()
    times.write_bytes(sent.tobytes())


def watch(connection: Connection, total: int, seconds: float) -> list[tuple[int, float]]:
    """(how many rows are committed, when the reader knew) for each time that there were more."""
    seen = [(0, monotonic())]
    deadline = monotonic() + seconds
    while seen[-1][0] < total and monotonic() < deadline:
        (position,) = connection.execute(_POSITION).fetchone() or (0,)
        if position > seen[-1][0]:
            seen.append((position, monotonic()))
        sleep(PAUSE)
    return seen


def latencies_ms(sent: "array[float]", seen: list[tuple[int, float]]) -> list[float]:
    """Of every tick after the warm-up, from its send to the first answer that covers its offset."""
    positions = [position for position, _ in seen]
    return [
        (seen[bisect_left(positions, offset + 1)][1] - at) * 1000
        for offset, at in enumerate(sent) if offset >= WARM_UP
    ]  # fmt: skip
