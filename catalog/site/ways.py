"""The way of each column through the lineage, up to the fields of sources and down to what people read."""

from dataclasses import dataclass

from catalog.edges import Lineage, Place, closure

Column = tuple[Place, str]
# The stages of the two ways, as a column goes back along them. A place is of the first that it begins like.
STAGES = (
    ("marts", "table warehouse.marts."),
    ("live", "table realtime.live."),
    ("intermediate", "table warehouse.intermediate."),
    ("staging", "table warehouse.staging."),
    ("ingestion", "table warehouse.ingestion."),
    ("lake", "lake "),
    ("realtime", "table realtime.realtime."),
    ("topic", "topic "),
    ("source", "source "),
    ("other", ""),
)
READ_BY_PEOPLE = ("marts", "live")


def stage(place: Place) -> str:
    """Where on the way a place lies."""
    return next(name for name, begin in STAGES if str(place).startswith(begin))


@dataclass(frozen=True)
class Ways:
    """What each column is made of, and what is made of it, one step."""

    up: dict[Column, list[Column]]
    down: dict[Column, list[Column]]

    def way_back(self, column: Column) -> list[tuple[str, list[Column]]]:
        """Every column above it by stage, the nearest stage first."""
        above = _all(self.up, column)
        return [(name, found) for name, _ in STAGES if (found := [one for one in above if stage(one[0]) == name])]

    def source_fields(self, column: Column) -> list[Column]:
        """The fields of sources that it comes from; of a topic without a known source the topic's."""
        ends = [one for one in _all(self.up, column) if one not in self.up]
        return [one for one in ends if one[0].kind in ("source", "topic")]

    def ends(self, column: Column) -> list[Column]:
        """The columns that people read which come from it."""
        return [one for one in _all(self.down, column) if stage(one[0]) in READ_BY_PEOPLE]


def ways(lineage: Lineage) -> Ways:
    """Both directions of the lineage's columns."""
    up: dict[Column, set[Column]] = {}
    down: dict[Column, set[Column]] = {}
    for edge in lineage.edges:
        for there, here in edge.columns:
            up.setdefault((edge.downstream, here), set()).add((edge.upstream, there))
            down.setdefault((edge.upstream, there), set()).add((edge.downstream, here))
    return Ways(_sorted(up), _sorted(down))


def _sorted(found: dict[Column, set[Column]]) -> dict[Column, list[Column]]:
    return {column: sorted(others) for column, others in found.items()}


def _all(steps: dict[Column, list[Column]], column: Column) -> list[Column]:
    return sorted(closure(lambda one: steps.get(one, ()), [column]))
