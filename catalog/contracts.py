"""Contracts are data: of categories, of marts, and contracts/<database>/<schema>/<table>.yml. Here they are found."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from psycopg import sql

from catalog import category_contracts, mart_contracts
from tidemark.connections import Database
from tidemark.errors import ConfigurationError

FOLDER = Path(__file__).parent / "contracts"
_READ = re.compile(r"\b(?:ingestion|marts)\.\w+")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True)
class Contract:
    """One contract. `identity` is the columns that name a row of its table, as an SQL list; `text` its YAML.

    `checks`: the name of each, with the column that it is of, or None for one of the whole table. `reads`: the
    tables of checks that are queries. `fresh_seconds`: how old its newest row may be, if it says so.
    """

    text: str
    database: Database
    schema: str
    table: str
    identity: str
    checks: Mapping[str, str | None]
    description: str
    reads: Mapping[str, frozenset[str]]
    fresh_seconds: float | None = None

    @property
    def name(self) -> str:
        """schema.table: what `tidemark check NAME` takes."""
        return f"{self.schema}.{self.table}"

    @property
    def dataset(self) -> str:
        """database.schema.table."""
        return f"{self.database}.{self.name}"


def read(path: Path) -> Contract:
    """The contract of one file; ConfigurationError where its place and its `dataset` disagree."""
    place, document = _document(path)
    return _contract(place, document)


def _document(path: Path) -> tuple[str, dict[str, Any]]:
    """Of one file the database/schema/table that it is of by its place, and what it says."""
    database, schema, table = path.parent.parent.name, path.parent.name, path.stem
    document: dict[str, Any] = yaml.load(path.read_text(), yaml.CSafeLoader)
    expected = f"{database}/{database}/{schema}/{table}"
    if document.get("dataset") != expected:
        raise ConfigurationError(
            f"{path}: expected `dataset: {expected}` (its folder and file "
            f"name say so), received {document.get('dataset')!r}"
        )
    return f"{database}/{schema}/{table}", document


def _contract(place: str, document: dict[str, Any]) -> Contract:
    database, schema, table = place.split("/")
    identity = document.get("variables", {}).get("identity", {}).get("default", "*")
    checks: dict[str, str | None] = {_name(check): None for check in document.get("checks", ())}
    for column in document["columns"]:
        checks |= {_name(check): column["name"] for check in column.get("checks", ())}
    said, text = document["description"], yaml.safe_dump(document, sort_keys=False, width=1000)
    reads = {
        _name(check): frozenset(_READ.findall(query))
        for check in document.get("checks", ())
        if (query := check.get("failed_rows", {}).get("query"))
    }
    return Contract(text, database, schema, table, identity, checks, said, reads, _fresh(document))  # type: ignore[arg-type]


def _fresh(document: dict[str, Any]) -> float | None:
    for check in document.get("checks", ()):
        if "freshness" in check:
            limit = check["freshness"]["threshold"]
            return float(limit["must_be_less_than"] * _SECONDS[limit["unit"]])
    return None


def _name(check: dict[str, dict[str, Any]]) -> str:
    """Every check of ours has one, which no other of its contract has."""
    ((_, said),) = check.items()
    return str(said["name"])


def find(names: tuple[str, ...] = ()) -> list[Contract]:
    """All contracts by name, or those named; an unknown name raises ConfigurationError."""
    contracts = sorted(_all(), key=lambda contract: contract.name)
    known = {contract.name: contract for contract in contracts}
    for name in names:
        if name not in known:
            raise ConfigurationError(f"expected a contract of {', '.join(known)}, received {name!r}")
    return [known[name] for name in names] if names else contracts


@cache
def _all() -> tuple[Contract, ...]:
    """Those of categories, those of files, and of every mart with a table what is counted of it, and its file's."""
    of_files = dict(_document(path) for path in FOLDER.glob("*/*/*.yml"))
    documents = {**category_contracts.documents(), **of_files, **mart_contracts.documents(of_files)}
    return tuple(_contract(place, document) for place, document in documents.items())


def failing_rows_query(contract: Contract, definition: str, column: str | None) -> sql.Composed | None:
    """The query that selects the rows a failed check counted; None where the check is not about rows.

    `definition` is Soda's own text of the check. A column's rule selects the row's identity and the column;
    a rule that is a query selects what it says.
    """
    check = _check(yaml.safe_load(definition))
    if query := check.get("query"):
        return sql.SQL("{}").format(sql.SQL(query))
    if column is None:
        return None
    name = sql.Identifier(column)
    broken = sql.SQL(check["expression"]) if "expression" in check else sql.SQL("{} is null").format(name)
    return sql.SQL("select {}, {} from {} where {}").format(
        sql.SQL(contract.identity), name, sql.Identifier(contract.schema, contract.table), broken
    )


def _check(definition: dict[str, Any]) -> dict[str, Any]:
    """Soda writes `{"columns": [{"name":, "checks": [..]}]}` for a column, else `{"checks": [..]}`."""
    holder = definition["columns"][0] if "columns" in definition else definition
    (check,) = holder["checks"]
    return check  # type: ignore[no-any-return]
