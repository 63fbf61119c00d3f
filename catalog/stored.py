"""Whether each stored model still holds what its own SQL says of what it reads: bars of ticks, marts of ingestion.

dbt gives the SQL, as it builds the model when nothing is there; both sides are hashed row by row and joined by the
model's key. So a model that is added is compared without a line here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from catalog.check import absent
from catalog.kept import ROLE
from tidemark import dbt
from tidemark.connections import connect
from tidemark.failing_rows import SAMPLE_ROWS
from tidemark.quality_results import CheckResult
from tidemark.settings import Settings

NOT_BUILT = "not in the table"
ADVICE = "what was loaded and never built comes with `dbt build`; what is missing after it was lost"
CHECK = "every row as its model makes it of what it reads"
DELETED = "select count(distinct traded_date) as days from ops.deleted_tick_day"
# Of one connection: hashes of a few million rows stay in memory, those of more go to files.
WORK_MEM = "64MB"


@dataclass(frozen=True)
class Model:
    """A model with a table. `columns`: those that say something of the data, not when the row was written here.

    `of_ticks`: it keeps what was made of ticks that were deleted since.
    """

    schema: str
    table: str
    key: str
    columns: tuple[str, ...]
    query: str
    of_ticks: bool = False

    @property
    def name(self) -> str:
        """schema.table."""
        return f"{self.schema}.{self.table}"


def stored_models(settings: Settings, only: str | None = None) -> list[Model]:
    """Every model of the warehouse that has a table, in the order in which they are built, or one of a name.

    Waits for a build that goes on. DbtError where dbt cannot compile them.
    """
    chosen = [only] if only else ["config.materialized:incremental", "config.materialized:table"]
    return [_model(node) for node in dbt.compiled(settings, chosen)]


def _model(node: Any) -> Model:
    columns = tuple(name for name in node.columns if not name.endswith("built_at"))
    of_ticks = bool(node.config.meta.get("of_ticks"))
    return Model(node.schema, node.alias, node.config.unique_key, columns, node.compiled_code, of_ticks)


def compare(settings: Settings, model: Model) -> CheckResult:
    """One model's table against its SQL, in one snapshot.

    A difference counts when it is there again after whatever build went on has ended.
    """
    result = _compare(settings, model)
    if result.outcome == "failed":
        (compiled_again,) = stored_models(settings, model.table)
        result = _compare(settings, compiled_again)
    return result


def _compare(settings: Settings, model: Model) -> CheckResult:
    result = CheckResult(model.name, f"warehouse.{model.name}", CHECK, None, "passed", tool="tidemark", type="deep")
    with connect(settings, "warehouse", ROLE, row_factory=dict_row) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        if missing := absent(connection, connection, result.table, result.dataset):
            return missing
        if model.of_ticks and (days := connection.execute(DELETED).fetchall()[0]["days"]):
            return replace(result, outcome="not evaluated", detail=f"the ticks of {days} days were deleted")
        connection.execute(sql.SQL("set work_mem = {}").format(WORK_MEM))
        try:
            rows = connection.execute(_different(model)).fetchall()
            changed = _changed(connection, model, [row["key"] for row in rows if row["difference"] == "changed"])
        except psycopg.ProgrammingError as error:  # what it reads is not there, or has other columns
            return replace(result, outcome="failed", detail=" ".join(str(error).split()))
    if not rows:
        return result
    sample = tuple(
        json.dumps({"difference": row["difference"], model.key: row["key"], **changed.get(row["key"], {})})
        for row in rows
    )
    advice = ADVICE if any(row["difference"] == NOT_BUILT for row in rows) else None
    return replace(result, outcome="failed", failing_rows=rows[0]["rows"], sample=sample, detail=advice)


def _different(model: Model) -> sql.Composed:
    """How many rows differ, and the keys of the first, with how."""
    row = sql.SQL("select {}::text as key, hashtextextended(row({})::text, 0) as digest from {} as hashed")
    key, columns = sql.Identifier(model.key), sql.SQL(", ").join(map(sql.Identifier, model.columns))
    return sql.SQL("""
        with expected as ({expected}), found as ({found})
        select
            count(*) over () as rows,
            coalesce(expected.key, found.key) as key,
            case
                when found.key is null then {not_built}
                when expected.key is null then 'in the table alone'
                else 'changed'
            end as difference
        from expected full join found on expected.key = found.key
        where expected.digest is distinct from found.digest
        order by 2
        limit {limit}
    """).format(
        expected=row.format(key, columns, sql.SQL("({})").format(sql.SQL(model.query))),
        found=row.format(key, columns, sql.Identifier(model.schema, model.table)),
        limit=SAMPLE_ROWS, not_built=NOT_BUILT,
    )  # fmt: skip


def _changed(
    connection: psycopg.Connection[dict[str, Any]], model: Model, keys: list[str]
) -> Mapping[str, dict[str, Any]]:
    """The columns that differ of each key, with what is expected and what the table has."""
    if not keys:
        return {}
    query = sql.SQL("""
        select to_jsonb(expected) as expected, to_jsonb(found) as found
        from (select * from ({query}) as made where {key} = any({keys})) as expected
        inner join {table} as found using ({key})
    """).format(
        query=sql.SQL(model.query), key=sql.Identifier(model.key), keys=keys,
        table=sql.Identifier(model.schema, model.table),
    )  # fmt: skip
    return {
        row["found"][model.key]: {
            name: [row["expected"][name], row["found"][name]]
            for name in model.columns
            if row["expected"][name] != row["found"][name]
        }
        for row in connection.execute(query).fetchall()
    }
