"""Each fault, planted on a stack that runs: what comes first is its name."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from catalog.results import of_contracts
from stream_shim.claims import claim, signed_by
from stream_shim.reports import SUPERVISOR, read_reports, report_path, write_process_report
from tests.stream_shim.conftest import Lane, made, tick, until
from tests.stream_shim.test_causes import CONNECTOR, PROCESSOR
from tests.stream_shim.test_faults import limit_file_size
from tests.stream_shim.test_lost_tail import kill_and_cut, produce
from tidemark.access.kafka_rights import GROUP_PREFIX
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client
from tidemark.stack import local
from tidemark.stack.ports import free_ports
from tidemark.stack.process import find
from tidemark.state_file import StateFile, write_whole
from watch.observation import WELL, Observation
from watch.observations import observe

Plant = Callable[[Lane], AbstractContextManager[None]]


@contextmanager
def sql(lane: Lane, database: str, statement: str, back: str) -> Iterator[None]:
    """A statement of the administrator, and what takes it back."""
    with psycopg.connect(lane.stack.dsn(database), autocommit=True) as owner:
        owner.execute(statement.encode())
        try:
            yield
        finally:
            owner.execute(back.encode())


def by_sql(database: str, statement: str, back: str = "select 1") -> Plant:
    return lambda lane: sql(lane, database, statement, back)


@contextmanager
def read(lane: Lane, count: int = 10) -> Iterator[None]:
    """A processor has read so many records, and runs on."""
    lane.produce("market_tick", [tick(number) for number in range(count)])
    with lane.running("processor"):
        lane.until_consumed(count)
        until(lambda: "realtime" in read_reports(lane.settings, "processor"), "its report")
        yield


def send_signal(lane: Lane, to: str, number: signal.Signals) -> psutil.Process:
    found = find(lane.settings.home, to)
    assert found is not None
    found.send_signal(number)
    return found


def server_stopped(name: str) -> Plant:
    @contextmanager
    def plant(lane: Lane) -> Iterator[None]:
        send_signal(lane, name, signal.SIGSTOP)
        try:
            yield
        finally:
            send_signal(lane, name, signal.SIGCONT)

    return plant


def server_killed(name: str) -> Plant:
    @contextmanager
    def plant(lane: Lane) -> Iterator[None]:
        server = find(lane.settings.home, name)
        assert server is not None
        children = server.children(recursive=True)
        server.kill()
        psutil.wait_procs([server, *children], timeout=30)
        try:
            yield
        finally:
            local.up(lane.stack.settings)

    return plant


@contextmanager
def processor_paused(lane: Lane) -> Iterator[None]:
    with read(lane):
        process = psutil.Process(read_reports(lane.settings, "processor")["realtime"]["pid"])
        process.suspend()
        lane.produce("market_tick", [tick(11)])
        try:
            yield
        finally:
            process.resume()


@contextmanager
def processor_gone_with_records_waiting(lane: Lane) -> Iterator[None]:
    with read(lane):
        pass
    lane.produce("market_tick", [tick(11)])
    yield


@contextmanager
def orphan(lane: Lane) -> Iterator[None]:
    """A processor that was started by a lane which is gone, and is stopped so that it does not see that."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with lane.running("processor", **{SUPERVISOR: str(gone.pid)}) as process:
        until(lambda: signed_by(lane.settings, "processor-realtime"), "its lock", 60)
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)


@contextmanager
def held(lane: Lane, kind: str, name: str, report: dict[str, Any]) -> Iterator[None]:
    """An entry whose process has the lock, and wrote this report."""
    _, lock = claim(lane.settings, kind, name, most=1)
    with lock:
        report_of(lane, kind, name, report)
        yield


def report_of(lane: Lane, kind: str, name: str, report: dict[str, Any]) -> None:
    file = StateFile(report_path(lane.settings, kind, name), logging.getLogger("test"))
    write_process_report(file, report)


@contextmanager
def state_not_written(lane: Lane) -> Iterator[None]:
    """As a process leaves its report on a full disk: old, and touched each second."""
    _, lock = claim(lane.settings, "processor", "realtime", most=1)
    with lock:
        path = report_path(lane.settings, "processor", "realtime")
        write_whole(path, PROCESSOR | {"pid": os.getpid(), "written_at": time.time() - 300})
        yield


def source(entry: str, moments: dict[str, float], **report: Any) -> Plant:
    """The report of a source; `moments` are in seconds from when it is planted, however late in a session."""

    @contextmanager
    def plant(lane: Lane) -> Iterator[None]:
        now = datetime.now(UTC).timestamp()
        said = report | {name: now + seconds for name, seconds in moments.items()}
        before = lane.settings.sources_file.read_text()
        lane.settings.sources_file.write_text(f"venue: {entry}\n")
        try:
            with held(lane, "connector", "venue", {**CONNECTOR, "source": "venue", "degraded": {}, **said}):
                yield
        finally:
            lane.settings.sources_file.write_text(before)

    return plant


@contextmanager
def connector_that_cannot_run(lane: Lane) -> Iterator[None]:
    files = {"SOURCES": lane.settings.sources_file, "DESTINATIONS": lane.settings.destinations_file}
    environ = {f"TIDEMARK_{name}_FILE": str(path) for name, path in files.items()}
    before = lane.settings.sources_file.read_text()
    lane.settings.sources_file.write_text(
        "venue: {kind: feed, url: 'http://${NOT_SET}/', event_publisher: x, unit: none}\n"
    )
    try:
        with lane.running("run", **environ, TIDEMARK_METRICS_PORT=str(free_ports(1)[0])):
            yield
    finally:
        lane.settings.sources_file.write_text(before)


@contextmanager
def file_cut_short(lane: Lane) -> Iterator[None]:
    before = lane.settings.sources_file.read_text()
    lane.settings.sources_file.write_text("venue: {kind: feed}\n")
    try:
        yield
    finally:
        lane.settings.sources_file.write_text(before)


@contextmanager
def topic_made_again(lane: Lane) -> Iterator[None]:
    with read(lane):
        pass
    with closing(KafkaAdminClient(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR))) as client:
        client.delete_topics(["market_tick"])
        until(lambda: "market_tick" not in client.list_topics(), "the topic to be gone")
    until(lambda: made(lane.settings), "another topic")
    yield


@contextmanager
def tail_lost(lane: Lane) -> Iterator[None]:
    with read(lane):
        pass
    lane.execute("update realtime.consumer_offset set log_end_offset = 1000000 where topic = 'market_tick'")
    yield


@contextmanager
def tail_lost_and_filled_again(lane: Lane) -> Iterator[None]:
    produce(lane, 1000, 100)
    with lane.running("processor"):
        until(lambda: lane.consumed() >= 100, "100 offsets consumed")
        end = lane.end_offset("market_tick")
        kill_and_cut(lane, end - 40)
        local.up(lane.settings)
        produce(lane, 2000, 100)
        yield


@contextmanager
def lane_ended(lane: Lane) -> Iterator[None]:
    took = "import sys; from stream_shim.claims import claim_lane; from tidemark.settings import Settings\n"
    took += "claim_lane(Settings(home=sys.argv[1]))"
    subprocess.run([sys.executable, "-c", took, str(lane.settings.home)], check=True)
    yield


@contextmanager
def password_open(lane: Lane) -> Iterator[None]:
    path = lane.settings.home / "credentials" / "promoter"
    path.chmod(0o644)
    try:
        yield
    finally:
        path.chmod(0o600)


@contextmanager
def lock_held(lane: Lane) -> Iterator[None]:
    with ExitStack() as both:
        both.enter_context(read(lane))
        one = both.enter_context(psycopg.connect(lane.stack.dsn("realtime")))
        one.execute("lock table realtime.consumer_offset in access exclusive mode")
        lane.produce("market_tick", [tick(11)])
        yield


@contextmanager
def transaction_idle(lane: Lane) -> Iterator[None]:
    with psycopg.connect(lane.stack.dsn("realtime", "promoter")) as connection:
        connection.execute("select 1")
        yield


@contextmanager
def disk_full_for_the_writer(lane: Lane) -> Iterator[None]:
    with read(lane, 50_000), ExitStack() as limited:
        with psycopg.connect(lane.stack.dsn("realtime"), autocommit=True) as owner:
            backend = "select pid from pg_stat_activity where application_name = 'tidemark-processor'"
            ((pid,),) = owner.execute(backend).fetchall()
        limit_file_size(pid, 8192)
        limited.callback(limit_file_size, pid, resource.RLIM_INFINITY)
        lane.produce("market_tick", [tick(number) for number in range(50_000)])
        yield


@contextmanager
def rebalance_held_up(lane: Lane) -> Iterator[None]:
    silent = KafkaConsumer(
        "market_tick", **kafka_client(lane.settings, KAFKA_ADMINISTRATOR), group_id=f"{GROUP_PREFIX}realtime",
        partition_assignment_strategy=[CooperativeStickyAssignor], auto_offset_reset="earliest",
        session_timeout_ms=300_000, max_poll_interval_ms=300_000, metadata_max_age_ms=2_000,
    )  # fmt: skip
    with read(lane):
        pass
    with closing(silent):
        until(lambda: silent.poll(timeout_ms=200) or silent.assignment(), "the silent member in the group", 120)
        lane.produce("market_tick", [tick()])
        with lane.running("processor", "realtime"):
            yield


@contextmanager
def transaction_of_kafka_open(lane: Lane) -> Iterator[None]:
    with read(lane):
        producer = KafkaProducer(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR), transactional_id="open-too")
        with closing(producer):
            producer.init_transactions()
            producer.begin_transaction()
            producer.send("market_tick", b"{}", partition=0).get(10)
            lane.produce("market_tick", [tick(11)])
            yield
            producer.abort_transaction()


@contextmanager
def bad_record(lane: Lane) -> Iterator[None]:
    with read(lane):
        lane.produce("market_tick", [b"{"])
        until(lambda: lane.count("quarantine"), "the record in quarantine")
        yield


@contextmanager
def undecided_record(lane: Lane) -> Iterator[None]:
    """It was put into quarantine before yesterday, and nobody has retried or dropped it."""
    with bad_record(lane):
        lane.execute("update realtime.quarantine set quarantined_at = now() - interval '2 days'")
        yield


@contextmanager
def row_gone(lane: Lane) -> Iterator[None]:
    with read(lane):
        pass
    newest = "select max(kafka_offset) from realtime.market_tick"
    lane.execute(f"delete from realtime.market_tick where kafka_offset = ({newest})")
    yield


A_CHECK = of_contracts()[0]
TODAY = datetime.now(UTC).date()
LONG_AGO = TODAY - timedelta(days=40)
VENUE = "{kind: ccxt, exchange: binance, trades: [BTC/USDT]}"
FEED = "{kind: feed, url: 'http://127.0.0.1:1/', event_publisher: nobody, unit: none, every_seconds: 1}"


def fault(title: str, plant: Plant, mend: str, long: bool = False) -> Any:
    """What is seen first, how it is planted, and what mends it."""
    return pytest.param(title, plant, mend, id=title, marks=[pytest.mark.faults] if long else [])


FAULTS = [
    fault("password open to others", password_open, "chmod 600 "),
    fault(
        "database takes no writes: warehouse",
        by_sql(
            "warehouse",
            "alter database warehouse set default_transaction_read_only to on",
            "set default_transaction_read_only to off; alter database warehouse reset default_transaction_read_only",
        ),
        "database-does-not-answer",
    ),
    fault(
        "migration is pending: realtime",
        by_sql(
            "realtime",
            "create table public.kept as select * from migration.applied where room = 'realtime' and number = 6; "
            "delete from migration.applied where room = 'realtime' and number = 6",
            "insert into migration.applied select * from public.kept; drop table public.kept",
        ),
        "tidemark up",
    ),
    fault(
        "low head-room: realtime",
        by_sql(
            "realtime",
            f"drop table {', '.join(f'realtime.market_tick_{TODAY + timedelta(days):%Y%m%d}' for days in range(2, 8))}",
            "select realtime.ensure_days_ahead('market_tick')",
        ),
        "low-head-room",
        long=True,
    ),
    fault(
        "oldest day past its time: realtime",
        by_sql(
            "realtime",
            f"select realtime.ensure_partition('market_tick', '{LONG_AGO}')",
            f"drop table realtime.market_tick_{LONG_AGO:%Y%m%d}",
        ),
        "tidemark promote",
        long=True,
    ),
    fault("lock is held: realtime", lock_held, "select pg_terminate_backend(", long=True),
    fault("log cannot be read on: market_tick", topic_made_again, "tidemark stream epoch market_tick", long=True),
    fault("log cannot be read on: market_tick", tail_lost, "tidemark stream epoch market_tick", long=True),
    fault("the lane does not run: supervisor", lane_ended, "tidemark stream run"),
    fault("file is wrong: sources.yml", file_cut_short, "docs/sources.md"),
    fault("reports no more: realtime", processor_paused, "kill -CONT ", long=True),
    fault("state not written: realtime", state_not_written, "state-not-written"),
    fault("orphan process: realtime", orphan, "kill ", long=True),
    fault("lag: realtime market_tick", processor_gone_with_records_waiting, "stopped-processor", long=True),
    fault("lag: realtime market_tick", transaction_of_kafka_open, "stopped-processor", long=True),
    fault("silent source: venue", source(VENUE, {"last_message_at": -900}), "silent-source", long=True),
    fault("failing source: venue", source(FEED, {"failing_since": -900}), "failing-source"),
    fault(
        "degraded source: venue: XRP",
        source(VENUE, {"last_message_at": 900}, degraded={"XRP": "expected a symbol"}),
        "degraded-source",
        long=True,
    ),
    fault("growing quarantine: realtime", bad_record, "tidemark quarantine list", long=True),
    fault("undecided quarantine: realtime", undecided_record, "tidemark quarantine list", long=True),
    fault("balance is not 0: realtime", row_gone, "tidemark account", long=True),
    fault(
        "check failed: quality",
        by_sql(
            "warehouse",
            "insert into quality.results (run_id, tool, check_type, severity, table_name, dataset, check_name, "
            "outcome, checked_at) values ('r', 'soda', 'missing', 'error', 'c', "
            f"'{A_CHECK.table.name}', '{A_CHECK.test}', 'failed', now())",
            "truncate quality.results",
        ),
        "tidemark check",
    ),
    fault("server does not run: postgres", server_stopped("postgres"), "kill -CONT ", long=True),
    fault("server does not run: kafka", server_stopped("kafka"), "kill -CONT ", long=True),
    fault("server does not run: prefect", server_stopped("prefect"), "kill -CONT ", long=True),
    fault("server does not run: postgres", server_killed("postgres"), "tidemark up", long=True),
    fault("server does not run: kafka", server_killed("kafka"), "tidemark up", long=True),
    fault("server does not run: prefect", server_killed("prefect"), "tidemark up", long=True),
    fault("the guard does not run", server_killed("guard"), "tidemark up", long=True),
    fault("keeps dying: venue", connector_that_cannot_run, "keeps-dying", long=True),
    fault("stopped processor: realtime", disk_full_for_the_writer, "stopped-processor", long=True),
    fault("lag: realtime market_tick", rebalance_held_up, "stopped-processor", long=True),
    fault("transaction hangs: realtime", transaction_idle, "select pg_terminate_backend(", long=True),
    fault("log cannot be read on: market_tick", tail_lost_and_filled_again, "tidemark stream epoch", long=True),
]


def wrong(lane: Lane, known: set[str]) -> list[Observation]:
    """What is wrong and was not before, the worst first."""
    return [one for one in observe(lane.settings) if one.state not in WELL and one.title not in known]


@pytest.mark.parametrize(("title", "plant", "mend"), FAULTS)
def test_a_fault_comes_first_with_its_name_and_what_mends_it(
    title: str, plant: Plant, mend: str, lane: Lane, known: set[str]
) -> None:
    assert wrong(lane, known) == []
    seen: list[Observation | None] = []

    seen_last: list[Observation] = []

    def is_first() -> bool:
        # Topics keep the bad records of faults before: who reads from the beginning puts them into quarantine again.
        quarantined = "growing quarantine: realtime"
        seen_last[:] = [one for one in wrong(lane, known) if one.title.startswith(title) or one.title != quarantined]
        seen.append(next(iter(seen_last), None))
        return seen[-1] is not None and seen[-1].title.startswith(title)

    with plant(lane):
        try:
            until(is_first, title, 100)
        finally:
            print(seen[-1])  # pytest shows it where the test fails
    assert seen[-1] is not None
    assert mend in seen[-1].mend
    if mend.startswith("kill -CONT"):
        assert not [one.title for one in seen_last if one.mend == "tidemark up" and one.title not in known]
    assert seen[-1].sentence
