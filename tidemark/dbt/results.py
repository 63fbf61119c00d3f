"""What a run of dbt found, kept in the warehouse: its tests in quality.results, the run itself in ops.dbt_run.

It is read from the artifacts that dbt leaves, so that a run by hand counts too, at the next `tidemark check`.
"""

from collections import ChainMap
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict

import psycopg
from psycopg import sql

from tidemark.connections import DATABASES, Database, connect
from tidemark.dbt.project import ROLE, artifacts, version_of_project
from tidemark.failing_rows import failing_rows
from tidemark.quality_results import CheckResult, Outcome, insert
from tidemark.settings import Settings
from tidemark.state_file import read_whole

KEPT = ("build", "run", "test", "retry")
FAILED = ("error", "fail", "runtime error", "partial success")
_OUTCOMES: Mapping[str, Outcome] = {  # any other: error
    "pass": "passed", "fail": "failed", "warn": "warned", "skipped": "not evaluated",
}  # fmt: skip
Json = Mapping[str, Any]
NO_MANIFEST: Json = {"nodes": {}, "unit_tests": {}, "sources": {}, "groups": {}}  # where dbt has left none


class RunResults(TypedDict):
    """What of dbt's run_results.json is read."""

    metadata: dict[str, Any]
    args: dict[str, Any]
    results: list[dict[str, Any]]


class Manifest(TypedDict):
    """What of dbt's manifest.json is read."""

    nodes: dict[str, Any]
    unit_tests: dict[str, Any]
    sources: dict[str, Any]
    groups: dict[str, Any]


def keep_by_hand(settings: Settings) -> None:
    """Keep what the last run by hand on each target found, where it is not kept yet."""
    for target in DATABASES:
        keep(settings, settings.home.resolve() / "dbt" / "by_hand" / target, target)


def keep(settings: Settings, folder: Path, target: Database) -> None:
    """Keep what the run found whose artifacts are in the folder; again, it changes nothing.

    StackError where the warehouse does not answer.
    """
    run = read_whole(folder / "run_results.json", RunResults)
    if run is None or run["args"].get("which") not in KEPT:
        return
    said = run["metadata"]
    results = [one for one in run["results"] if not one["unique_id"].startswith(("operation.", "exposure."))]
    tests = [one for one in results if one["unique_id"].startswith(("test.", "unit_test."))]
    with connect(settings, "warehouse", ROLE, autocommit=True) as warehouse:
        known = "select 1 from quality.results where run_id = %s limit 1"
        if tests and not warehouse.execute(known, [said["invocation_id"]]).fetchall():
            manifest = read_whole(folder / "manifest.json", Manifest) or NO_MANIFEST
            with connect(settings, target, ROLE, autocommit=True) as tested:
                found = [result for one in tests for result in _found(tested, said, manifest, one)]
            insert(warehouse, said["invocation_id"], found, may_be_there=True)
        _keep_run(warehouse, target, run, results)


def _keep_run(warehouse: psycopg.Connection[Any], target: Database, run: Json, results: list[Json]) -> None:
    """Of the warehouse dbt notes a run itself, as it goes on; of the streaming database it cannot."""
    said, states = run["metadata"], [str(one["status"]) for one in results]
    failed = [one["unique_id"].split(".")[2] for one in results if one["status"] in FAILED]
    warehouse.execute(
        "insert into ops.dbt_run (invocation_id, target, command, version, started_at, finished_at, failed_nodes, "
        "failed_names, node_count, warned_nodes, skipped_nodes) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
        "on conflict do nothing",
        [
            said["invocation_id"], target, run["args"]["which"], version_of_project(), said["invocation_started_at"],
            said["generated_at"], len(failed), ", ".join(failed), len(states), states.count("warn"),
            states.count("skipped"),
        ],
    )  # fmt: skip


def _found(tested: psycopg.Connection[Any], said: Json, manifest: Json, one: Json) -> Iterator[CheckResult]:
    """The result of one test; none where the manifest is of a later parse that knows it no more."""
    nodes = ChainMap(manifest["nodes"], manifest["unit_tests"], manifest["sources"])
    test = nodes.get(one["unique_id"])
    model = nodes.get(_tested(test)) if test else None
    if test is None or model is None:
        return
    outcome, detail = _OUTCOMES.get(one["status"], "error"), one["message"]
    sample: tuple[str, ...] = ()
    if outcome in ("failed", "warned") and test["resource_type"] == "test":
        try:
            _, sample = failing_rows(tested, sql.SQL(one["compiled_code"]))
        except psycopg.Error as error:  # what it reads was changed since
            detail = f"{detail}; its rows could not be read: {' '.join(str(error).split())}"
    group = manifest["groups"].get(f"group.{model['package_name']}.{model.get('group')}", {})
    table = f"{model['schema']}.{model.get('alias') or model['identifier']}"
    yield CheckResult(
        table, f"{model['database']}.{table}", test["name"], test.get("column_name"), outcome, one["failures"], detail,
        sample, tool="dbt", type=(test.get("test_metadata") or {}).get("name", test["resource_type"]),
        severity="warn" if str(test["config"].get("severity")).lower() == "warn" else "error",
        owner=(group.get("owner") or {}).get("name") or model["config"]["meta"].get("owner"),
        checked_at=_ended(said, one),
    )  # fmt: skip


def _tested(test: Json) -> str:
    """The model or source that a test is of."""
    return str(test.get("attached_node") or next(iter(test["depends_on"]["nodes"]), ""))


def _ended(said: Json, one: Json) -> datetime:
    ends = [timing["completed_at"] for timing in one["timing"] if timing.get("completed_at")]
    return datetime.fromisoformat(max(ends, default=said["generated_at"]))


def tested_tables(settings: Settings) -> dict[str, frozenset[str]]:
    """By database.schema.table, the names of the tests that dbt's last run on each database knew."""
    found: dict[str, set[str]] = {}
    for target in DATABASES:
        manifest = read_whole(artifacts(settings, target) / "manifest.json", Manifest) or NO_MANIFEST
        for test in (*manifest["nodes"].values(), *manifest["unit_tests"].values()):
            model = manifest["nodes"].get(_tested(test)) if test["resource_type"] in ("test", "unit_test") else None
            if model:
                dataset = f"{model['database']}.{model['schema']}.{model['alias']}"
                found.setdefault(dataset, set()).add(test["name"])
    return {dataset: frozenset(names) for dataset, names in found.items()}
