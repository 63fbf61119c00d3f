"""Contracts are data: contracts/<database>/<schema>/<table>.yml. Here they are found, and asked for rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from psycopg import sql

from tidemark.connections import Database
from tidemark.errors import ConfigurationError

FOLDER = Path(__file__).parent / "contracts"
_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True)
class Contract:
    """One contract file. `identity` is the columns that name a row of its table, as an SQL list.

    `checks`: the name of each, with the column that it is of, or None for one of the whole table. `fresh_seconds`: how
    old its newest row may be, if it says so.
    """

    path: Path
    database: Database
    schema: str
    table: str
    identity: str
    checks: Mapping[str, str | None]
    description: str
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
    database, schema, table = path.parent.parent.name, path.parent.name, path.stem
    document = yaml.safe_load(path.read_text())
    expected = f"{database}/{database}/{schema}/{table}"
    if document.get("dataset") != expected:
        raise ConfigurationError(
            f"{path}: expected `dataset: {expected}` (its folder and file "
            f"name say so), received {document.get('dataset')!r}"
        )
    identity = document.get("variables", {}).get("identity", {}).get("default", "*")
    checks: dict[str, str | None] = {_name(check): None for check in document.get("checks", ())}
    for column in document["columns"]:
        checks |= {_name(check): column["name"] for check in column.get("checks", ())}
    said = document["description"]
    return Contract(path, database, schema, table, identity, checks, said, _fresh(document))  # type: ignore[arg-type]


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
    contracts = sorted((read(path) for path in FOLDER.glob("*/*/*.yml")), key=lambda contract: contract.name)
    known = {contract.name: contract for contract in contracts}
    for name in names:
        if name not in known:
            raise ConfigurationError(f"expected a contract of {', '.join(known)}, received {name!r}")
    return [known[name] for name in names] if names else contracts


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
