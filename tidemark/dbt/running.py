"""One run of dbt at a time on each database, in this process."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

import tenacity

from tidemark.connections import Database
from tidemark.dbt.project import artifacts, dbt_environment, environment_of_no_server
from tidemark.dbt.results import FAILED, KEPT, keep
from tidemark.dbt.tables import outgrown
from tidemark.errors import StackError, TidemarkError
from tidemark.settings import Settings

TURN_SECONDS = 1800.0  # for the run before on the same target


class DbtError(TidemarkError):
    """dbt failed; the message names the failed nodes, or says what dbt said.

    `failed` are the names of those nodes, `skipped` of those that need one of them; both are empty where dbt could not
    start.
    """

    def __init__(self, message: str, failed: Iterable[str] = (), skipped: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.failed = frozenset(failed)
        self.skipped = frozenset(skipped)


@contextmanager
def _alone(folder: Path, environment: Mapping[str, str], target: Database, turn_seconds: float) -> Iterator[None]:
    """dbt's environment for one call; a second call with the same folder, of any process, waits for its turn."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        _await_turn(lock, target, turn_seconds)
        before = dict(os.environ)
        for name in [name for name in before if name.startswith("DBT_")]:
            del os.environ[name]  # a person's DBT_EMPTY or DBT_FULL_REFRESH is not meant for our runs
        os.environ.update(environment)
        os.environ.update({"DBT_TARGET": target})
        os.environ.update({"DBT_TARGET_PATH": str(folder), "DBT_LOG_PATH": str(folder / "logs")})
        try:
            yield
        finally:
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)


def _await_turn(lock: IO[str], target: Database, seconds: float) -> None:
    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(BlockingIOError),
        wait=tenacity.wait_fixed(0.1), stop=tenacity.stop_after_delay(seconds), reraise=True,
    )  # fmt: skip
    try:
        tries(fcntl.flock, lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DbtError(
            f"dbt on {target}: expected its turn within {seconds:g} s, the run before has not ended: "
            f"look at what it does ({lock.name} is its lock), or end it"
        ) from None


def _failure(args: Sequence[str], results: Sequence[Any], said: Any) -> str:
    """The sentence that names what failed, from dbt's results."""
    command = f"dbt {' '.join(args)}"
    failed = [result for result in results if str(result.status) in FAILED]
    if not failed:
        return f"{command}: expected success, dbt said: {said}"
    named = [f"{node.node.name} ({node.status}: {' '.join(str(node.message).split())})" for node in failed]
    return f"{command}: {len(failed)} of {len(results)} nodes failed: {'; '.join(named)}"


def _advice(settings: Settings, results: Sequence[Any]) -> str:
    """What to run where a table has other columns than its model now: dbt names a column, or that they differ."""
    if not any(str(result.status) == "error" for result in results):
        return ""
    with suppress(StackError):  # dbt has said that nothing answers
        return "".join(f"; {table}" for table in outgrown(settings))
    return ""


def _results(outcome: Any) -> list[Any]:
    """Those of nodes; exposures, and the project's own hooks before and after a run, are none unless one failed.

    The result of a `run-operation` has no node: what it could not do is the outcome's exception, or its message.
    """
    found = [one for one in getattr(outcome.result, "results", None) or [] if hasattr(one, "node")]
    return [
        one for one in found if one.node.resource_type not in ("operation", "exposure") or str(one.status) in FAILED
    ]


def _said(outcome: Any) -> Any:
    """What dbt says beside its nodes' results."""
    messages = [getattr(one, "message", None) for one in getattr(outcome.result, "results", None) or []]
    return outcome.exception or "; ".join(" ".join(text.split()) for text in messages if text) or "nothing"


def _invoke(args: Sequence[str], progress: Callable[[str], None] | None = None) -> Any:
    from dbt.cli.main import dbtRunner

    def tell(event: Any) -> None:
        if progress and event.info.name == "LogStartLine":
            progress(f"{event.data.node_info.node_name}, {event.data.index} of {event.data.total}")

    return dbtRunner(callbacks=[tell]).invoke(["--log-level", "none", "--log-level-file", "info", *args])


def run(
    settings: Settings,
    args: Sequence[str],
    target: Database = "warehouse",
    turn_seconds: float = TURN_SECONDS,
    progress: Callable[[str], None] | None = None,
) -> list[Any]:
    """Run one dbt command, such as `["build", "--select", "+fct_market_ticks"]`, and give its node results.

    What its tests found is kept in quality.results. Nothing is printed: the log is in `artifacts(..)/logs`, and
    `progress` is called with each node that begins. DbtError
    when a node failed, when dbt could not start, when the run before on the target does not end within `turn_seconds`,
    or when the selection matched nothing (dbt itself calls that a success).
    """
    folder = artifacts(settings, target)
    with _alone(folder, dbt_environment(settings, target), target, turn_seconds):
        outcome = _invoke(args, progress)
        if args[0] in KEPT and outcome.result is not None:
            with nullcontext() if outcome.success else suppress(StackError):  # dbt has said that nothing answers
                keep(settings, folder, target)
    results = _results(outcome)
    if not outcome.success:
        failed = [result.node.name for result in results if str(result.status) in FAILED]
        skipped = [result.node.name for result in results if str(result.status) == "skipped"]
        raise DbtError(_failure(args, results, _said(outcome)) + _advice(settings, results), failed, skipped)
    if not results and any(word in args for word in ("--select", "-s")):
        raise DbtError(f"dbt {' '.join(args)}: expected nodes that the selection names, found none")
    return results


def compiled(settings: Settings, select: Sequence[str], target: Database = "warehouse") -> list[Any]:
    """The chosen models with their SQL as dbt would build them when nothing is there.

    It waits for a build that goes on, and leaves the artifacts of the last one, with its results.
    """
    args = ["--no-write-json", "compile", "--full-refresh", "--indirect-selection", "empty", "--select", *select]
    return [result.node for result in run(settings, args, target)]


def declared(settings: Settings, target: Database = "warehouse") -> dict[str, Any]:
    """dbt's manifest of a target, every model with its SQL as it is once each source has the columns it declares.

    No database is asked, none needs to be there, and the artifacts of the last build stay. DbtError where dbt cannot
    compile the models.
    """
    folder = settings.home.resolve() / "dbt" / "declared" / target
    args = [
        "--no-populate-cache", "compile", "--no-introspect", "--full-refresh", "--indirect-selection", "empty",
        "--select", "resource_type:model", "--vars", "{as_declared: true}",
    ]  # fmt: skip
    with _alone(folder, environment_of_no_server(), target, TURN_SECONDS):
        outcome = _invoke(args)
        if not outcome.success:
            raise DbtError(_failure(args, _results(outcome), _said(outcome)))
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        return manifest
