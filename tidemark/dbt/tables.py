"""Tables of dbt that an older version built with other columns: found."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tidemark.connections import connect
from tidemark.dbt.project import DBT_PROJECT, ROLE
from tidemark.settings import Settings

SCHEMAS = ("intermediate", "marts")  # whose tables dbt adds to; views are replaced by every build

Columns = dict[str, str]  # name to Postgres type


@dataclass(frozen=True)
class Outgrown:
    """A table whose columns are not its model's; `differences` as people read them."""

    model: str
    schema: str
    differences: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"expected {self.schema}.{self.model} with its model's columns, found it as an older version made it "
            f"({', '.join(self.differences)}): run `tidemark models rebuild {self.model}`; "
            "the old table is read until the new one is whole"
        )


def outgrown(settings: Settings) -> list[Outgrown]:
    """Every table of `warehouse` whose columns are not those that its model's file gives, in order of the files.

    StackError where the warehouse does not answer.
    """
    with connect(settings, "warehouse", ROLE) as connection:
        found = []
        for schema, model, wanted in tables():
            query = (
                "select attname, format_type(atttypid, null), format_type(to_regtype(%s::jsonb ->> attname), null) "
                "from pg_attribute inner join pg_class on pg_class.oid = attrelid "
                "where attrelid = to_regclass(%s) and relkind = 'r' and attnum > 0 and not attisdropped"
            )
            there = connection.execute(query, (json.dumps(wanted), f"{schema}.{model}")).fetchall()
            if there and (differences := tuple(_differences(there, wanted))):
                found.append(Outgrown(model, schema, differences))
    return found


def tables() -> Iterator[tuple[str, str, Columns]]:
    """Schema, model and columns of every model of these schemas, in order of the files."""
    for schema, model in _models():
        yield schema, model["name"], {one["name"]: one["data_type"] for one in model["columns"]}


def stored_marts() -> Iterator[tuple[str, Columns]]:
    """Name and columns of every mart that has a table and is no view, in order of the files."""
    for schema, model, columns in tables():
        if schema == "marts":
            (path,) = (DBT_PROJECT / "models" / schema).rglob(f"{model}.sql")
            if 'materialized="view"' not in path.read_text():
                yield model, columns


@dataclass(frozen=True)
class Holding:
    """The mart that has every promoted row of a topic with its identity.

    `rejects`: it says of which topic a row is, and what cannot be one of its rows is in `rpt_rejected_rows` instead.
    """

    mart: str
    rejects: bool


@cache
def holdings() -> dict[str, Holding]:
    """By topic, the mart whose `meta` in its model's file names the topic under `holds_topics`."""
    found = {}
    for _, model in _models():
        rejects = any(column["name"] == "topic" for column in model["columns"])
        for topic in model.get("config", {}).get("meta", {}).get("holds_topics", []):
            found[topic] = Holding(model["name"], rejects)
    return found


def _models() -> Iterator[tuple[str, dict[str, Any]]]:
    import yaml

    for schema in SCHEMAS:
        for path in sorted((DBT_PROJECT / "models" / schema).rglob("_*__*.yml")):
            for model in (yaml.load(path.read_text(), yaml.CSafeLoader) or {}).get("models", []):
                yield schema, model


def _differences(there: list[tuple[Any, ...]], wanted: Columns) -> Iterator[str]:
    yield from (f"lacks {name}" for name in wanted if name not in {known for known, *_ in there})
    for name, is_type, should_be in there:
        if name not in wanted:
            yield f"has {name}"
        elif is_type != should_be:
            yield f"{name} is {is_type}, not {should_be}"
