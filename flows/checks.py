"""What promotions and loads compared once, compared again: `realtime`, lake, ingestion tables, stored models.

Each fact has one owner: the rooms compare their own places, here is the ledger and the list.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial

import psycopg

from catalog import check, contracts, kept, stored
from catalog.report import progress
from flows import ledger
from ingest import compare, sources, tables
from ingest.sources import realtime
from tidemark.categories import CATEGORIES
from tidemark.connections import connect
from tidemark.dbt.results import keep_by_hand, tested_tables
from tidemark.errors import ConfigurationError
from tidemark.quality_results import CheckResult
from tidemark.settings import Settings

NOT_THERE = "it does not exist yet: nothing has filled it"


@dataclass(frozen=True)
class Comparison:
    """One table against what it was made of; `name` is schema.table."""

    name: str
    run: Callable[[], CheckResult]


def comparisons(settings: Settings) -> list[Comparison]:
    """Every comparison, in the order of the data. DbtError where dbt cannot give a model's SQL."""
    held = [Comparison(f"realtime.{topic}", partial(_held, settings, topic)) for topic in CATEGORIES]
    batch = [
        Comparison(f"ingestion.{tables.table_name(source, one.name)}", partial(_batch, settings, source, one.name))
        for source in sources.names()
        for one in sources.resources(source)
    ]
    promoted = [
        Comparison(f"ingestion.{tables.table_name(realtime.SOURCE, topic)}", partial(_promoted, settings, topic))
        for topic in CATEGORIES
    ]
    models = [Comparison(m.name, partial(stored.compare, settings, m)) for m in stored.stored_models(settings)]
    return [*held, *promoted, *batch, *models]


def verify(settings: Settings, names: Sequence[str], deep: bool, quiet: bool = False) -> list[CheckResult]:
    """The results of the contracts and, if `deep`, of the comparisons of these tables, of all where none is named.

    Then what dbt's tests of them last found.

    Progress is shown on the terminal's error stream unless `quiet`. ConfigurationError for a name that no table has.
    """
    todo = comparisons(settings) if deep else []
    keep_by_hand(settings)
    known, compared = [contract.name for contract in contracts.find()], [one.name for one in todo]
    tested = tested_tables(settings)
    everything = {*known, *compared, *(dataset.partition(".")[2] for dataset in tested)}
    for name in names:
        if name not in everything:
            raise ConfigurationError(f"expected a table of {', '.join(sorted(everything))}, received {name!r}")
    todo = [one for one in todo if not names or one.name in names]
    of_contracts = [name for name in known if not names or name in names]
    with progress("checks", len(of_contracts) + len(todo)) if not quiet else nullcontext() as step:
        only = of_contracts if names else None
        results = check.run(settings, only, step, silence(settings)) if of_contracts else []
        results += run(settings, todo, step) if todo else []
    return results + _of_dbt(settings, names, tested)


def _of_dbt(settings: Settings, names: Sequence[str], tested: Mapping[str, frozenset[str]]) -> list[CheckResult]:
    """What dbt's tests last found, of those that there still are: they run with dbt, not here."""
    chosen = [dataset for dataset in tested if not names or dataset.partition(".")[2] in names]
    with connect(settings, "warehouse", kept.ROLE) as connection:
        last = kept.last_of_dbt(connection, chosen)
    return [result for result in last if result.check in tested[result.dataset]]


def verify_contracts(settings: Settings) -> list[CheckResult]:
    """The results of every contract; what dbt found by hand is kept, and fails the runs of dbt alone."""
    keep_by_hand(settings)
    return check.run(settings, silence=silence(settings))


def silence(settings: Settings) -> dict[str, float] | None:
    """Of each topic how long its sources may be silent; None where sources.yml cannot be read, as the lane says too."""
    from stream_shim.connectors.feeds import silence_by_topic

    try:
        return silence_by_topic(settings.sources_file)
    except ConfigurationError:
        return None


def run(settings: Settings, todo: Sequence[Comparison], step: Callable[[str], None] | None = None) -> list[CheckResult]:
    """What each comparison found, kept in quality.results; a difference in one stops no other.

    StackError where a database does not answer.
    """
    started, results = datetime.now(UTC), []
    for comparison in todo:
        if step:
            step(comparison.name)
        try:
            results.append(comparison.run())
        except (psycopg.DataError, psycopg.ProgrammingError) as error:  # a value that is not what its column says
            name, detail = comparison.name, " ".join(str(error).split())
            results.append(replace(_of(name), outcome="failed", detail=detail))
    with connect(settings, "warehouse", kept.ROLE) as connection:
        kept.keep(connection, results, started)
    return results


def _found(result: CheckResult, difference: compare.Difference) -> CheckResult:
    if not difference.rows:
        return result
    return replace(result, outcome="failed", failing_rows=difference.rows, sample=difference.sample)


def _of(name: str, database: str = "warehouse") -> CheckResult:
    dataset = f"{database}.{name}"
    return CheckResult(name, dataset, check.AS_IN_LAKE, None, "passed", tool="tidemark", type="deep")


def _batch(settings: Settings, source: str, resource: str) -> CheckResult:
    table = tables.table_name(source, resource)
    result = _of_ingestion(table)
    if not compare.table_is_there(settings, table):
        return replace(result, outcome="not evaluated", detail=NOT_THERE)
    return _found(result, compare.batch(settings, source, resource))


def _of_ingestion(table: str) -> CheckResult:
    return _of(f"ingestion.{table}")


def _promoted(settings: Settings, topic: str) -> CheckResult:
    table = tables.table_name(realtime.SOURCE, topic)
    result, verified = _of_ingestion(table), ledger.slices_of_files(settings, topic, verified=True)
    if compare.table_is_there(settings, table):
        files = {file: pieces for (_, file), pieces in verified.items()}
        return _found(result, compare.promoted(settings, topic, files))
    if verified:
        return replace(result, outcome="failed", detail=f"it is gone, and {len(verified)} lake files were promoted")
    return replace(result, outcome="not evaluated", detail=NOT_THERE)


def _held(settings: Settings, topic: str) -> CheckResult:
    staged: dict[date, list[str]] = defaultdict(list)
    for day, file in ledger.slices_of_files(settings, topic):
        staged[day].append(file)
    result = _of(f"realtime.{topic}", "realtime")
    return _found(result, compare.held(settings, topic, staged))
