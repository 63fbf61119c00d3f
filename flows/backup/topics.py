"""What of Kafka a restored `realtime` goes on with: its log where that is the one that was read, else a new epoch."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from flows.backup.manifest import Manifest, Place
from flows.closing import LogEnd, log_ends
from realtime import positions
from realtime.epochs import Step, has_a_reason
from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.topics import MANAGER, ensure_topics
from stream_shim.repairs.next_epoch import next_epoch
from stream_shim.repairs.rebuild import REPAIRER
from tidemark.categories import CATEGORIES
from tidemark.connections import connect
from tidemark.kafka import reachable_kafka
from tidemark.output import utc
from tidemark.settings import Settings

CONTINUES, BEGUN, TO_OPEN, ABSENT = "continues", "new epoch", "to be opened", "no topic"


@dataclass(frozen=True)
class Outcome:
    """How one partition of a topic goes on. `lost`: offsets that the backup knew of, and nobody has any more."""

    topic: str
    partition: int
    state: str
    log_epoch: int
    offset: int | None  # where it is read on
    lost: int
    means: str

    @property
    def is_whole(self) -> bool:
        """Whether Kafka still has all that came after the backup."""
        return self.state == CONTINUES

    def row(self) -> dict[str, Any]:
        """For a table, or JSON."""
        return asdict(self)


def go_on(settings: Settings, made: Manifest) -> list[Outcome]:
    """See for each partition that the backup knows whether Kafka's log can be read on.

    The local broker of a new state folder has none of it: the next epoch is opened, and what is known to be missing is
    recorded as lost. On a cluster that a variable names a person opens it, as the variable may name the wrong one.
    """
    with connect(settings, "realtime", REPAIRER) as connection:
        for place in made.places:
            if place.log_end is not None:
                positions.see_end(connection, place.topic, place.log_epoch, place.partition, place.log_end)
    local = settings.kafka_bootstrap is None
    if local:
        with reachable_kafka(settings, MANAGER):
            ensure_topics(settings, read_topics(settings.topics_file))
    ends = log_ends(settings, list(CATEGORIES))
    found = []
    for topic in CATEGORIES:
        if places := [place for place in made.places if place.topic == topic]:
            found += _of_topic(settings, made, places, ends.get(topic), local)
    return found


def _of_topic(
    settings: Settings, made: Manifest, places: list[Place], end: LogEnd | None, opening: bool
) -> list[Outcome]:
    topic = places[0].topic
    if end is None:
        return [_absent(place, made) for place in places]
    with reachable_kafka(settings, REPAIRER):
        _, steps = next_epoch(settings, topic, False)
        with connect(settings, "realtime", REPAIRER) as connection:
            epoch = positions.newest_epoch(connection, topic)
            ended = has_a_reason(connection, topic, end.topic_id, steps)
        current = places[0].log_epoch if epoch is None else epoch.log_epoch
        if current > places[0].log_epoch:  # by this restore, before it was ended
            return [_begun(_as_then(step, _of(places, step)), _of(places, step), made, current) for step in steps]
        if not ended:
            return [_continues(place, end) for place in places]
        if not opening:
            return [_to_open(step, _of(places, step), made, current) for step in steps]
        opened, steps = next_epoch(settings, topic, True)
    return [_begun(step, _of(places, step), made, opened or current) for step in steps]


def _as_then(step: Step, place: Place) -> Step:
    """What opening the epoch meant, as far as the backup knows."""
    return step._replace(lost_from=place.next_offset, lost_to=max(place.next_offset, place.log_end or 0))


def _of(places: list[Place], step: Step) -> Place:
    """The step's place; one that the backup does not know began at its log's start."""
    known = {place.partition: place for place in places}
    first = places[0]
    return known.get(step.partition, Place(first.topic, first.log_epoch, first.topic_id, step.partition, 0, None, None))


def _continues(place: Place, end: LogEnd) -> Outcome:
    waiting = end.offsets.get(place.partition, place.next_offset) - place.next_offset
    means = f"continues at offset {place.next_offset}, with {waiting:,} offsets to read: nothing is missing"
    return Outcome(place.topic, place.partition, CONTINUES, place.log_epoch, place.next_offset, 0, means)


def _begun(step: Step, place: Place, made: Manifest, opened: int) -> Outcome:
    means = f"epoch {opened} begins at offset {step.first_offset}; {_missing(place, step.lost, made)}"
    return Outcome(place.topic, step.partition, BEGUN, opened, step.first_offset, step.lost, means)


def _to_open(step: Step, place: Place, made: Manifest, current: int) -> Outcome:
    means = (
        f"another log than the one that was read, or what came next has expired: is this the right cluster? "
        f"`tidemark stream epoch {place.topic} --yes` goes on with it; {_missing(place, step.lost, made)}"
    )
    return Outcome(place.topic, step.partition, TO_OPEN, current, None, step.lost, means)


def _absent(place: Place, made: Manifest) -> Outcome:
    lost = max(0, (place.log_end or 0) - place.next_offset)
    means = (
        f"this cluster has no such topic: is it the right one? `tidemark stream run` makes it, then "
        f"`tidemark stream epoch {place.topic} --yes` goes on with it; {_missing(place, lost, made)}"
    )
    return Outcome(place.topic, place.partition, ABSENT, place.log_epoch, None, lost, means)


def _missing(place: Place, lost: int, made: Manifest) -> str:
    """What is gone with the old log: how much the backup saw, and from where on nobody counted."""
    at = place.last_record_at
    last = "no time of a stored record is known" if at is None else f"the last stored record is of {utc(at)}"
    known = f"{lost:,} offsets from {place.next_offset} on are lost" if lost else "none is known to be lost"
    return f"{known} ({last}), and whatever came after the backup of {utc(_taken(made))} is missing, uncounted"


def _taken(made: Manifest) -> datetime:
    return next(dump.taken_at for dump in made.dumps if dump.database == "realtime")
