"""The lane's second processor: when it is begun and ended, who shares what, and that nothing is lost or doubled."""

import csv
import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.protocol.consumer.metadata import ConsumerProtocolSubscription

from realtime.positions import Position
from stream_shim.destinations.entries import parse_destinations
from stream_shim.processor.assignor import EachTopicShared
from stream_shim.processor.counts import Counts
from stream_shim.processor.destination import Written
from stream_shim.reports import fresh_reports, read_reports, report_path, write_process_report
from stream_shim.running.second import CHANGE_SECONDS, Decision, SecondProcessors, Seen
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.errors import ConfigurationError
from tidemark.kafka import kafka_client
from tidemark.settings import Settings
from tidemark.stack.ports import free_ports
from tidemark.state_file import StateFile
from watch import lane as watched

RECORDED = Path(__file__).parents[1] / "cases" / "second_processor.csv"
TOPICS = ["market_tick", "order_book_l2", "economic_event_numeric", "economic_event_text"]
WITH_TWO = f"realtime: {{kind: postgres, processors: 2, topics: [{', '.join(TOPICS)}]}}\n"


def changes(decision: Decision, looks: Iterable[tuple[float, Seen]]) -> list[float]:
    """The moments at which it changed its mind, in seconds."""
    found = []
    for now, seen in looks:
        had = decision.has_second
        if decision.look(now, seen) != had:
            found.append(now)
    return found


def looks(begin: float, seconds: int, *seen: Any) -> Iterator[tuple[float, Seen]]:
    """The same each second."""
    return ((begin + second, Seen(*seen)) for second in range(seconds))


def test_of_a_recorded_overload_one_second_processor_is_started_before_the_lag_is_5_s() -> None:
    with RECORDED.open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    seen = [(row["seconds"], Seen(row["lag_seconds"], int(row["rows"]), int(row["processors"]))) for row in rows]
    (started,) = changes(Decision(), seen)
    assert max(row["true_lag_seconds"] for row in rows if row["seconds"] <= started) < 5
    assert rows[-1]["true_lag_seconds"] < 1  # by the second one


def test_a_lag_of_one_look_or_one_that_a_person_shares_starts_none() -> None:
    assert changes(Decision(), [*looks(0, 1, 9.0, 0, 1), *looks(1, 1, 0.0, 9, 1), *looks(2, 1, 9.0, 0, 1)]) == []
    assert changes(Decision(), looks(0, 900, 9.0, 100, 2)) == []


def test_the_second_one_ends_once_one_alone_would_do_and_not_before_five_minutes() -> None:
    decision = Decision()
    assert changes(decision, looks(0, 60, 3.0, 100, 1)) == [1]  # one takes 100 a second
    assert changes(decision, looks(60, 900, 0.2, 80, 2)) == []  # as much as one can hardly take
    ended = changes(decision, looks(960, 900, 0.2, 50, 2))
    assert len(ended) == 1
    assert ended[0] - 960 >= CHANGE_SECONDS / 2  # the window in which much came still is over first
    assert not decision.has_second


@pytest.mark.parametrize("change_seconds", [CHANGE_SECONDS, 20.0])
def test_whatever_the_lag_does_there_is_at_most_one_change_in_the_time(change_seconds: float) -> None:
    decision, restless = Decision(change_seconds), [*[(3.0, 100)] * 2, *[(0.0, 1)] * 4]
    spells = [spell for spell in restless for _ in range(int(change_seconds / 3))]
    found = changes(
        decision,
        ((float(now), Seen(lag, rows, 1 + decision.has_second)) for now, (lag, rows) in enumerate(spells * 8)),
    )
    assert len(found) >= 6
    assert min(later - earlier for earlier, later in pairwise(found)) >= change_seconds


def test_only_postgres_has_two_processors() -> None:
    assert parse_destinations(WITH_TWO, Path("destinations.yml"))["realtime"].processors == 2
    for text in ("a: {kind: lake, path: a, processors: 2, topics: [market_tick]}\n",
                 "a: {kind: kafka, bootstrap: 'k:1', processors: 2, topics: [market_tick]}\n"):  # fmt: skip
        with pytest.raises(ConfigurationError, match=r"processors.*only postgres keeps its positions with its rows"):
            parse_destinations(text, Path("destinations.yml"))
    for wrong in ("0", "3", "true", "-1"):
        with pytest.raises(ConfigurationError, match="processors"):
            parse_destinations(WITH_TWO.replace("processors: 2", f"processors: {wrong}"), Path("destinations.yml"))


def report(lag: float, partitions: int, waiting_for: str = "") -> dict[str, Any]:
    """What a processor says, as far as a second one depends on it."""
    return {
        "destination": "realtime", "waiting_for": waiting_for, "headroom_days": 7, "rejects": {}, "rows": {},
        "lag_seconds": {"market_tick": lag}, "partitions": {"market_tick": partitions},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "names", "sentence"),
    [
        ((report(3.0, 2), ""), {"realtime"}, "it lags by 3.0 s; a second one is started"),
        ((report(3.0, 1), ""), set(), "it has one partition, which two processors cannot share"),
        ((report(3.0, 2), "replay\n"), set(), "its records have the time of a replay"),
        ((report(3.0, 2, "the database does not answer"), ""), set(), ""),
        (({**report(3.0, 2), "partitions": {}}, ""), set(), ""),
    ],
    ids=["two partitions", "one partition", "a replay", "a database that is away", "no partition yet"],
)
def test_by_the_reports_it_is_decided_and_said_once(
    said: tuple[dict[str, Any], str], names: set[str], sentence: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(home=tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "mark").write_text(said[1])
    file = StateFile(report_path(settings, "processor", "realtime"), logging.getLogger("tidemark.processor"))
    second, entries = SecondProcessors(settings), parse_destinations(WITH_TWO, Path("destinations.yml"))
    for _ in range(4):
        write_process_report(file, said[0])
        second.look(entries)
    assert second.names == names
    assert [sentence in record.getMessage() for record in caplog.records] == ([True] if sentence else [])
    second.look(parse_destinations(WITH_TWO.replace("processors: 2, ", ""), Path("destinations.yml")))
    assert second.names == set()


def test_what_comes_after_a_quiet_time_has_not_lagged_for_so_long() -> None:
    counts, partition, now = Counts("realtime"), TopicPartition("market_tick", 0), time.time()
    counts.place(partition, Position(0, 100), 100)
    counts.see_read({partition: 110})
    counts.commit(Written({"market_tick": 10}, {}), 0.1, {partition: (110, now - 600, None)})
    assert counts.report(7)["lag_records"] == {"market_tick": 0}
    counts.see_read({partition: 120})
    said = counts.report(7)
    assert said["lag_records"] == {"market_tick": 10}
    assert said["partitions"] == {"market_tick": 1}
    assert said["lag_seconds"]["market_tick"] < 60


class Logs(NamedTuple):
    """The partitions of topics, as the assignor asks for them."""

    partitions: dict[str, int]

    def topics(self) -> set[str]:
        return set(self.partitions)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.partitions[topic])) if topic in self.partitions else None


class Member(NamedTuple):
    """A member of a group, and what it says."""

    member_id: str
    metadata: ConsumerProtocolSubscription


def member(name: str, topics: Iterable[str], owned: Iterable[tuple[str, list[int]]]) -> Member:
    said = ConsumerProtocolSubscription(version=1, topics=sorted(topics), user_data=b"", owned_partitions=[])
    there = ConsumerProtocolSubscription.TopicPartition
    said.owned_partitions = [there(topic=topic, partitions=partitions) for topic, partitions in owned]
    return Member(name, said)


@pytest.mark.parametrize("partitions", [1, 2, 4, 5])
@pytest.mark.parametrize("names", ["ab", "ba", "abc"])
def test_each_topic_of_several_partitions_is_shared_evenly_and_stays_so(partitions: int, names: str) -> None:
    logs, held = Logs(dict.fromkeys(TOPICS, 1) | {"market_tick": partitions}), dict[str, dict[str, list[int]]]()
    held[names[0]] = {topic: sorted(logs.partitions_for_topic(topic) or ()) for topic in TOPICS}
    rounds = []
    for _ in range(3):  # what moves is given up in the first, and given in the second
        members = [member(name, TOPICS, held.get(name, {}).items()) for name in names]
        given = EachTopicShared().assign(logs, members)
        held = {name: dict(share.assigned_partitions) for name, share in given.items()}
        rounds.append(held)
    everywhere = sorted((topic, each) for share in held.values() for topic, ps in share.items() for each in ps)
    assert everywhere == sorted((topic, each) for topic in TOPICS for each in range(logs.partitions[topic]))
    ticks = sorted(len(share.get("market_tick", ())) for share in held.values())
    assert ticks[-1] - ticks[0] <= 1
    assert rounds[1] == rounds[2]


def restarts(settings: Settings) -> dict[str, int]:
    """By process of the lane, how often it was started again."""
    found: dict[str, int] = read_reports(settings, "supervisor").get("stream", {}).get("restarts", {})
    return found


SLOW = """
create function realtime.slow() returns trigger language plpgsql as $$
begin
    perform pg_sleep(0.01);
    return new;
end $$;
create trigger slow before insert on realtime.market_tick for each row execute function realtime.slow();
"""  # one session writes 100 rows a second at most, two write twice that, and no processor time is spent
A_SECOND = 140


@contextmanager
def slowed(lane: Lane) -> Iterator[None]:
    lane.execute(SLOW)
    try:
        yield
    finally:
        lane.execute("drop trigger slow on realtime.market_tick")
        lane.execute("drop function realtime.slow()")


class Producing(threading.Thread):
    """A_SECOND ticks a second, one after the other into both partitions, until it is ended."""

    def __init__(self, lane: Lane) -> None:
        super().__init__()
        self.sent_at: list[float] = []  # by number
        self._lane, self._ended = lane, threading.Event()

    def run(self) -> None:
        producer = KafkaProducer(**kafka_client(self._lane.settings, KAFKA_ADMINISTRATOR), linger_ms=5)
        began = time.monotonic()
        while not self._ended.wait(0.05):
            while len(self.sent_at) < (time.monotonic() - began) * A_SECOND:
                number = len(self.sent_at)
                producer.send("market_tick", json.dumps(tick(number)).encode(), b"key", partition=number % 2)
                self.sent_at.append(time.monotonic())
        producer.flush()
        producer.close()

    def end(self) -> int:
        """How many it has sent."""
        self._ended.set()
        self.join()
        return len(self.sent_at)

    def lag(self) -> float:
        """Seconds since the first tick was sent that is not yet in the table, of the partition that is worse."""
        stored = self._lane.query(
            "select kafka_partition, next_offset from realtime.consumer_offset where topic = 'market_tick'"
        )
        first = min((2 * offset + partition for partition, offset in stored), default=0)
        return time.monotonic() - self.sent_at[first] if first < len(self.sent_at) else 0.0


def processors(supervisor: int) -> set[str]:
    """The labels of the processors that it has started."""
    found = set()
    for child in psutil.Process(supervisor).children():
        with suppress(psutil.NoSuchProcess):
            found.add(child.cmdline()[-1])
    return found


def ticks_read(settings: Settings) -> dict[str, int]:
    """By label, how many partitions of market_tick it has."""
    reports = fresh_reports(settings, "processor")
    return {label: each.get("partitions", {}).get("market_tick", 0) for label, each in reports.items()}


@pytest.mark.faults  # it waits for a lag to grow and to fall
def test_a_lane_that_lags_starts_a_second_processor_and_both_bring_every_row_once(lane: Lane, tmp_path: Path) -> None:
    topics, destinations, sources = (tmp_path / f"{name}.yml" for name in ("topics", "destinations", "sources"))
    text = lane.settings.topics_file.read_text()
    topics.write_text(text.replace("\nmarket_tick:\n  partitions: 1\n", "\nmarket_tick:\n  partitions: 2\n"))
    destinations.write_text(WITH_TWO)
    sources.write_text("{}\n")
    environ = {
        "TIDEMARK_TOPICS_FILE": str(topics), "TIDEMARK_DESTINATIONS_FILE": str(destinations),
        "TIDEMARK_SOURCES_FILE": str(sources), "TIDEMARK_METRICS_PORT": str(free_ports(1)[0]),
    }  # fmt: skip
    settings = lane.settings.model_copy(update={"destinations_file": destinations, "sources_file": sources})
    with slowed(lane), lane.running("run", **environ) as process:
        until(lambda: ticks_read(settings) == {"realtime": 2}, "one processor that has both partitions", 120)
        assert processors(process.pid) == {"realtime"}
        producing = Producing(lane)
        producing.start()
        try:
            until(lambda: "realtime#2" in processors(process.pid), "a second processor", 60)
            begun = producing.lag()
            assert begun < 5
            shared = {"realtime": 1, "realtime#2": 1}
            until(lambda: ticks_read(settings) == shared, "both to share the partitions", 120)
            most = producing.lag()
            until(lambda: producing.lag() < 1, "no lag, though as much comes as before", 180)
            psutil.Process(read_reports(settings, "processor")["realtime#2"]["pid"]).kill()
            until(lambda: restarts(settings).get("processor realtime#2") == 1, "its restart to be counted")
            until(lambda: ticks_read(settings) == shared, "another one to take its place", 120)
        finally:
            rows = producing.end()
        print(f"started at a lag of {begun:.1f} s, shared at {most:.1f} s; {rows} rows")
        until(lambda: lane.consumed() == rows, "everything consumed", 120)
        assert restarts(settings) == {"processor realtime": 0, "processor realtime#2": 1}
        running = {one.identity for one in watched.look(settings) if one.name == watched.HANGS and one.state == "ok"}
        assert running >= shared.keys()
        logs = settings.home / "logs"
        assert (logs / "stream.log").read_text().count("a second one is started") == 1
        assert "realtime: reads market_tick" in (logs / "processor-realtime#2.log").read_text()
        destinations.write_text(WITH_TWO.replace("processors: 2, ", ""))
        until(lambda: restarts(settings).keys() == {"processor realtime"}, "the second one to be ended")
        until(lambda: ticks_read(settings) == {"realtime": 2}, "one that has both partitions again", 60)
        assert "realtime#2" not in read_reports(settings, "processor")
        assert {one.state for one in watched.look(settings) if "#2" in one.identity} <= {"ok"}
    assert lane.count("market_tick") == rows
    assert lane.doubled() == lane.unbalanced() == []
    assert lane.query("select count(distinct attributes ->> 'id') from realtime.market_tick") == [(rows,)]
