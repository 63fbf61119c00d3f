"""dbt in this process: runs of `dbt_project/` over the databases of the settings, and its docs as a file."""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import tenacity

from tidemark.connections import Database, connect, postgres_server
from tidemark.credentials import credential
from tidemark.errors import StackError, TidemarkError
from tidemark.settings import PROJECT, Settings

DBT_PROJECT = PROJECT / "dbt_project"
ROLE = "transformer"
DOCUMENTED: tuple[Database, Database] = ("warehouse", "realtime")
FAILED = ("error", "fail", "runtime error", "partial success")
LOCK_TIMEOUT = "60s"  # for a lock of the database: whoever holds one longer must not hold up a build, and all behind it
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


def artifacts(settings: Settings, target: Database = "warehouse") -> Path:
    """Folder of manifest.json, run_results.json and catalog.json; one per target: they never mix."""
    return settings.home.resolve() / "dbt" / target


def _server_environment(settings: Settings, database: Database, prefix: str) -> dict[str, str]:
    server = postgres_server(settings, database)
    values = {
        "HOST": server.host,
        "PORT": str(server.port),
        "USER": ROLE,
        "PASSWORD": credential(settings, ROLE),
        "SSLMODE": dict(server.options).get("sslmode", "prefer"),
    }
    return {prefix + name: value for name, value in values.items()}


def dbt_environment(settings: Settings) -> dict[str, str]:
    """What dbt needs to run by hand, from any folder: the variables of profiles.yml, and dbt's own folders.

    Both databases are entered as the transformer. It holds a password: never log it.
    """
    folder = artifacts(settings)
    return {
        "DBT_PROJECT_DIR": str(DBT_PROJECT),
        "DBT_PROFILES_DIR": str(DBT_PROJECT),
        "DBT_TARGET_PATH": str(folder),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PGREQUIREAUTH": dict(postgres_server(settings, "warehouse").options)[
            "require_auth"
        ],  # dbt's profile has no key for it, and none for a time-out
        "PGOPTIONS": f"-c lock_timeout={LOCK_TIMEOUT}",
        **_server_environment(settings, "warehouse", "DBT_"),
        **_server_environment(settings, "realtime", "DBT_REALTIME_"),
    }


@contextmanager
def _alone(settings: Settings, target: Database, turn_seconds: float) -> Iterator[None]:
    """dbt's environment for one call; a second call on the same target, of any process, waits for its turn."""
    folder = artifacts(settings, target)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        _await_turn(lock, target, turn_seconds)
        before = dict(os.environ)
        os.environ.update(dbt_environment(settings))
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


def _failure(args: Sequence[str], results: Sequence[Any], exception: BaseException | None) -> str:
    """The sentence that names what failed, from dbt's results."""
    command = f"dbt {' '.join(args)}"
    failed = [result for result in results if str(result.status) in FAILED]
    if not failed:
        return f"{command}: expected success, dbt said: {exception or 'nothing'}"
    named = [f"{node.node.name} ({node.status}: {' '.join(str(node.message).split())})" for node in failed]
    return f"{command}: {len(failed)} of {len(results)} nodes failed: {'; '.join(named)}"


def _advice(settings: Settings, results: Sequence[Any]) -> str:
    """What to run where a table has other columns than its model now: dbt names a column, or that they differ."""
    from tidemark.models import outgrown

    if not any(str(result.status) == "error" for result in results):
        return ""
    with suppress(StackError):  # dbt has said that nothing answers
        return "".join(f"; {table}" for table in outgrown(settings))
    return ""


def run(
    settings: Settings, args: Sequence[str], target: Database = "warehouse", turn_seconds: float = TURN_SECONDS
) -> list[Any]:
    """Run one dbt command, such as `["build", "--select", "+fct_market_ticks"]`, and give its node results.

    Nothing is printed: the log is in `artifacts(..)/logs`. DbtError when a node failed, when dbt could not
    start, when the run before on the target does not end within `turn_seconds`, or when the selection matched
    nothing (dbt itself calls that a success).
    """
    from dbt.cli.main import dbtRunner

    with _alone(settings, target, turn_seconds):
        outcome = dbtRunner().invoke(["--log-level", "none", "--log-level-file", "info", *args])
    results = list(getattr(outcome.result, "results", None) or [])
    if not outcome.success:
        failed = [result.node.name for result in results if str(result.status) in FAILED]
        skipped = [result.node.name for result in results if str(result.status) == "skipped"]
        raise DbtError(_failure(args, results, outcome.exception) + _advice(settings, results), failed, skipped)
    if not results and any(word in args for word in ("--select", "-s")):
        raise DbtError(f"dbt {' '.join(args)}: expected nodes that the selection names, found none")
    return results


def ensure_live(settings: Settings) -> bool:
    """Make the views of schema `live` where one is missing or a model has changed since; whether it did.

    It takes seconds, so not with every start. StackError where `realtime` does not answer; DbtError as `run`.
    """
    models = sorted((DBT_PROJECT / "models" / "live").glob("live_*.sql"))
    files = [*models, *sorted((DBT_PROJECT / "macros").rglob("*.sql"))]
    digest = sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    built = artifacts(settings, "realtime") / "live.sha256"
    with connect(settings, "realtime", ROLE) as connection:
        found = connection.execute("select viewname from pg_views where schemaname = 'live'").fetchall()
    whole = {model.stem.removeprefix("live_") for model in models} <= {name for (name,) in found}
    if whole and built.exists() and built.read_text() == digest:
        return False
    run(settings, ["run"], target="realtime")
    built.write_text(digest)
    return True


def _together(settings: Settings, name: str, keys: Sequence[str]) -> str:
    """One artifact of both targets as one JSON document: the warehouse's, with the other's entries under these keys."""
    warehouse, realtime = (json.loads((artifacts(settings, target) / name).read_text()) for target in DOCUMENTED)
    return json.dumps({**warehouse, **{key: {**realtime[key], **warehouse[key]} for key in keys}})


def build_docs(settings: Settings) -> Path:
    """The documentation of the models of both databases as one HTML file that needs no server; its path.

    A database whose models were never built is built first: the file shows the columns' types. StackError where a
    database does not answer; DbtError as `run`.
    """
    for target in DOCUMENTED:
        connect(settings, target, ROLE).close()  # dbt would only say that it could not
        if not (artifacts(settings, target) / "run_results.json").exists():
            run(settings, ["build"], target)
        # Without --no-compile, dbt would overwrite run_results.json with entries that hold no test result.
        run(settings, ["docs", "generate", "--no-compile"], target)
    parts = {
        "MANIFEST.JSON": _together(
            settings, "manifest.json", ("nodes", "sources", "unit_tests", "parent_map", "child_map")
        ),
        "CATALOG.JSON": _together(settings, "catalog.json", ("nodes", "sources")),
    }
    html = (artifacts(settings) / "index.html").read_text()
    for name, data in parts.items():
        html = html.replace(f'"{name} INLINE DATA"', data)
    page = settings.home / "docs" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html)
    return page
