"""What each page of the site shows, as plain data."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import yaml

from catalog.contracts import Contract, find
from catalog.edges import Lineage, Place
from catalog.publish_governance import FILE, wanted
from catalog.results import DataTest, Result
from catalog.site.ways import STAGES, Column, Ways, stage
from tidemark.categories import CATEGORIES, json_schema, required_fields, table_columns
from tidemark.connections import Database
from tidemark.settings import Settings

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def slug(name: str) -> str:
    """A name as a file's or an anchor's, two never alike: names of sources and columns are anybody's text."""
    if _SAFE.fullmatch(name):
        return name
    return f"{re.sub('[^A-Za-z0-9_]+', '-', name)[:60]}~{sha256(name.encode()).hexdigest()[:12]}"


def address(place: Place) -> str:
    """The page of a place, from the site's root."""
    return f"{place.kind}/{slug(place.name)}.html"


@dataclass(frozen=True)
class ColumnShown:
    """A column with where it comes from, where it goes, and its tests."""

    name: str
    type: str
    description: str
    made_of: list[Column]
    source_fields: list[Column]
    way_back: list[tuple[str, list[Column]]]
    read_by: list[Column]
    ends: list[Column]
    reason: str | None  # why it is not followed to where it came in
    tests: list["Tested"]


@dataclass(frozen=True)
class Tested:
    """A test with what it last found; `result` is None where that is not known."""

    test: DataTest
    result: Result | None

    @property
    def outcome(self) -> str:
        """passed, failed, not evaluated, or no result."""
        names = {"Success": "passed", "Failed": "failed", "Aborted": "not evaluated"}
        return names[self.result.status] if self.result else "no result"


@dataclass(frozen=True)
class PlacePage:
    """The page of a place."""

    place: Place
    description: str
    said: Mapping[str, str]  # owner, PII, tier, licence, domain, term
    is_there: bool
    columns: list[ColumnShown]
    above: list[Place]
    below: list[Place]
    sql: str | None
    tests: list[Tested] = field(default_factory=list)


@dataclass(frozen=True)
class Descriptions:
    """What dbt's files say of tables and of their columns."""

    tables: Mapping[str, str]
    columns: Mapping[tuple[str, str], str]


def descriptions(manifests: Mapping[Database, Mapping[str, Any]]) -> Descriptions:
    """By database.schema.table."""
    tables: dict[str, str] = {}
    columns: dict[tuple[str, str], str] = {}
    for manifest in manifests.values():
        for node in [*manifest["nodes"].values(), *manifest["sources"].values()]:
            name = f"{node['database']}.{node['schema']}.{node.get('identifier') or node.get('alias')}"
            if node["resource_type"] in ("model", "source"):
                tables[name] = " ".join(node["description"].split())
                columns |= {(name, column): said["description"] for column, said in node["columns"].items()}
    return Descriptions(tables, columns)


def tested(tests: Iterable[DataTest], results: Iterable[Result]) -> list[Tested]:
    """Every test with its last result, one that only a result names too."""
    found = {result.full_name: result for result in results}
    listed = {test.full_name: test for test in tests} | found
    return [Tested(test, found.get(name)) for name, test in sorted(listed.items())]


def place_pages(lineage: Lineage, ways: Ways, said: Descriptions, tests: list[Tested]) -> list[PlacePage]:
    """A page of every place, in the order of the stages."""
    declared = yaml.load(FILE.read_text(), yaml.BaseLoader)
    order = {name: number for number, (name, _) in enumerate(STAGES)}
    places = sorted(lineage.columns, key=lambda place: (order[stage(place)], place))
    return [_page(place, lineage, _Columns(lineage, ways, said, tests), _governed(place, declared)) for place in places]


def _governed(place: Place, declared: Mapping[str, Any]) -> dict[str, str]:
    """Who answers for a place, and what governance.yml says of it, PII in its own words."""
    said = wanted(place, declared)
    pii = declared["classifications"]["PII"]["tags"].get(said["pii"], said["pii"])
    return {"owner": declared["team"]["name"], "PII": pii} | {key: said[key] for key in said if key != "pii"}


@dataclass(frozen=True)
class _Columns:
    """What is known of columns."""

    lineage: Lineage
    ways: Ways
    said: Descriptions
    tests: list[Tested]

    def of(self, place: Place) -> list[ColumnShown]:
        reasons = {column.column: column.reason for column in self.lineage.unreached if column.table == place.name}
        return [
            ColumnShown(
                name, kind, self.said.columns.get((place.name, name), ""), self.ways.up.get((place, name), []),
                self.ways.source_fields((place, name)), self.ways.way_back((place, name)),
                self.ways.down.get((place, name), []), self.ways.ends((place, name)), reasons.get(name),
                [each for each in self.tests if each.test.table == place and each.test.column == name],
            )
            for name, kind in self.lineage.columns[place].items()
        ]  # fmt: skip


def _page(place: Place, lineage: Lineage, columns: _Columns, governed: Mapping[str, str]) -> PlacePage:
    edges = lineage.upstream_of(place)
    return PlacePage(
        place, columns.said.tables.get(place.name, ""), governed, place not in lineage.absent, columns.of(place),
        sorted(edge.upstream for edge in edges),
        sorted(edge.downstream for edge in lineage.edges if edge.upstream == place),
        next((edge.sql for edge in edges if edge.sql), None),
        [each for each in columns.tests if each.test.table == place and not each.test.column],
    )  # fmt: skip


@dataclass(frozen=True)
class TopicShown:
    """A topic with its category and its mapping: of each field its column, both with the type in the database."""

    place: Place
    says: str
    fields: list[tuple[str, str, str, bool]]  # field on the wire, column, type, required
    attributes: Mapping[str, Any]
    settings: Mapping[str, Any]
    schema: Mapping[str, Any]


def topics(settings: Settings) -> list[TopicShown]:
    """Of tidemark/categories.py and topics.yml."""
    declared = yaml.safe_load(settings.topics_file.read_text()) or {}
    return [_topic(name, declared.get(name) or {}) for name in CATEGORIES]


def _topic(name: str, entry: Mapping[str, Any]) -> TopicShown:
    renamed, kinds = entry.get("rename") or {}, table_columns(name)
    required = required_fields(name)
    fields = [(renamed.get(column, column), column, kinds[column], True) for column in required]
    fields.append(("every other field", "attributes", kinds["attributes"], False))
    others = {key: value for key, value in entry.items() if key not in ("attributes", "rename")}
    says = (CATEGORIES[name].__doc__ or "").strip()
    return TopicShown(Place("topic", name), says, fields, entry.get("attributes") or {}, others, json_schema(name))


def contracts(tests: list[Tested]) -> list[tuple[Contract, list[Tested]]]:
    """Every contract with its checks."""
    return [
        (
            contract,
            [each for each in tests if each.test.platform == "Soda" and each.test.table.name == contract.dataset],
        )
        for contract in find()
    ]
