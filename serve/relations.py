"""What there is to read: tables and views of a schema, as the database's own catalogue has them now."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import SQL, Composable, Identifier

from serve.databases import Databases
from serve.problems import NotLoaded, Problem
from tidemark.access.keys import Caller
from tidemark.connections import Database

# The schema of each database that people read over HTTP.
SCHEMAS: dict[str, Database] = {"live": "realtime", "marts": "warehouse"}
MOST_KEPT = 1_000

# `version` is another as soon as the relation is made anew or altered.
_FOUND = """
select relation.oid::bigint, relation.oid::text || ':' || relation.xmin::text as version
from pg_catalog.pg_class as relation
inner join pg_catalog.pg_namespace as home on relation.relnamespace = home.oid
where home.nspname = %s and relation.relname = %s and relation.relkind in ('r', 'p', 'v', 'm')
and pg_catalog.has_schema_privilege(home.oid, 'usage') and pg_catalog.has_table_privilege(relation.oid, 'select')
"""
_ALL = """
select relation.relname, relation.oid::bigint, relation.oid::text || ':' || relation.xmin::text
from pg_catalog.pg_class as relation
inner join pg_catalog.pg_namespace as home on relation.relnamespace = home.oid
where home.nspname = %s and relation.relkind in ('r', 'p', 'v', 'm') and not relation.relispartition
and pg_catalog.has_schema_privilege(home.oid, 'usage') and pg_catalog.has_table_privilege(relation.oid, 'select')
order by relation.relname
"""
_COLUMNS = """
select relation.oid::bigint, col.attname, pg_catalog.format_type(col.atttypid, null), kind.typcategory, col.attnotnull,
    coalesce(pg_catalog.col_description(relation.oid, col.attnum), '')
from pg_catalog.pg_class as relation
inner join pg_catalog.pg_attribute as col on col.attrelid = relation.oid and col.attnum > 0 and not col.attisdropped
inner join pg_catalog.pg_type as kind on col.atttypid = kind.oid
where relation.oid = any(%s)
order by relation.oid, col.attnum
"""
# The primary key, else the shortest unique index over columns that are never null.
_KEYS = """
select distinct on (relation.oid) relation.oid::bigint, relation.relkind in ('v'),
    coalesce(pg_catalog.obj_description(relation.oid, 'pg_class'), ''),
    array(
        select col.attname::text from unnest(of_key.indkey::int2[]) with ordinality as at (number, position)
        inner join pg_catalog.pg_attribute as col on col.attrelid = relation.oid and col.attnum = at.number
        where at.position <= of_key.indnkeyatts order by at.position
    )
from pg_catalog.pg_class as relation
left join pg_catalog.pg_index as of_key on of_key.indrelid = relation.oid and of_key.indisunique and of_key.indisvalid
and of_key.indpred is null and of_key.indexprs is null and not exists (
    select from unnest(of_key.indkey::int2[]) as at (number)
    inner join pg_catalog.pg_attribute as col on col.attrelid = relation.oid and col.attnum = at.number
    where not col.attnotnull
)
where relation.oid = any(%s)
order by relation.oid, of_key.indisprimary desc nulls last, of_key.indnkeyatts, of_key.indexrelid
"""


def nothing_of(schema: str) -> Problem:
    """404: the same of what is not there and of what the caller may not read."""
    return Problem(
        404, "not found",
        f"expected the name of something in {schema} that you may read, found none of that name: /v1/{schema} "
        "lists what there is",
    )  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column, by Postgres's name of its type; `category` is pg_type's (S: text, B: boolean, ..)."""

    name: str
    type: str
    category: str
    is_required: bool
    description: str


@dataclass(frozen=True)
class Relation:
    """A table or view. `key` is what its pages are ordered by; empty where it declares none."""

    schema: str
    name: str
    is_view: bool
    description: str
    columns: dict[str, Column]
    key: tuple[str, ...]
    version: str

    @property
    def identifier(self) -> Composable:
        """Its name in SQL."""
        return Identifier(self.schema, self.name)

    def described(self) -> dict[str, Any]:
        """For those who ask what there is."""
        return {
            "name": self.name,
            "kind": "view" if self.is_view else "table",
            "description": self.description,
            "path": f"/v1/{self.schema}/{self.name}",
            "key": list(self.key),
            "columns": [
                {
                    "name": each.name,
                    "type": each.type,
                    "nullable": not each.is_required,
                    "description": each.description,
                }
                for each in self.columns.values()
            ],
        }


class Relations:
    """What was read of the catalogues, kept by version: whether a caller may read it is asked each time."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Relation] = {}  # by schema and version

    @asynccontextmanager
    async def reading(
        self, databases: Databases, caller: Caller, schema: str, name: str
    ) -> AsyncIterator[tuple[AsyncConnection[Any], Relation]]:
        """A snapshot in which one relation is read; Problem 404 of a name that the caller may not read, as of none."""
        async with AsyncExitStack() as opened:
            try:
                snapshot = databases.reading(SCHEMAS[schema], caller, (schema, name))
                connection = await opened.enter_async_context(snapshot)
                relation = await self._find(connection, schema, name)
            except NotLoaded:
                raise
            except Problem as problem:
                raise nothing_of(schema) if problem.status == 404 else problem from None
            yield connection, relation

    async def _find(self, connection: AsyncConnection[Any], schema: str, name: str) -> Relation:
        """A relation that the session's role may read; Problem 404 of every other name, whether it is there or not."""
        found = await (await connection.execute(SQL(_FOUND), (schema, name))).fetchone()
        if found is None:
            raise nothing_of(schema)
        oid, version = found
        if (schema, version) not in self._kept:
            await self._describe(connection, schema, [(name, oid, version)])
        return self._kept[schema, version]

    async def all(self, connection: AsyncConnection[Any], schema: str) -> list[Relation]:
        """Every relation of a schema that the session's role may read, by name."""
        found = await (await connection.execute(SQL(_ALL), (schema,))).fetchall()
        await self._describe(connection, schema, [each for each in found if (schema, each[2]) not in self._kept])
        return [self._kept[schema, version] for _, _, version in found]

    async def _describe(
        self, connection: AsyncConnection[Any], schema: str, relations: Sequence[tuple[str, int, str]]
    ) -> None:
        if len(self._kept) + len(relations) > MOST_KEPT:  # of what was made anew, the old versions
            self._kept.clear()
        oids = [oid for _, oid, _ in relations]
        columns: dict[int, dict[str, Column]] = {oid: {} for oid in oids}
        async for oid, *column in await connection.execute(SQL(_COLUMNS), (oids,)):
            columns[oid][column[0]] = Column(*column)
        names = {oid: (name, version) for name, oid, version in relations}
        async for oid, is_view, description, key in await connection.execute(SQL(_KEYS), (oids,)):
            name, version = names[oid]
            self._kept[schema, version] = Relation(
                schema, name, is_view, " ".join(description.split()), columns[oid], tuple(key), version
            )
