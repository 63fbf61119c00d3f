"""Memory has a limit in bytes, whatever a topic takes: of a processor, and of the local broker."""

from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError

from tests.stream_shim.conftest import Lane, tick, until
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client
from tidemark.stack.process import find

MB = 1024 * 1024
LONG = pytest.mark.faults
MOST_RESIDENT = 400 * MB
# Of a record of 900 kB: one letter, which a codec brings to nothing, and text that takes most of memory, as each of its
# letters takes four bytes there and is escaped twice on its way to the database.
LETTERS, WIDE = "x" * 900_000, "wide \U0001f30a " + "\\" * 449_000


def most_resident(pid: int) -> int:
    """Bytes: the most that a process has held in memory since it began."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def resident_after(lane: Lane, records: int) -> int:
    """What a processor holds at most, until all records of market_tick are in the database."""
    with lane.running("processor", "realtime") as process:
        until(lambda: lane.consumed() == records or process.poll() is not None, "all records read", 120)
        assert process.poll() is None
        return most_resident(process.pid)


@pytest.mark.parametrize(
    ("codec", "text"),
    [(None, WIDE), pytest.param("gzip", LETTERS, marks=LONG), pytest.param("lz4", WIDE, marks=LONG), ("zstd", WIDE)],
)
def test_many_of_the_largest_rows_take_a_bounded_memory(lane: Lane, codec: str | None, text: str) -> None:
    batch = 150 * MB if codec else MB  # compressed, all are one batch of some kB
    ticks = [tick(number, attributes={"id": str(number), "note": text}) for number in range(60)]
    lane.produce("market_tick", ticks, compression_type=codec, batch_size=batch)
    assert resident_after(lane, 60) < MOST_RESIDENT
    assert (lane.count("market_tick"), lane.count("quarantine"), lane.unbalanced()) == (60, 0, [])


@LONG
def test_a_record_larger_than_memory_costs_itself_alone(lane: Lane) -> None:
    for value in (tick(1), b"x" * 120 * MB, tick(2)):
        lane.produce("market_tick", [value], compression_type="zstd", max_request_size=130 * MB)
    assert resident_after(lane, 3) < MOST_RESIDENT
    ((reason, detail, kept),) = lane.query("select reason, detail, length(payload) from realtime.quarantine")
    assert (reason, str(120 * MB + len(b"key")) in detail) == ("too_large", True)
    assert 4 * MB < kept < 5 * MB
    assert (lane.count("market_tick"), lane.unbalanced()) == (2, [])


@pytest.mark.parametrize("codec", [None, *(pytest.param(codec, marks=LONG) for codec in ("gzip", "lz4", "zstd"))])
def test_a_record_of_120_mb_leaves_the_local_broker_running(lane: Lane, codec: str | None) -> None:
    broker = find(lane.settings.home, "kafka")
    large = KafkaProducer(
        **kafka_client(lane.settings, KAFKA_ADMINISTRATOR), max_request_size=130 * MB, compression_type=codec,
        retries=0, request_timeout_ms=20_000,
    )  # fmt: skip
    sent = large.send("market_tick", b"x" * 120 * MB, partition=0)
    if codec is None:
        with pytest.raises(KafkaError):
            sent.get(timeout=30)
    else:
        sent.get(timeout=30)
    large.close(timeout=5)
    lane.produce("market_tick", [tick()])
    assert broker is not None
    assert broker.is_running()
