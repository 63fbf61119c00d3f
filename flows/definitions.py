"""The Prefect flows: batch lane, promote and trim, checks. The work is in the rooms; here are the retries."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from time import monotonic
from typing import Any

import psycopg
from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run

from flows import promote as steps
from flows.errors import CheckFailed, NotPromoted
from flows.ledger import Promotion
from flows.prefect_session import current_settings
from realtime.trim import DayChanged
from tidemark.errors import SourceError, TidemarkError
from tidemark.refusals import is_temporary
from tidemark.settings import Settings

DATABASE_RETRY_SECONDS = [2, 10, 30]
TRIM_RETRY_SECONDS = [1, 2, 5, 10, 30]
ROUNDS = 3  # how often a day that receives rows while it is promoted is taken up again in one run


def _retriable(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether it may succeed later: a database away, a lock not given. A source has done its own retries."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, SourceError | DayChanged):
        return False
    if isinstance(error, psycopg.Error):
        return is_temporary(error)
    return isinstance(error, TidemarkError) and error.retriable


def _task(function: Any, name: str, delays: list[int]) -> Any:
    """A task of one step; nothing of it is cached or kept, the databases know what is done."""
    return task(
        name=name, retries=len(delays), retry_delay_seconds=[float(delay) for delay in delays],
        retry_condition_fn=_retriable, cache_policy=NO_CACHE, persist_result=False, log_prints=True,
    )(function)  # fmt: skip


@dataclass
class Outcome:
    """What became of one topic's due day. `rows_in` left `realtime`, `rows_out` were counted in the mart.

    `seconds` are those of its own steps; dbt builds once for all days.
    """

    topic: str
    day: date
    rows_in: int = 0
    rows_out: int = 0
    seconds: float = 0.0
    outcome: str = "nothing to do"  # or promoted, or not promoted
    error: BaseException | None = None

    def fail(self, error: BaseException | None) -> None:
        """Note why the day stays, if there is a reason."""
        if error is not None:
            self.outcome, self.error = "not promoted", error

    def row(self) -> dict[str, Any]:
        """The outcome as JSON has it."""
        numbers = {"rows_in": self.rows_in, "rows_out": self.rows_out, "seconds": round(self.seconds, 3)}
        detail = {"outcome": self.outcome, "detail": str(self.error or "")}
        return {"topic": self.topic, "day": self.day.isoformat(), **numbers, **detail}


# --- the batch lane


def _load(settings: Settings, source: str) -> Any:
    from ingest import pipeline

    return pipeline.run(settings, source)


def _build_source(settings: Settings, source: str) -> None:
    from tidemark import dbt

    dbt.run(settings, ["build", "--select", f"@source:{source}"])


@flow(name="ingest", flow_run_name="ingest {source}", log_prints=True)
def ingest(source: str, build: bool = True) -> Any:
    """Load one batch source into the lake and its ingestion tables, then build the models that read it.

    A lake file that could not be loaded hinders nothing else; then it is said (NotLoaded).
    """
    settings = current_settings()
    loaded = _task(_load, f"load {source}", DATABASE_RETRY_SECONDS)(settings, source)
    for part in loaded.resources:
        print(f"{source} {part.resource}: {part.rows_in} rows in, {part.rows_loaded} in ingestion.{part.table}")
    if build:
        _task(_build_source, f"build {source}", DATABASE_RETRY_SECONDS)(settings, source)
    loaded.refuse_gaps()
    return loaded


# --- promote and trim


def _ensure_live(settings: Settings) -> None:
    from tidemark import dbt

    dbt.ensure_live(settings)


def _promote_name() -> str:
    """The run's name in Prefect's UI: what it may move."""
    as_of = flow_run.parameters.get("as_of")
    return f"promote days before {steps.first_kept_day(current_settings(), as_of)}"


@flow(name="promote", flow_run_name=_promote_name, log_prints=True)
def promote(as_of: datetime | None = None) -> list[dict[str, Any]]:
    """Promote every due day of every topic and let it leave `realtime`; what one day hinders stops no other.

    `as_of` replaces now (UTC where it names no zone), and must do so in a replay. Returns a row for each topic and
    due day; NotPromoted, with the same rows, where one stayed that should have left.
    """
    settings = current_settings()
    if as_of is None:
        steps.refuse_now_in_a_replay(settings)
    with steps.only_one(settings):
        views = _task(_ensure_live, "make the views of live that are missing", DATABASE_RETRY_SECONDS)
        _, without_views = _attempt(views, settings)  # which is no reason for a day to stay
        due = steps.due_days(settings, steps.first_kept_day(settings, as_of))
        outcomes = [Outcome(topic, day) for topic, day in due]
        todo = [outcome for outcome in outcomes if due[outcome.topic, outcome.day]]
        unbuilt: BaseException | None = None
        for _ in range(ROUNDS):
            todo, error = _promote_round(settings, todo) if todo else ([], None)
            unbuilt = error or unbuilt
        tested = _task(steps.test, "test the models", DATABASE_RETRY_SECONDS)
        moved = sorted({outcome.topic for outcome in outcomes if outcome.outcome == "promoted"})
        failing = _attempt(tested, settings, moved)[1] if moved else None
    rows = [outcome.row() for outcome in outcomes]
    for row in rows:
        print("{topic} {day}: {outcome}, {rows_in} rows in, {rows_out} out, {seconds} s {detail}".format(**row))
    if stayed := [outcome for outcome in outcomes if outcome.error]:
        raise NotPromoted("; ".join(dict.fromkeys(str(outcome.error) for outcome in stayed)), rows)
    for error in (unbuilt, failing, without_views):
        if error is not None:
            raise error
    return rows


def _promote_round(settings: Settings, outcomes: list[Outcome]) -> tuple[list[Outcome], BaseException | None]:
    """One pass over the days; those that received rows meanwhile, to be taken up again, and what was not built."""
    topics = sorted({outcome.topic for outcome in outcomes})
    now = datetime.now(UTC)  # before the log's ends are read
    refused = _task(steps.refusals, "check that days may leave", DATABASE_RETRY_SECONDS)(settings, topics)
    staged: list[tuple[Outcome, Promotion]] = []
    for outcome in outcomes:
        outcome.error = None
        outcome.fail(refused.get(outcome.topic))
        if outcome.error is None and (promotion := _stage(settings, outcome, now)):
            staged.append((outcome, promotion))
    unbuilt = _build_and_settle(settings, staged) if staged else None
    return [outcome for outcome in outcomes if isinstance(outcome.error, DayChanged)], unbuilt


def _build_and_settle(settings: Settings, staged: list[tuple[Outcome, Promotion]]) -> BaseException | None:
    """Build once for all days and let go of those whose topic was built; what was not built, if anything."""
    build = _task(steps.build, "build the models", DATABASE_RETRY_SECONDS)
    built, error = _attempt(build, settings, sorted({outcome.topic for outcome, _ in staged}))
    for outcome, promotion in staged:
        outcome.fail(error or built.held.get(outcome.topic))
        if outcome.error is None:
            _settle(settings, outcome, promotion)
    return error or built.error


def _attempt(step: Any, *arguments: Any) -> tuple[Any, BaseException | None]:
    """A task's result and error: one of the two, so that what follows goes on without it."""
    result = step(*arguments, return_state=True).result(raise_on_failure=False)
    return (None, result) if isinstance(result, BaseException) else (result, None)


def _stage(settings: Settings, outcome: Outcome, ends_read_after: datetime) -> Promotion | None:
    began = monotonic()
    step = _task(steps.stage, f"copy and load {outcome.topic} {outcome.day}", DATABASE_RETRY_SECONDS)
    promotion: Promotion | None
    promotion, error = _attempt(step, settings, outcome.topic, outcome.day, ends_read_after)
    outcome.fail(error)
    outcome.rows_in = promotion.row_count if promotion else 0
    outcome.seconds += monotonic() - began
    return promotion


def _settle(settings: Settings, outcome: Outcome, promotion: Promotion) -> None:
    began = monotonic()
    step = _task(steps.settle, f"verify and trim {outcome.topic} {outcome.day}", TRIM_RETRY_SECONDS)
    counted, error = _attempt(step, settings, promotion)
    outcome.fail(error)
    if error is None:
        outcome.outcome, outcome.rows_out = "promoted", counted
    outcome.seconds += monotonic() - began


# --- quality


@flow(name="check", flow_run_name="check every contract", log_prints=True)
def check() -> int:
    """Verify every contract, and let go of what is old; CheckFailed where a check found broken rows.

    Else NotLetGo or DbtError where something old had to stay. Returns the number of checks that ran.
    """
    from catalog import check as contracts
    from flows import checks, retention

    settings = current_settings()
    results = _task(checks.verify_contracts, "verify the contracts", DATABASE_RETRY_SECONDS)(settings)
    letting_go = _task(retention.let_go, "let go of what is old", DATABASE_RETRY_SECONDS)
    gone, kept = _attempt(letting_go, settings)
    for table, rows in (gone or {}).items():
        if rows:
            print(f"{table}: {rows} rows were older than their retention")
    _, undeleted = _attempt(_task(retention.delete_ticks, "delete old ticks", DATABASE_RETRY_SECONDS), settings)
    if failed := contracts.failures(results):
        raise CheckFailed("; ".join(contracts.sentence(result) for result in failed))
    for error in (kept, undeleted):
        if error is not None:
            raise error
    return len(results)
