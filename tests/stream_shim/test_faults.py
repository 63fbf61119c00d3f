"""Faults while rows are on their way; afterwards every row is counted, and the balance is exact.

Run by `make test-faults`. A schedule comes from a seed, is printed, and can be run again: `SEED=7 make test-faults`;
`SEEDS=200` asks for that many random moments (20 where nothing is asked).
"""

import json
import os
import random
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import psutil
import psycopg
import pytest

from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.topics import ensure_topics
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.settings import Settings
from tidemark.stack import local
from tidemark.stack.process import find

pytestmark = pytest.mark.faults

MOMENTS = int(os.environ.get("SEEDS") or 20)
SEED = int(os.environ.get("SEED") or 1)
KILLS_PER_LOAD = 20
ROWS = 500_000


@pytest.fixture
def schedule() -> random.Random:
    """Random moments that can be had again."""
    print(f"SEED={SEED} SEEDS={MOMENTS}")
    return random.Random(SEED)


def load(lane: Lane, rows: int, first: int = 0) -> None:
    """Put `rows` different ticks into the topic."""
    lane.produce("market_tick", [tick(number) for number in range(first, first + rows)], batch_size=128 * 1024)


def assert_exact(lane: Lane, rows: int) -> None:
    """Every row once, and nothing unaccounted for."""
    assert lane.count("market_tick") == rows
    assert lane.doubled() == []
    assert lane.unbalanced() == []
    assert lane.query("select count(distinct attributes ->> 'id') from realtime.market_tick") == [(rows,)]


def server(lane: Lane, name: str) -> psutil.Process:
    found = find(lane.settings.home, name)
    assert found is not None, f"expected {name} to run"
    return found


@contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[None]:
    yield
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", range(-(-MOMENTS // KILLS_PER_LOAD)))
def test_kill_9_of_the_processor_at_random_moments(lane: Lane, schedule: random.Random, number: int) -> None:
    kills = min(KILLS_PER_LOAD, MOMENTS - number * KILLS_PER_LOAD)
    rows = ROWS * kills // KILLS_PER_LOAD
    moments = sorted(random.Random(f"{SEED}.{number}").sample(range(1, rows), kills))
    print(f"killed when so many offsets are consumed: {moments}")
    load(lane, rows)
    for moment in moments:
        with lane.running("processor") as process, killed(process):
            lane.until_consumed(moment, 120)
    with lane.running("processor"):
        until(lambda: lane.consumed() == rows, "everything consumed", 300)
    assert_exact(lane, rows)


def test_kill_9_of_the_broker_and_restart(lane: Lane, schedule: random.Random) -> None:
    moment = schedule.randrange(1, 50_000)
    print(f"killed when so many offsets are consumed: {moment}")
    load(lane, 100_000)
    with lane.running("processor"):
        lane.until_consumed(moment, 120)
        broker = server(lane, "kafka")
        broker.kill()
        broker.wait(60)
        local.up(lane.settings)
        load(lane, 1_000, first=100_000)
        until(lambda: lane.consumed() == 101_000, "everything consumed", 180)
    assert_exact(lane, 101_000)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_postgres_stopped_and_killed_while_rows_come(lane: Lane, how: signal.Signals) -> None:
    """SIGINT is Postgres's fast shutdown; the processor waits, quarantines nothing, and goes on."""
    load(lane, 100_000)
    with lane.running("processor"):
        until(lambda: lane.consumed() > 0, "some consumed", 120)
        postgres = server(lane, "postgres")
        children = postgres.children(recursive=True)
        postgres.send_signal(how)
        psutil.wait_procs([postgres, *children], timeout=30)
        log = lane.settings.home / "logs" / "processor-realtime.log"
        until(lambda: "nothing was committed" in log.read_text(), "the processor to wait", 60)
        local.up(lane.settings)
        until(lambda: lane.consumed() == 100_000, "everything consumed", 180)
    assert_exact(lane, 100_000)
    assert lane.count("quarantine") == 0


def test_a_paused_processor_that_wakes_up_does_not_write(lane: Lane) -> None:
    load(lane, 200_000)
    with lane.running("processor") as first:
        until(lambda: lane.consumed() > 0, "the first to consume", 120)
        first.send_signal(signal.SIGSTOP)
        with lane.running("processor"):
            until(lambda: lane.consumed() == 200_000, "the second to consume the rest", 180)
            first.send_signal(signal.SIGCONT)
            load(lane, 1_000, first=200_000)
            until(lambda: lane.consumed() == 201_000, "everything consumed", 120)
    assert_exact(lane, 201_000)


def test_a_second_processor_shares_the_partitions_and_nothing_is_lost_or_doubled(lane: Lane) -> None:
    entries = read_topics(lane.settings.topics_file)
    import msgspec

    ensure_topics(
        lane.settings, {**entries, "market_tick": msgspec.structs.replace(entries["market_tick"], partitions=3)}
    )
    files = {"TIDEMARK_TOPICS_FILE": str(_with_partitions(lane.settings, 3))}
    produced = 0
    with ExitStack() as running:
        for _ in range(4):  # more processors than partitions, in the end
            running.enter_context(lane.running("processor", **files))
            _produce_everywhere(lane, 10_000, produced)
            produced += 30_000
            until(lambda: lane.consumed() == produced, f"{produced} consumed", 120)  # noqa: B023 - awaited at once
    assert_exact(lane, produced)


def _with_partitions(settings: Settings, partitions: int) -> object:
    path = settings.home / "topics-with-more-partitions.yml"
    text = settings.topics_file.read_text()
    head, _, rest = text.partition("\nmarket_tick:\n  partitions: 1\n")
    path.write_text(f"{head}\nmarket_tick:\n  partitions: {partitions}\n{rest}")
    return path


def _produce_everywhere(lane: Lane, rows: int, first: int) -> None:
    from kafka import KafkaProducer

    from tidemark.credentials import KAFKA_ADMINISTRATOR
    from tidemark.kafka import kafka_client

    producer = KafkaProducer(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR), linger_ms=5)
    for number in range(3 * rows):
        producer.send("market_tick", json.dumps(tick(first + number)).encode(), partition=number % 3)
    producer.flush()
    producer.close()


def limit_file_size(pid: int, limit: int) -> None:
    """Set how long a file the process may write, as the user that it runs as: not every root may for another."""
    there = psutil.Process(pid)
    uid, gid = there.uids().real, there.gids().real
    if (child := os.fork()) == 0:  # nothing but calls of the system from here on
        try:
            if uid != os.getuid():
                os.setgroups([])
                os.setgid(gid)
                os.setuid(uid)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "expected to limit the backend's files"


def test_a_database_that_cannot_grow_its_files_stops_the_processor_and_it_resumes(lane: Lane) -> None:
    """What a full disk is to Postgres: a file that cannot be extended. Here by a limit on the writer's own backend."""
    load(lane, 50_000)
    with lane.running("processor"):
        until(lambda: lane.consumed() == 50_000, "the first rows", 120)
        with psycopg.connect(lane.stack.dsn("realtime"), autocommit=True) as owner:
            backend = "select pid from pg_stat_activity where application_name = 'tidemark-processor'"
            ((pid,),) = owner.execute(backend).fetchall()
            limit_file_size(pid, 8192)
            load(lane, 50_000, first=50_000)
            log = lane.settings.home / "logs" / "processor-realtime.log"
            until(lambda: "nothing was committed" in log.read_text(), "the processor to say why it waits", 60)
            consumed = lane.consumed()
            assert consumed < 100_000
            limit_file_size(pid, resource.RLIM_INFINITY)
        until(lambda: lane.consumed() == 100_000, "the rest", 120)
    assert_exact(lane, 100_000)
    assert lane.count("quarantine") == 0


def test_a_processor_ends_within_five_seconds_of_sigterm_whatever_the_backlog(lane: Lane) -> None:
    load(lane, 300_000)
    with lane.running("processor") as process:
        until(lambda: lane.consumed() > 0, "some consumed", 120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
        stored = lane.consumed()
    assert lane.count("market_tick") == stored
    with lane.running("processor"):
        until(lambda: lane.consumed() == 300_000, "the rest", 180)
    assert_exact(lane, 300_000)


def test_a_processor_that_hangs_while_it_sends_rows_is_ended_by_who_waits_for_it(lane: Lane) -> None:
    load(lane, 10)
    with lane.running("processor"):
        until(lambda: lane.consumed() == 10, "10 offsets consumed")
    hanging = lane.stack.dsn("realtime", "stream_writer")
    with (
        closing(psycopg.connect(hanging, application_name="tidemark-processor")) as connection,
        ExitStack() as sending,
    ):
        connection.execute("update realtime.consumer_offset set updated_at = now() where topic = 'market_tick'")
        sending.enter_context(connection.cursor().copy("copy realtime.market_tick (source_system) from stdin"))
        load(lane, 10, first=10)
        with lane.running("processor"):
            until(lambda: lane.consumed() == 20, "the rest consumed", 150)
        with pytest.raises(psycopg.errors.AdminShutdown):
            sending.close()
    assert_exact(lane, 20)
