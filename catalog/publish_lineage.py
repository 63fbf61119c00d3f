"""Publishes the lineage, and holds what the server then has against what was expected: a shortfall fails."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.edges import Edge, Lineage, Place
from catalog.naming import COLLECTIONS, TYPES, column_named, named
from catalog.server import CatalogError, Server, in_path

LEAST_SHARE = 0.95  # of the marts' columns that could be followed to where they came in
OURS = "Published by Tidemark."  # marks an edge that may go when it is no longer expected


@dataclass(frozen=True)
class Held:
    """One edge that the server has, to a place: from where, and its details."""

    kind: str
    id: str
    details: Mapping[str, Any]

    @property
    def columns(self) -> set[tuple[str, str]]:
        """Pairs of full names, there and here."""
        lines = self.details.get("columnsLineage") or []
        return {(there, line["toColumn"]) for line in lines for there in line.get("fromColumns") or []}


def publish_lineage(server: Server, lineage: Lineage, progress: Callable[[str], None] | None = None) -> None:
    """Make the server's lineage the expected one; what it has as expected is not sent again.

    CatalogError where it then lacks an edge or a column of one, or too few columns of the marts are followed to
    where they came in; the message names the first.
    """
    _refuse_small_share(lineage)
    identities = _Identities(server)
    for place in sorted({edge.downstream for edge in lineage.edges}):
        if progress:
            progress(f"lineage of {place}")
        expected = {named(edge.upstream): edge for edge in lineage.upstream_of(place)}
        held = dict(upstream(server, place))
        for name, edge in expected.items():
            if name not in held or not _is_whole(edge, held[name]):
                server.send("PUT", "lineage", {"edge": _request(edge, identities)})
        for name, one in held.items():
            if name not in expected and one.details.get("description") == OURS:
                path = f"lineage/{one.kind}/{one.id}/{TYPES[place.kind]}/{identities.of(place)}"
                server.send("DELETE", path)
    refuse_shortfall(server, lineage)


def refuse_shortfall(server: Server, lineage: Lineage) -> None:
    """CatalogError where the server lacks an edge or a column of one: the message names the first, and counts."""
    missing: list[str] = []
    for place in sorted({edge.downstream for edge in lineage.edges}):
        held = dict(upstream(server, place))
        for edge in lineage.upstream_of(place):
            missing += _missing(edge, held.get(named(edge.upstream)))
    if missing:
        columns = sum(len(edge.columns) for edge in lineage.edges)
        raise CatalogError(
            f"expected the server to hold {len(lineage.edges)} edges with {columns} of columns, as the models' SQL and "
            f"our own files say; it lacks {len(missing)}, the first {missing[0]}: publish again, and look into the "
            "server's log where it stays away"
        )


def upstream(server: Server, place: Place) -> Iterator[tuple[str, Held]]:
    """The edges that the server has to a place, by the full name of where they come from."""
    path = f"lineage/{TYPES[place.kind]}/name/{in_path(named(place))}?upstreamDepth=1&downstreamDepth=0"
    found = server.get(path)
    if found is None:
        raise CatalogError(
            f"expected the server to have {place}, it has no {named(place)}: "
            "`tidemark catalog publish` without a name publishes it first"
        )
    nodes = {node["id"]: node for node in found.get("nodes") or []}
    for edge in found.get("upstreamEdges") or []:
        if edge["toEntity"] == found["entity"]["id"] and (node := nodes.get(edge["fromEntity"])):
            yield node["fullyQualifiedName"], Held(node["type"], node["id"], edge.get("lineageDetails") or {})


def _is_whole(edge: Edge, held: Held) -> bool:
    return held.columns == _pairs(edge) and held.details.get("sqlQuery") == edge.sql


def _pairs(edge: Edge) -> set[tuple[str, str]]:
    return {(column_named(edge.upstream, there), column_named(edge.downstream, here)) for there, here in edge.columns}


def _missing(edge: Edge, held: Held | None) -> list[str]:
    if held is None:
        return [f"{edge.upstream} to {edge.downstream}"]
    lacking = sorted(_pairs(edge) - held.columns)
    return [f"column {there} to column {here}" for there, here in lacking]


def _request(edge: Edge, identities: "_Identities") -> dict[str, Any]:
    into: dict[str, list[str]] = {}
    for there, here in sorted(_pairs(edge)):
        into.setdefault(here, []).append(there)
    columns = [{"fromColumns": there, "toColumn": here} for here, there in into.items()]
    details: dict[str, Any] = {"columnsLineage": columns, "description": OURS, "source": "Manual"}
    if edge.sql:
        details |= {"sqlQuery": edge.sql, "source": "DbtLineage"}
    ends = {"fromEntity": edge.upstream, "toEntity": edge.downstream}
    references = {end: {"id": identities.of(place), "type": TYPES[place.kind]} for end, place in ends.items()}
    return {**references, "lineageDetails": details}


class _Identities:
    """The server's ids of places, each asked for once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: dict[Place, str] = {}

    def of(self, place: Place) -> str:
        if place not in self._known:
            found = self._server.get(f"{COLLECTIONS[place.kind]}/name/{in_path(named(place))}")
            if found is None:
                raise CatalogError(
                    f"expected the server to have {place}, it has no {named(place)}: "
                    "`tidemark catalog publish` without a name publishes it first"
                )
            self._known[place] = found["id"]
        return self._known[place]


def _refuse_small_share(lineage: Lineage) -> None:
    if lineage.share >= LEAST_SHARE:
        return
    first = next(column for column in lineage.unreached if column.counts)
    raise CatalogError(
        f"expected {LEAST_SHARE:.0%} of the marts' columns to be followed to where they came in, {lineage.share:.1%} "
        f"are: {lineage.of_sources} to a field of a source or topic, {lineage.on_the_way} to what is written on the "
        f"way; the first that is not: {first.table}, column {first.column} ({first.reason}); "
        "`tidemark catalog lineage` lists all"
    )
