"""What the watcher saw, as Prometheus reads it."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily

from watch.observation import WORST_FIRST
from watch.page.parts import parts
from watch.status_file import Status


def families(status: Status, home: Path) -> Iterator[GaugeMetricFamily]:
    """The state of each part, a sample a state; the numbers of each; and until when that counts."""
    state = GaugeMetricFamily(
        "tidemark_part_state", "1 for the state that a part is in, 0 for the others", labels=["group", "part", "state"]
    )
    number = GaugeMetricFamily(
        "tidemark_observed",
        "A number that the watcher saw, its unit in its name",
        labels=["condition", "group", "part", "number"],
    )
    for part in parts(status.observations, (), home):
        for each in WORST_FIRST:
            state.add_metric([part.group, part.name, each], float(part.state == each))
        for condition, found in part.numbers:
            for name, value in found.items():
                if isinstance(value, int | float):
                    number.add_metric([condition, part.group, part.name, name], float(value))
    known = GaugeMetricFamily(
        "tidemark_status_known", "1 while what the watcher saw counts", value=float(not status.unknown)
    )
    yield from (state, number, known)
    for what, moment in (("observed_at", status.observed_at), ("valid_until", status.valid_until)):
        if moment is not None:
            yield GaugeMetricFamily(f"tidemark_status_{what}_seconds", "Seconds since 1970", value=moment.timestamp())
