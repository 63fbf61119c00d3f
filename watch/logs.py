"""Kafka's logs against what was taken of them, asked of Kafka and of the database: what a hung processor cannot say."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any, NamedTuple

from realtime import positions
from realtime.positions import LogState, Position
from stream_shim.destinations.entries import DestinationEntry, read_destinations
from tidemark.access.kafka_rights import GROUP_PREFIX
from tidemark.connections import kafka_bootstrap
from tidemark.errors import StackError
from tidemark.kafka import UNKNOWN_TOPIC, admin, lacking_on_topics, reachable_kafka, refused
from tidemark.settings import Settings
from watch.databases import enter
from watch.observation import RUNBOOK, Observation, State, one_line

ROLE = "catalog_reader"
MOVES_SECONDS = 3.0  # within so long a processor that lags takes something
ENDED, LAG = "log cannot be read on", "lag"
Logs = dict[str, dict[int, LogState]]  # by topic and partition


class Taken(NamedTuple):
    """How far a destination has come in one topic: by partition, and since when nothing moved, where that is kept."""

    offsets: Mapping[int, int]
    moved_at: datetime | None = None


def look(settings: Settings) -> Iterator[Observation]:
    """Each destination and topic: whether its log can be read on, and how much of it waits."""
    destinations = read_destinations(settings.destinations_file)
    topics = sorted({topic for entry in destinations.values() for topic in entry.topics})
    logs = _ask_logs(settings, topics)
    for name, entry in destinations.items():
        if entry.kind == "postgres":
            yield from _of_positions(settings, name, entry, logs)
        else:
            yield from _of_a_group(settings, name, entry, logs)


def _ask_logs(settings: Settings, topics: list[str]) -> Logs:
    """What Kafka says of the logs of those topics that it has; StackError where it does not answer."""
    from kafka import TopicPartition
    from kafka.admin import OffsetSpec

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


# --- a destination that keeps its positions with its rows


def _of_positions(settings: Settings, name: str, entry: DestinationEntry, logs: Logs) -> Iterator[Observation]:
    with enter(settings, "realtime") as connection:
        for topic in entry.topics:
            yield _log(connection, topic, logs.get(topic))
        before = _positions(connection, entry.topics)
        behind = _behind(before, logs)
        if any(behind.values()):
            threading.Event().wait(MOVES_SECONDS)
        after = _positions(connection, entry.topics)
    for topic in entry.topics:
        yield _lag(name, topic, behind[topic], before[topic], after[topic])


def _log(connection: Any, topic: str, log: Mapping[int, LogState] | None) -> Observation:
    """Whether the log is the one that was read, as far as its ids and offsets say."""
    epoch = positions.newest_epoch(connection, topic)
    if epoch is None:
        return Observation(ENDED, "topic", topic, "ok", "nothing of it was read yet")
    said = "Kafka has no such topic any more" if log is None else ""
    for partition, state in (log or {}).items():
        if state.topic_id != epoch.topic_id:
            said = f"expected the topic with the id {epoch.topic_id}, received {state.topic_id}: it was made again"
            break
        for reach in positions.reaches(connection, topic, epoch.log_epoch):
            if reach.partition == partition:
                said = said or _ended(topic, partition, reach.position, state)
    if not said:
        return Observation(ENDED, "topic", topic, "ok", "its log is the one that was read")
    moved = positions.moved_at(connection).get(topic)
    return Observation(ENDED, "topic", topic, "failing", said, moved, f"tidemark stream epoch {topic}")


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


def _lag(name: str, topic: str, behind: Mapping[int, int], before: Taken, after: Taken) -> Observation:
    still = [partition for partition in behind if before.offsets[partition] == after.offsets.get(partition)]
    waits = sum(behind.values())
    state: State = "failing" if still else "ok"
    said = f"{waits:,} records wait, and are being taken" if waits else "nothing waits"
    if still:
        said = f"expected what waits to be taken, {waits:,} records wait and none was taken for {MOVES_SECONDS:.0f} s"
    mend = f"{RUNBOOK}/stopped-processor.md" if still else ""
    since = after.moved_at if still else None
    return Observation(LAG, "destination", f"{name} {topic}", state, said, since, mend, {"records": waits})


# --- a destination whose position is its consumer group's


def _of_a_group(settings: Settings, name: str, entry: DestinationEntry, logs: Logs) -> Iterator[Observation]:
    before = _committed(settings, name)
    wanted = {topic: Taken(before.get(topic, {})) for topic in entry.topics}
    behind = _behind(wanted, logs)
    after = before
    if any(behind.values()):
        threading.Event().wait(MOVES_SECONDS)
        after = _committed(settings, name)
    for topic in entry.topics:
        yield _lag(name, topic, behind[topic], wanted[topic], Taken(after.get(topic, {})))


def _committed(settings: Settings, name: str) -> dict[str, dict[int, int]]:
    group = f"{GROUP_PREFIX}{name}"
    with reachable_kafka(settings, ROLE), closing(admin(settings, ROLE, bootstrap_timeout_ms=5000)) as client:
        found: dict[str, dict[int, int]] = {}
        for partition, committed in client.list_group_offsets(group)[group].items():
            if committed.offset >= 0:
                found.setdefault(partition.topic, {})[partition.partition] = committed.offset
        return found
