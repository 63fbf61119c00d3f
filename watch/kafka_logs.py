"""Kafka's logs against what was taken of them, asked of Kafka and of the database: what a hung processor cannot say."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any, NamedTuple

from realtime import positions
from realtime.positions import LogState, Position
from stream_shim.destinations.entries import ROLL_SECONDS, DestinationEntry, read_destinations
from stream_shim.reports import fresh_reports
from tidemark.access.kafka_rights import GROUP_PREFIX
from tidemark.connections import kafka_bootstrap
from tidemark.errors import StackError
from tidemark.kafka import UNKNOWN_TOPIC, admin, lacking_on_topics, reachable_kafka, refused
from tidemark.settings import Settings
from watch.databases import enter
from watch.observation import RUNBOOK, Observation, State, one_line

ROLE = "catalog_reader"
MOVES_SECONDS = 3.0  # within so long a processor that lags takes something
ROLL_MARGIN_SECONDS = 30.0  # beyond the age at which a file of the lake is written
ENDED, LAG = "log cannot be read on", "lag"
Logs = dict[str, dict[int, LogState]]  # by topic and partition


class Read(NamedTuple):
    """What the database says of a topic: its epoch (None: nothing was read), how far, since when nothing moved."""

    epoch: positions.Epoch | None
    reaches: list[positions.Reach]
    moved_at: datetime | None


class Taken(NamedTuple):
    """How far a destination has come in one topic: by partition, and since when nothing moved, where that is kept."""

    offsets: Mapping[int, int]
    moved_at: datetime | None = None


def look(settings: Settings) -> Iterator[Observation]:
    """Each destination and topic: whether its log can be read on, and how much of it waits.

    What lags is asked once more, all of it after one wait: it may just be taken.
    """
    destinations = read_destinations(settings.destinations_file)
    topics = sorted({topic for entry in destinations.values() for topic in entry.topics})
    # Before the logs' ends are asked: a processor goes on meanwhile, and no log is shorter than what was read of it.
    read = _read(settings, _keep_positions(destinations))
    logs = _ask_logs(settings, topics)
    for topic, of_topic in read.items():
        yield _log(topic, of_topic, logs.get(topic))
    before = _sample(settings, destinations)
    behind = {name: _behind(taken, logs) for name, taken in before.items()}
    lags = {name for name, topics in behind.items() if any(topics.values())}
    if lags:
        threading.Event().wait(MOVES_SECONDS)
    after = before | _sample(settings, {name: destinations[name] for name in lags})
    for name, entry in destinations.items():
        for topic in entry.topics:
            still = _still(behind[name][topic], before[name][topic], after[name][topic])
            if still and entry.kind == "lake":
                offsets = before[name][topic].offsets
                still = _too_old(settings, name, entry, topic, {partition: offsets[partition] for partition in still})
            yield _lag(name, topic, behind[name][topic], bool(still), after[name][topic].moved_at)


def _keep_positions(destinations: Mapping[str, DestinationEntry]) -> list[str]:
    """The topics of the destination that keeps its positions with its rows, of which there is one at most."""
    return [topic for entry in destinations.values() if entry.kind == "postgres" for topic in entry.topics]


def _sample(settings: Settings, destinations: Mapping[str, DestinationEntry]) -> dict[str, dict[str, Taken]]:
    """How far each has come: by its stored positions, else by what its consumer group has committed."""
    found = {}
    for name, entry in destinations.items():
        if entry.kind == "postgres":
            with enter(settings, "realtime") as connection:
                found[name] = _positions(connection, entry.topics)
        else:
            committed = _committed(settings, name)
            found[name] = {topic: Taken(committed.get(topic, {})) for topic in entry.topics}
    return found


def _ask_logs(settings: Settings, topics: list[str]) -> Logs:
    """What Kafka says of the logs of those topics that it has; StackError where it does not answer."""
    from kafka.admin import OffsetSpec
    from kafka.structs import TopicPartition

    _require_listener(settings)
    with reachable_kafka(settings, ROLE), closing(admin(settings, ROLE, bootstrap_timeout_ms=5000)) as client:
        described = client.describe_topics(topics)
        if lacking := lacking_on_topics(ROLE, described):
            raise refused(settings, ROLE, lacking)
        there = [topic for topic in described if topic["error_code"] != UNKNOWN_TOPIC]
        wanted = [TopicPartition(t["name"], p["partition_index"]) for t in there for p in t["partitions"]]
        starts = client.list_partition_offsets(dict.fromkeys(wanted, OffsetSpec.EARLIEST), timeout_ms=5000)
        ends = client.list_partition_offsets(dict.fromkeys(wanted, OffsetSpec.LATEST), timeout_ms=5000)
    ids = {topic["name"]: str(topic["topic_id"]) for topic in there}
    found: Logs = {name: {} for name in ids}
    for one in wanted:
        found[one.topic][one.partition] = LogState(ids[one.topic], starts[one].offset, ends[one].offset)
    return found


def _require_listener(settings: Settings) -> None:
    """StackError at once where nobody listens: Kafka's client would try for long."""
    failures = []
    for address in kafka_bootstrap(settings).split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=3).close()
            return
        except OSError as error:
            failures.append(f"{address}: {error.strerror or error}")
    raise StackError(f"expected Kafka to listen, received {'; '.join(failures)}")


def _read(settings: Settings, topics: list[str]) -> dict[str, Read]:
    if not topics:
        return {}
    found = {}
    with enter(settings, "realtime") as connection:
        moved = positions.moved_at(connection)
        for topic in topics:
            epoch = positions.newest_epoch(connection, topic)
            reaches = positions.reaches(connection, topic, epoch.log_epoch) if epoch else []
            found[topic] = Read(epoch, reaches, moved.get(topic))
    return found


def _log(topic: str, read: Read, log: Mapping[int, LogState] | None) -> Observation:
    """Whether the log is the one that was read, as far as its ids and offsets say."""
    epoch = read.epoch
    if epoch is None:
        return Observation(ENDED, "topic", topic, "ok", "nothing of it was read yet")
    said = "Kafka has no such topic any more" if log is None else ""
    for partition, state in (log or {}).items():
        if state.topic_id != epoch.topic_id:
            said = f"expected the topic with the id {epoch.topic_id}, received {state.topic_id}: it was made again"
            break
        for reach in read.reaches:
            if reach.partition == partition:
                said = said or _ended(topic, partition, reach.position, state)
    if not said:
        return Observation(ENDED, "topic", topic, "ok", "its log is the one that was read")
    return Observation(ENDED, "topic", topic, "failing", said, read.moved_at, f"tidemark stream epoch {topic}")


def _ended(topic: str, partition: int, position: Position, state: LogState) -> str:
    try:
        positions.check_log(topic, partition, position, state)
    except positions.EpochEnded as error:
        return one_line(error)
    short = state.end < position.seen_end
    return one_line(positions.shortened(topic, partition, position.seen_end, state.end)) if short else ""


def _positions(connection: Any, topics: list[str]) -> dict[str, Taken]:
    moved = positions.moved_at(connection)
    found = {}
    for topic in topics:
        epoch = positions.newest_epoch(connection, topic)
        reaches = positions.reaches(connection, topic, epoch.log_epoch) if epoch else []
        found[topic] = Taken({reach.partition: reach.position.next_offset for reach in reaches}, moved.get(topic))
    return found


def _behind(taken: Mapping[str, Taken], logs: Logs) -> dict[str, dict[int, int]]:
    """By topic and partition, the offsets that wait; nothing of a partition that was never read."""
    return {
        topic: {
            partition: logs[topic][partition].end - offset
            for partition, offset in of.offsets.items()
            if partition in logs.get(topic, {}) and logs[topic][partition].end > offset
        }
        for topic, of in taken.items()
    }


def _still(behind: Mapping[int, int], before: Taken, after: Taken) -> list[int]:
    """The partitions that wait, and of which nothing was taken meanwhile."""
    return [partition for partition in behind if before.offsets[partition] == after.offsets.get(partition)]


def _too_old(
    settings: Settings, name: str, entry: DestinationEntry, topic: str, waiting: Mapping[int, int]
) -> list[int]:
    """Of partitions that wait from these offsets on, those whose oldest record should stand in a file by now.

    A file is written once it is old enough, so a record may wait as long as that, and as long after a start or after
    the last file: there may be much to catch up with.
    """
    limit = (entry.roll_seconds or ROLL_SECONDS) + ROLL_MARGIN_SECONDS
    report = fresh_reports(settings, "processor").get(name, {})
    if time.time() - max(report.get("started_at", 0.0), report.get("committed_at", 0.0)) <= limit:
        return []
    from kafka.structs import TopicPartition

    wanted = {TopicPartition(topic, partition): int((time.time() - limit) * 1000) for partition in waiting}
    with reachable_kafka(settings, ROLE), closing(admin(settings, ROLE, bootstrap_timeout_ms=5000)) as client:
        younger = client.list_partition_offsets(wanted, timeout_ms=5000)
    # The first offset that is no older than the limit, -1 where there is none.
    firsts = {partition.partition: found.offset for partition, found in younger.items()}
    return [partition for partition, offset in waiting.items() if not 0 <= firsts[partition] <= offset]


def _lag(name: str, topic: str, behind: Mapping[int, int], still: bool, moved_at: datetime | None) -> Observation:
    waits = sum(behind.values())
    said = f"{waits:,} records wait, and are being taken" if waits else "nothing waits"
    if still:
        said = f"expected what waits to be taken, {waits:,} records wait and none was taken for {MOVES_SECONDS:.0f} s"
    state: State = "failing" if still else "ok"
    mend = f"{RUNBOOK}/stopped-processor.md" if still else ""
    since = moved_at if still else None
    return Observation(LAG, "destination", f"{name} {topic}", state, said, since, mend, {"records": waits})


def _committed(settings: Settings, name: str) -> dict[str, dict[int, int]]:
    group = f"{GROUP_PREFIX}{name}"
    with reachable_kafka(settings, ROLE), closing(admin(settings, ROLE, bootstrap_timeout_ms=5000)) as client:
        found: dict[str, dict[int, int]] = {}
        for partition, committed in client.list_group_offsets(group)[group].items():
            if committed.offset >= 0:
                found.setdefault(partition.topic, {})[partition.partition] = committed.offset
        return found
