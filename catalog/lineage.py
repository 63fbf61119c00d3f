"""The lineage that is expected: of the compiled SQL of every model, of our own files, and of what the databases have.

Two ways lead to a mart: source, lake, ingestion table, models; and source, topic, table of `realtime`, lake, ingestion
table, models. The views of `live` read the tables of `realtime`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any

import yaml

from catalog.column_lineage import LISTED, Columns, Origin, Table, UnreadableQuery, origins, tables_of
from catalog.edges import Edge, Lineage, Place, Unreached, closure, reached
from catalog.kept import ROLE
from realtime import account
from tidemark import dbt
from tidemark.categories import CATEGORIES, required_fields, table_columns
from tidemark.connections import DATABASES, Database, connect
from tidemark.settings import Settings

SHOWN = {
    "warehouse": ("ingestion", "staging", "intermediate", "marts", "ops", "quality"),
    "realtime": ("realtime", "live"),
}
PARTITION = r"_\d{8}$"  # a day partition is no table of its own to readers
CLOCK = "CURRENT_TIMESTAMP"
OF_THE_LOAD = ("load_id", "file_name", "loaded_at")  # columns of an ingestion table that no file holds


@dataclass(frozen=True)
class Model:
    """A model of dbt. `query`: its SQL as it builds everything; `reads`: its dbt sources; `types`: of columns."""

    table: Table
    query: str
    is_stored: bool
    reads: tuple[Table, ...]
    types: Mapping[str, str]


Manifest = Mapping[str, Any]  # dbt's own
# What a model states itself, as sqlglot writes it: venues and instruments are lists of such, in dbt_project.yml.
CONSTANT = re.compile(r"NULL|(CAST\()?(INTERVAL )?'([^']|'')*'( AS [A-Z ]+\))?")


def lineage(settings: Settings, manifests: Mapping[Database, Manifest] | None = None, asked: bool = True) -> Lineage:
    """Every edge that the catalog must show, of models as they are once every source has its declared columns.

    `manifests`: those of `dbt.declared`, which are made where none are given. `asked`: whether the databases say which
    tables and columns are there; else only files do, and no source of a topic is known. StackError where a database
    does not answer; DbtError where dbt cannot compile the models; UnreadableQuery for the SQL of one, with its name.
    """
    manifests = manifests or {database: dbt.declared(settings, database) for database in DATABASES}
    there = _tables(settings) if asked else {}
    tables = {**_declared(manifests), **there}
    parsed = {table: {**columns, **tables[table]} for table, columns in _declared(manifests).items()}
    models, made = [], {}
    for model in _models(manifests):
        made[model.table] = _origins(model, {**tables, **parsed})
        tables.setdefault(model.table, {name: model.types.get(name, "") for name in made[model.table]})
        models.append(model)
    columns = {_place(table): dict(columns) for table, columns in tables.items()}
    edges = [edge for model in models for edge in _of_model(model, made[model.table], tables)]
    edges += [edge for chain in _chains(settings, tables, asked) for edge in _of_chain(chain, columns)]
    edges += _of_flows(edges, models, columns)
    absent = frozenset(_place(table) for table in tables if table not in there)
    return _whole(edges, columns, models, made, absent)


def _tables(settings: Settings) -> dict[Table, dict[str, str]]:
    """Every table and view that people may see, with its columns and their types."""
    found: dict[Table, dict[str, str]] = {}
    query = (
        "select table_schema, table_name, column_name, data_type from information_schema.columns "
        "where table_schema = any(%s) and table_name !~ %s and table_name !~ '^_dlt_' order by 1, 2, ordinal_position"
    )
    for database in DATABASES:
        with connect(settings, database, ROLE) as connection:
            for schema, table, column, data_type in connection.execute(query, (list(SHOWN[database]), PARTITION)):
                found.setdefault((database, schema, table), {})[column] = data_type
    return found


def _declared(manifests: Mapping[Database, Manifest]) -> dict[Table, dict[str, str]]:
    """The tables that dbt reads, with the columns that their files declare."""
    return {
        (node["database"], node["schema"], node["identifier"]): {
            name: column["data_type"] for name, column in node["columns"].items()
        }
        for manifest in manifests.values()
        for node in manifest["sources"].values()
    }


def _models(manifests: Mapping[Database, Manifest]) -> Iterator[Model]:
    """As dbt would build them when nothing is there, each after those that it reads."""
    for database, manifest in manifests.items():
        nodes = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
        order = TopologicalSorter({key: set(node["depends_on"]["nodes"]) & set(nodes) for key, node in nodes.items()})
        for key in order.static_order():
            node = nodes[key]
            reads = tuple((database, "ingestion", f"{source}__{name}") for source, name in node["sources"])
            is_stored = node["config"]["materialized"] != "view"
            types = {name: column["data_type"] or "" for name, column in node["columns"].items()}
            table = (database, node["schema"], node["alias"])
            yield Model(table, node["compiled_code"], is_stored, reads, types)


def _origins(model: Model, tables: Columns) -> dict[str, Origin]:
    try:
        return origins(model.query, tables)
    except UnreadableQuery as error:
        advice = "build it with `tidemark models rebuild` where the database has an older version's table"
        raise UnreadableQuery(f"model {'.'.join(model.table)}: expected SQL to follow, {error}; {advice}") from None


def _place(table: Table) -> Place:
    return Place("table", ".".join(table))


def _of_model(model: Model, columns: Mapping[str, Origin], tables: Columns) -> Iterator[Edge]:
    """An edge from each table that a model reads, with the columns that follow, of those that both have."""
    pairs: dict[Table, set[tuple[str, str]]] = {table: set() for table in tables_of(model.query)}
    for name, origin in columns.items():
        for table, column in origin.columns:
            if column in tables.get(table, ()) and name in tables[model.table]:
                pairs.setdefault(table, set()).add((column, name))
    for table, found in pairs.items():
        yield Edge(_place(table), _place(model.table), tuple(sorted(found)), model.query)


@dataclass(frozen=True)
class Step:
    """A place on the way to an ingestion table. `renamed`: where a column has another name than at the place before."""

    place: Place
    columns: Mapping[str, str]
    renamed: Mapping[str, str]


def _chains(settings: Settings, tables: Columns, asked: bool) -> Iterator[list[Step]]:
    """The ways from a source to its ingestion table, one place after the other."""
    loaded = {table: columns for table, columns in tables.items() if table[:2] == ("warehouse", "ingestion")}
    for (_, _, name), columns in loaded.items():
        source, _, resource = name.partition("__")
        if source != "realtime":
            of_source = {column: "text" for column in columns if column not in OF_THE_LOAD}
            yield [Step(Place("source", f"{source}.{resource}"), of_source, {}), *_from_lake(name, columns)]
    topics = yaml.safe_load(settings.topics_file.read_text()) or {}
    for topic in CATEGORIES:
        renamed = (topics.get(topic) or {}).get("rename") or {}
        kinds = table_columns(topic)
        fields = {renamed.get(field, field): kinds[field] for field in (*required_fields(topic), "attributes")}
        table = tables.get(("realtime", "realtime", topic), {})
        chain = [Step(Place("topic", topic), fields, {}), Step(_place(("realtime", "realtime", topic)), table, renamed)]
        promoted = loaded.get(("warehouse", "ingestion", f"realtime__{topic}"))
        yield [*chain, *(_from_lake(f"realtime__{topic}", promoted) if promoted else ())]
        for source in _feeding(settings, topic) if asked else ():
            yield [Step(Place("source", f"{source}.{topic}"), fields, {}), chain[0]]


def _from_lake(table: str, columns: Mapping[str, str]) -> list[Step]:
    """Folder and ingestion table. The load and the file's name are in the path of each file."""
    in_files = {column: "text" for column in columns if column != "loaded_at"}
    return [
        Step(Place("lake", table.replace("__", "/", 1)), in_files, {}),
        Step(_place(("warehouse", "ingestion", table)), columns, {}),
    ]


def _feeding(settings: Settings, topic: str) -> list[str]:
    """The sources of which a topic ever had a record."""
    with connect(settings, "realtime", ROLE) as connection:
        return account.sources(connection, topic)


def _of_chain(chain: list[Step], columns: dict[Place, dict[str, str]]) -> Iterator[Edge]:
    for step in chain:
        columns.setdefault(step.place, dict(step.columns))
    for before, after in pairwise(chain):
        pairs = ((after.renamed.get(column, column), column) for column in after.columns)
        yield Edge(before.place, after.place, tuple(sorted(pair for pair in pairs if pair[0] in before.columns)))


def _of_flows(edges: list[Edge], models: list[Model], columns: dict[Place, dict[str, str]]) -> Iterator[Edge]:
    """From each flow to what it writes: the lake, ingestion tables, and the models with a table that read those."""
    stored = {_place(model.table) for model in models if model.is_stored}
    loaded = [place for place in columns if place.name.startswith("warehouse.ingestion.")]
    writes = {Place("flow", "check"): {_place(("warehouse", "quality", "results"))} & set(columns)}
    for place in loaded:
        flow = Place("flow", "promote" if place.name.startswith("warehouse.ingestion.realtime__") else "ingest")
        lake = {edge.upstream for edge in edges if edge.downstream == place}
        writes.setdefault(flow, set()).update({place} | lake | (_below(edges, place) & stored))
    for flow, places in writes.items():
        columns[flow] = {}
        yield from (Edge(flow, place) for place in places)


def _below(edges: list[Edge], place: Place) -> set[Place]:
    """Every place that reads this one, directly or through others."""
    return closure(lambda here: [edge.downstream for edge in edges if edge.upstream == here], [place])


def _whole(
    edges: list[Edge],
    columns: dict[Place, dict[str, str]],
    models: list[Model],
    made: Mapping[Table, dict[str, Origin]],
    absent: frozenset[Place],
) -> Lineage:
    made_here = {_place(model.table) for model in models}
    reaching = reached(edges, [place for place in columns if place not in made_here])
    in_marts = [
        (place, column)
        for place in sorted(columns) if place.name.startswith("warehouse.marts.")
        for column in columns[place]
    ]  # fmt: skip
    reason = _Reasons(edges, models, made, columns)
    unreached = tuple(reason.of(*column) for column in in_marts if column not in reaching)
    sent = reached(edges, [place for place in columns if place.kind in ("source", "topic")])
    of_sources = sum(column in sent for column in in_marts)
    ordered = tuple(sorted(edges, key=_order))
    return Lineage(ordered, columns, len(in_marts), unreached, _with_files(absent), of_sources)


def _with_files(absent: frozenset[Place]) -> frozenset[Place]:
    """Ingestion tables that are not there, and the folder and source that would fill each."""
    names = [name for place in absent if (name := place.name.removeprefix("warehouse.ingestion.")) != place.name]
    lake = {Place("lake", name.replace("__", "/", 1)) for name in names}
    sources = {Place("source", name.replace("__", ".", 1)) for name in names if not name.startswith("realtime__")}
    return absent | lake | sources


def _order(edge: Edge) -> tuple[Place, Place]:
    return edge.downstream, edge.upstream


class _Reasons:
    """Why a column is not followed to where it came in."""

    def __init__(
        self,
        edges: list[Edge],
        models: list[Model],
        made: Mapping[Table, dict[str, Origin]],
        columns: Mapping[Place, Mapping[str, str]],
    ) -> None:
        self.made = {_place(table): origins for table, origins in made.items()}
        self.columns = columns
        self.above: dict[Place, set[Place]] = {}
        for edge in edges:
            self.above.setdefault(edge.downstream, set()).add(edge.upstream)
        self.reads = {_place(model.table): model.reads for model in models}

    def of(self, place: Place, column: str) -> Unreached:
        """One column of a mart, with its reason and whether it weighs."""
        made_of, ends = self._made_of(place, column)
        stated = {one for one in made_of if not one.startswith("CAST(NULL")} or made_of
        names = {f"'{name}'" for each in self._all_above(place) for _, _, name in self.reads.get(each, ())}
        lacking = sorted(f"{there.name}.{name}" for there, name in ends if name not in self.columns.get(there, ()))
        if lacking:
            reason, counts = f"nothing was loaded yet that has {', '.join(lacking)}", False
        elif stated == {CLOCK}:
            reason, counts = "the clock of the build that writes the row", False
        elif stated <= names and stated:
            reason, counts = "the name of the ingestion table, which the model writes", False
        elif stated and all(one == LISTED or CONSTANT.fullmatch(one) for one in stated):
            reason, counts = LISTED, False
        else:
            reason, counts = f"made of {', '.join(sorted(stated)) or 'no column'}", True
        return Unreached(place.name, column, reason, counts)

    def _made_of(self, place: Place, column: str) -> tuple[set[str], set[tuple[Place, str]]]:
        """The expressions that make a column, and the columns of tables that are no model, however far."""
        nodes = {(place, column)} | closure(self._parts, [(place, column)])
        ends = {node for node in nodes if self._origin(node) is None}
        made = [origin for node in nodes if (origin := self._origin(node)) is not None]
        return {expression for origin in made for expression in origin.made_of}, ends

    def _origin(self, column: tuple[Place, str]) -> Origin | None:
        return self.made.get(column[0], {}).get(column[1])

    def _parts(self, column: tuple[Place, str]) -> list[tuple[Place, str]]:
        origin = self._origin(column)
        return [] if origin is None else [(_place(table), name) for table, name in origin.columns]

    def _all_above(self, place: Place) -> set[Place]:
        return {place} | closure(lambda here: self.above.get(here, ()), [place])
