"""The lineage of everything as plain data: places, and edges between them with the columns that follow."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeVar

Node = TypeVar("Node", bound=Hashable)
Kind = Literal["source", "topic", "lake", "table", "flow"]


@dataclass(frozen=True, order=True)
class Place:
    """Where data are. `name` by kind:

    source  what a source gives: `fred.observations`; of a streaming source by the topic: `binance.market_tick`
    topic   a topic of the buffer: `market_tick`
    lake    a folder of the lake: `fred/observations`
    table   a table or view: `warehouse.marts.fct_bars_1m`
    flow    a flow of Prefect: `promote`
    """

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Edge:
    """What is upstream of what. `columns`: pairs of a column there and one here, sorted; a flow's edge has none.

    `sql`: the query that says so, where a model's does.
    """

    upstream: Place
    downstream: Place
    columns: tuple[tuple[str, str], ...] = ()
    sql: str | None = None


@dataclass(frozen=True)
class Unreached:
    """A column of a mart that is not followed to where it came in, and the reason."""

    table: str  # database.schema.table
    column: str
    reason: str
    counts: bool  # whether it weighs against the share: what the build itself writes, or nobody loaded yet, does not


@dataclass(frozen=True)
class Lineage:
    """All edges, in order of their names, and how many columns of the marts are followed to where they came in.

    `columns`: of each place its columns with their types, in its own order; a flow has none. `absent`: places that are
    declared and not there yet, as nothing was loaded into them or built. `mart_columns`: how many columns the marts
    have, by information_schema, those of a mart that is not built yet by its SQL; `of_sources`: how many of them come
    from a field of a source or topic. The others that are followed, `on_the_way`, come from what was written on the
    way: a record's place in Kafka, its load (`load_id`, `file_name`, `loaded_at`).
    """

    edges: tuple[Edge, ...]
    columns: dict[Place, dict[str, str]]
    mart_columns: int
    unreached: tuple[Unreached, ...]
    absent: frozenset[Place] = frozenset()
    of_sources: int = 0

    @property
    def on_the_way(self) -> int:
        """How many columns of the marts come from what was written on the way alone."""
        return self.mart_columns - len(self.unreached) - self.of_sources

    @property
    def share(self) -> float:
        """The share of the marts' columns that are followed to where they came in, of those that could be: 1 is all."""
        missing = sum(column.counts for column in self.unreached)
        possible = self.mart_columns - len(self.unreached) + missing
        return 1 - missing / possible if possible else 1.0

    def without_absent(self) -> "Lineage":
        """The lineage of what is there: all that a server can be told of."""
        edges = [edge for edge in self.edges if not {edge.upstream, edge.downstream} & self.absent]
        columns = {place: columns for place, columns in self.columns.items() if place not in self.absent}
        return replace(self, edges=tuple(edges), columns=columns, absent=frozenset())

    def upstream_of(self, place: Place) -> list[Edge]:
        """The edges that end here."""
        return [edge for edge in self.edges if edge.downstream == place]

    def as_json(self) -> dict[str, Any]:
        """Lists and objects alone: `places` (kind, name, columns), `edges`, `mart_columns`, `share`, `unreached`."""
        return {
            "places": [
                {**asdict(place), "columns": dict(columns), "is_there": place not in self.absent}
                for place, columns in sorted(self.columns.items())
            ],
            "edges": [asdict(edge) for edge in self.edges],
            "mart_columns": self.mart_columns,
            "of_sources": self.of_sources,
            "on_the_way": self.on_the_way,
            "share": round(self.share, 4),
            "unreached": [asdict(column) for column in self.unreached],
        }


def closure(steps: Callable[[Node], Iterable[Node]], begin: Iterable[Node]) -> set[Node]:
    """All that is reached from `begin` by any number of steps, at least one."""
    found: set[Node] = set()
    waiting = list(begin)
    while waiting:
        new = [further for further in steps(waiting.pop()) if further not in found]
        found.update(new)
        waiting += new
    return found


def reached(edges: Iterable[Edge], origins: Sequence[Place]) -> set[tuple[Place, str]]:
    """Every column, of any place, that a column of one of `origins` reaches by the edges' columns."""
    follow: dict[tuple[Place, str], list[tuple[Place, str]]] = {}
    starts = set(origins)
    for edge in edges:
        for there, here in edge.columns:
            follow.setdefault((edge.upstream, there), []).append((edge.downstream, here))
    return closure(lambda column: follow.get(column, ()), [column for column in follow if column[0] in starts])
