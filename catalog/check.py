"""Runs the contracts with Soda, as the role catalog_reader; keeps what they find in quality.results."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from catalog.contracts import Contract, failing_rows_query, find
from catalog.freshness import Silence, unasked
from catalog.kept import ROLE, failures, keep
from tidemark.connections import DATABASES, Database, connect
from tidemark.errors import StackError
from tidemark.failing_rows import failing_rows
from tidemark.home_kind import home_kind
from tidemark.output import utc
from tidemark.quality_results import CheckResult, Outcome, Severity
from tidemark.settings import Settings

OWNED: dict[Database, str] = {"warehouse": "ingestion", "realtime": "realtime"}  # schemas: each table has a contract
HAS_CONTRACT = "a contract names the table"
TABLE_EXISTS = "the table exists"
CONTRACT_RUNS = "the contract runs"
UNMEASURED = "Soda could not measure it"
FRESHNESS = "freshness"  # its type, of which a contract has one
AS_IN_LAKE = "every row as the lake has it"  # what the flows compare, which alone know the lake
Connections = dict[Database, psycopg.Connection[dict[str, Any]]]


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
        if only is None:
            results += [each for name in DATABASES for each in without_contract(connections[name], name)]
        keep(connections["warehouse"], results, checked_at)
    return results


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
    from soda_core.common.yaml import ContractYamlSource
    from soda_core.contracts.contract_verification import ContractVerificationSession
    from soda_core.contracts.impl.check_selector import CheckSelector

    connection = connections[contract.database]
    if missing := absent(connection, connections["warehouse"], contract.name, contract.dataset):
        return [missing]
    left_out = _unread(connection, contract)
    if old := may_be_old(contract, connection):
        left_out[FRESHNESS] = old
    session = ContractVerificationSession.execute(
        contract_yaml_sources=[ContractYamlSource.from_str(contract.text)],
        data_source_impls=[source],
        check_selectors=CheckSelector.parse_all([_but(name) for name in left_out]),
    )
    (verified,) = session.contract_verification_results
    results = [_result(contract, connection, found, left_out) for found in verified.check_results]
    hindered = any(result.outcome == "not evaluated" and result.detail == UNMEASURED for result in results)
    if not failures(results) and (hindered or not session.is_ok):  # a column that is not there is said by the schema
        said = " ".join(session.get_errors_str().split()) or _refusal(connection, contract)
        results.append(_of_table(contract.name, contract.dataset, CONTRACT_RUNS, "error", said))
    return results


def _refusal(connection: psycopg.Connection[dict[str, Any]], contract: Contract) -> str:
    """What Postgres says to whoever reads the table: Soda tells it to its log alone."""
    try:
        connection.execute(sql.SQL("select from {} limit 1").format(sql.Identifier(contract.schema, contract.table)))
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return UNMEASURED


def _unread(connection: psycopg.Connection[dict[str, Any]], contract: Contract) -> dict[str, str]:
    """The checks that read a table that is not there yet, with what to say of each."""
    tables = sorted({table for read in contract.reads.values() for table in read})
    query = "select name from unnest(%s::text[]) as name where to_regclass(name) is null"
    missing = {row["name"] for row in connection.execute(query, (tables,))}
    return {
        check: f"{', '.join(sorted(read & missing))} does not exist yet: nothing has filled it"
        for check, read in contract.reads.items()
        if read & missing
    }


def _but(check: str) -> str:
    return f"type!={check}" if check == FRESHNESS else f"name!={check}"


def _of_table(name: str, dataset: str, check: str, outcome: Outcome, detail: str) -> CheckResult:
    return CheckResult(name, dataset, check, None, outcome, detail=detail, type="table")


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
        "select max(checked_at) as at from quality.results where dataset = %s and tool <> 'dbt' "
        "and outcome not in ('not evaluated', 'error')",
        (dataset,),
    )
    if (last := known.fetchone()) and last["at"]:
        return _of_table(name, dataset, TABLE_EXISTS, "failed", f"it is gone; it was checked at {utc(last['at'])}")
    return _of_table(name, dataset, TABLE_EXISTS, "not evaluated", "it does not exist yet: nothing has filled it")


def without_contract(connection: psycopg.Connection[dict[str, Any]], database: Database) -> list[CheckResult]:
    """Tables of ingestion and of the streaming database that no contract is of; a partition is none of its own."""
    known = [contract.name for contract in find() if contract.database == database]
    query = (
        "select nspname || '.' || relname as name "
        "from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid "
        "where nspname = %s and relkind in ('r', 'p') and not relispartition "
        "and nspname || '.' || relname <> all(%s) order by 1"
    )
    found = connection.execute(query, (OWNED[database], known)).fetchall()
    said = f"write catalog/contracts/{database}/{OWNED[database]}/TABLE.yml"
    return [
        replace(_of_table(row["name"], f"{database}.{row['name']}", HAS_CONTRACT, "warned", said), severity="warn")
        for row in found
    ]


def _result(
    contract: Contract, connection: psycopg.Connection[dict[str, Any]], found: Any, left_out: Mapping[str, str]
) -> CheckResult:
    """Soda's result of one check as ours; a failed one with the rows that it means."""
    outcome = _outcome(found)
    column: str | None = found.check.column_name
    severity: Severity = "warn" if "level: warn" in str(found.check.threshold) else "error"
    result = CheckResult(
        contract.name, contract.dataset, found.check.name, column, outcome,
        measured=found.threshold_value, type=found.check.type, severity=severity,
    )  # fmt: skip
    if outcome == "passed":
        return result
    if outcome == "not evaluated":
        why = left_out.get(found.check.name) or left_out.get(found.check.type)
        return replace(result, detail=why or UNMEASURED)
    query = failing_rows_query(contract, found.check.definition, column)
    if query is None:
        return replace(result, detail=_detail(found))
    count, sample = failing_rows(connection, query)
    return replace(result, failing_rows=count, sample=sample, column=column or _named_column(sample))


def _outcome(found: Any) -> Outcome:
    if found.is_passed:
        return "passed"
    return "failed" if found.is_failed else "warned" if found.is_warned else "not evaluated"


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
