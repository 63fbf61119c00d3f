"""Runs the contracts with Soda, as the role catalog_reader; keeps what they find in quality.check_result."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from catalog.contracts import Contract, failing_rows_query, find
from catalog.freshness import Silence, unasked
from tidemark.connections import DATABASES, Database, connect, home_kind
from tidemark.errors import StackError
from tidemark.settings import Settings

ROLE = "catalog_reader"
SAMPLE_ROWS = 5
TABLE_EXISTS = "the table exists"
CONTRACT_RUNS = "the contract runs"
AS_IN_LAKE = "every row as the lake has it"  # what the flows compare, which alone know the lake
Outcome = Literal["passed", "failed", "not evaluated"]
Connections = dict[Database, psycopg.Connection[dict[str, Any]]]


@dataclass(frozen=True)
class CheckResult:
    """What one check of one contract found. `sample`: at most five failing rows, as JSON text."""

    contract: str  # schema.table
    dataset: str  # database.schema.table
    check: str
    column: str | None
    outcome: Outcome
    failing_rows: int | None = None
    detail: str | None = None
    sample: tuple[str, ...] = ()
    measured: float | None = None  # the number that Soda compared with its threshold


def run(
    settings: Settings,
    only: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
    silence: Silence | None = None,
) -> list[CheckResult]:
    """Verify every contract (or those named schema.table) and keep the results; a failure stops no other.

    `progress` is called with each contract's name before it runs. `silence`: what is known of the sources; without it
    every topic is to be as fresh as its contract says, but a replay's. A table that does not exist yet is
    "not evaluated"; one that earlier results know is "failed". Raises ConfigurationError for an unknown name,
    StackError where a database does not answer.
    """
    contracts = find(tuple(only or ()))
    checked_at = datetime.now(UTC)
    results: list[CheckResult] = []
    with _connections(settings) as connections, _soda_sources(settings) as sources:
        for contract in contracts:
            if progress:
                progress(contract.name)
            may_be_old = partial(unasked, replay=home_kind(settings) == "replay", silence=silence)
            results += _verify(contract, connections, sources[contract.database], may_be_old)
        keep(connections["warehouse"], results, checked_at)
    return results


def failures(results: Sequence[CheckResult]) -> list[CheckResult]:
    """The results that make `tidemark check` exit 1."""
    return [result for result in results if result.outcome == "failed"]


def sentence(result: CheckResult) -> str:
    """One failed check as a sentence that names the table, the column, the count and the rows."""
    where = result.dataset + (f", column {result.column}" if result.column else "")
    count = "" if result.failing_rows is None else f": {result.failing_rows} failing rows"
    rows = f", among them {'; '.join(result.sample)}" if result.sample else ""
    return f"{where}: expected {result.check}{count}{rows}{f' ({result.detail})' if result.detail else ''}"


@contextmanager
def _connections(settings: Settings) -> Iterator[Connections]:
    options = {"autocommit": True, "row_factory": dict_row}
    with ExitStack() as opened:
        found = {each: opened.enter_context(closing(connect(settings, each, ROLE, **options))) for each in DATABASES}
        try:
            yield found
        except psycopg.OperationalError as error:
            raise StackError(
                f"expected the databases {' and '.join(DATABASES)} to answer as {ROLE}, received: {error}; "
                "`tidemark up` starts the local stack"
            ) from error


@contextmanager
def _soda_sources(settings: Settings) -> Iterator[dict[Database, Any]]:
    """Soda's data source of each database, named like it; its settings are in memory, never in a file."""
    os.environ["SODA_CORE_TELEMETRY_ENABLED"] = "false"  # read at import
    # What it finds is in its results; with a handler of another library's it would print its SQL and tracebacks too.
    logging.getLogger("soda").setLevel(logging.CRITICAL + 1)
    from soda_core.common.data_source_impl import DataSourceImpl
    from soda_core.common.yaml import DataSourceYamlSource
    from soda_postgres.common.data_sources import postgres_data_source_connection as soda_postgres  # type: ignore[import-untyped]

    class OurConnection(soda_postgres.PostgresDataSourceConnection):  # type: ignore[misc]
        """Soda's own takes one numeric port, and part of what libpq knows."""

        def _create_connection(self, config: Any) -> psycopg.Connection[Any]:
            return connect(settings, self.name, ROLE)

    sources: dict[Database, Any] = {}
    try:
        for database in DATABASES:
            text = json.dumps(_soda_source(database))
            sources[database] = DataSourceImpl.from_yaml_source(DataSourceYamlSource.from_str(text))
            sources[database].data_source_connection = OurConnection(database, None)
        yield sources
    finally:
        for source in sources.values():
            source.close_connection()


def _soda_source(database: str) -> dict[str, Any]:
    """What Soda asks for; it enters by none of it."""
    return {
        "type": "postgres",
        "name": database,
        "connection": {"host": "", "user": ROLE, "password": "", "database": database},
    }


def _verify(
    contract: Contract, connections: Connections, source: Any, may_be_old: Callable[..., str | None]
) -> list[CheckResult]:
    from soda_core.contracts import verify_contract_locally
    from soda_core.contracts.impl.check_selector import CheckSelector

    if missing := absent(connections[contract.database], connections["warehouse"], contract.name, contract.dataset):
        return [missing]
    old = may_be_old(contract, connections[contract.database])
    selectors = CheckSelector.parse_all(["type!=freshness"] if old else [])
    session = verify_contract_locally(
        data_sources=[source], contract_file_path=str(contract.path), check_selectors=selectors
    )
    (verified,) = session.contract_verification_results
    results = [_result(contract, connections[contract.database], found, old) for found in verified.check_results]
    if not session.is_ok and not failures(results):
        errors = session.get_errors_str()
        results.append(CheckResult(contract.name, contract.dataset, CONTRACT_RUNS, None, "failed", detail=errors))
    return results


def absent(
    connection: psycopg.Connection[dict[str, Any]],
    warehouse: psycopg.Connection[dict[str, Any]],
    name: str,
    dataset: str,
) -> CheckResult | None:
    """What to say of a table that is not there: nothing has filled it yet, or it was there and is gone."""
    table = sql.Identifier(*name.split(".")).as_string()
    found = connection.execute("select to_regclass(%s) as found", (table,)).fetchone()
    if found and found["found"]:
        return None
    known = warehouse.execute(
        "select max(checked_at) as at from quality.check_result where contract = %s and outcome <> 'not evaluated'",
        (name,),
    )
    if (last := known.fetchone()) and last["at"]:
        return CheckResult(
            name, dataset, TABLE_EXISTS, None, "failed", detail=f"it is gone; it was checked at {last['at']}"
        )
    return CheckResult(
        name, dataset, TABLE_EXISTS, None, "not evaluated", detail="it does not exist yet: nothing has filled it"
    )


def _result(
    contract: Contract, connection: psycopg.Connection[dict[str, Any]], found: Any, old: str | None
) -> CheckResult:
    """Soda's result of one check as ours; a failed one with the rows that it means."""
    outcome: Outcome = "passed" if found.is_passed else "failed" if found.is_failed else "not evaluated"
    column: str | None = found.check.column_name
    result = CheckResult(
        contract.name, contract.dataset, found.check.name, column, outcome, measured=found.threshold_value
    )
    if outcome == "passed":
        return result
    if outcome == "not evaluated":
        return replace(result, detail=old if found.is_excluded else "Soda could not measure it")
    query = failing_rows_query(contract, found.check.definition, column)
    if query is None:
        return replace(result, detail=_detail(found))
    count, sample = _failing_rows(connection, query)
    return replace(result, failing_rows=count, sample=sample, column=column or _named_column(sample))


def _named_column(sample: tuple[str, ...]) -> str | None:
    """The columns that a query over a wide table names in its own output, as `column_name`."""
    names = {name for row in sample if (name := json.loads(row).get("column_name"))}
    return ", ".join(sorted(names)) or None


def _detail(found: Any) -> str:
    """What a check without failing rows measured: a schema's differences, an age, a count."""
    if found.check.type == "schema":
        return str(found.log_table_row_diagnostics(verbose=False)).replace("\n", "; ")
    if found.threshold_value is None:
        return "the table is empty"
    limit = str(found.check.threshold).replace("level: fail\n", "")
    return f"measured {found.threshold_value:g}, {limit}"


def _failing_rows(connection: psycopg.Connection[dict[str, Any]], query: sql.Composed) -> tuple[int, tuple[str, ...]]:
    """How many rows fail now, and the first few as JSON text: of one query, so that they agree."""
    statement = sql.SQL(
        "select count(*) over () as failing_count, to_jsonb(failing)::text as failing_row from ({}) as failing limit {}"
    ).format(query, SAMPLE_ROWS)
    rows = connection.execute(statement).fetchall()
    return (rows[0]["failing_count"] if rows else 0), tuple(row["failing_row"] for row in rows)


def keep(connection: psycopg.Connection[Any], results: Sequence[CheckResult], checked_at: datetime) -> None:
    """Note the results in quality.check_result, as the role that owns it."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "insert into quality.check_result (contract, dataset, check_name, column_name, outcome,"
            " failing_rows, measured, detail, checked_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (r.contract, r.dataset, r.check, r.column, r.outcome, r.failing_rows, r.measured,
                 "; ".join(filter(None, (r.detail, *r.sample))) or None, checked_at)
                for r in results
            ],
        )  # fmt: skip
