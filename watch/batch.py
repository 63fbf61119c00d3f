"""The batch lane: flows as Prefect knows them, what the databases know where it is dead, and dbt's last run."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from flows.deployments import TAG, Schedule, registered
from flows.running import FLOWS
from tidemark.connections import DATABASES, home_kind, prefect_url
from tidemark.dbt.project import artifacts
from tidemark.dbt.results import FAILED
from tidemark.output import utc
from tidemark.settings import Settings
from tidemark.stack import prefect
from tidemark.state_file import read_whole
from watch.databases import enter
from watch.observation import RUNBOOK, Observation

ASK_SECONDS = 5
MOST_RUNS = 200  # that Prefect lists at a time
STUCK = timedelta(hours=2)  # no flow takes so long
SUCCESS = timedelta(hours=26)  # a day, and what a daily flow may take
PAGE = f"{RUNBOOK}/flow-run-failed.md"
UNREACHED, NOT_SERVED, PAUSED = "Prefect does not answer", "flows are not served", "schedule is paused"
RUN_FAILED, RUN_STUCK, RUN_LATE, NO_SUCCESS = "flow run failed", "flow run is stuck", "flow run is late", "no success"
_LAST_SUCCESS = {
    "promote": "select max(verified_at) from ops.promotion",
    "check": "select max(checked_at) from quality.results",
}


def look(settings: Settings, stuck: timedelta = STUCK) -> Iterator[Observation]:
    """Each schedule and its runs, of which one that takes longer than `stuck` is. A replay has no schedule."""
    deployments = _ask(settings, "deployments", {"deployments": {"tags": {"all_": [TAG]}}, "limit": 100})
    yield Observation(UNREACHED, "server", "prefect", "ok", f"Prefect answers at {prefect_url(settings)}")
    by_name = {each["name"]: each for each in deployments}
    wanted = registered(settings)
    yield _served(settings, by_name, wanted)
    for schedule in wanted:
        if schedule.name in by_name:
            yield from _of_schedule(settings, schedule, by_name[schedule.name])
    scheduled = [_work(schedule.flow, schedule.parameters) for schedule in wanted if schedule.name in by_name]
    yield from _last_runs(settings, scheduled)
    yield from _stuck(settings, stuck)


def _ask(settings: Settings, what: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of Prefect's API, by its own filters; StackError where it does not give them."""
    rows = json.loads(prefect.ask(settings, f"{what}/filter", method="POST", json=query, seconds=ASK_SECONDS).body)
    return cast(list[dict[str, Any]], rows)


def _served(settings: Settings, by_name: dict[str, Any], wanted: list[Schedule]) -> Observation:
    """Whether somebody takes what is due. Prefect calls a deployment ready that was polled within a minute."""
    if home_kind(settings) == "replay":
        return Observation(NOT_SERVED, "flows", "serve", "ok", "a replay has no schedule")
    if not by_name:
        said = "no flow has a schedule: days stay in realtime until `tidemark promote`, and nothing is checked"
        return Observation(NOT_SERVED, "flows", "serve", "warning", said, mend="tidemark flow serve")
    polled = max((at for each in by_name.values() if (at := _time(each["last_polled"]))), default=None)
    if any(each["status"] == "READY" for each in by_name.values()):
        return Observation(
            NOT_SERVED, "flows", "serve", "ok", "what is due is taken", numbers={"schedules": len(wanted)}
        )
    since = utc(polled) if polled else "they were registered"
    said = f"expected `tidemark flow serve` to run what is due, nobody asked since {since}"
    return Observation(NOT_SERVED, "flows", "serve", "failing", said, polled, "tidemark flow serve")


def _of_schedule(settings: Settings, schedule: Schedule, deployment: dict[str, Any]) -> Iterator[Observation]:
    name = schedule.name
    yield _paused(settings, schedule, deployment["paused"])
    filters = {"deployments": {"id": {"any_": [deployment["id"]]}}, "limit": 1}
    late = {"state": {"name": {"any_": ["Late"]}}}
    waiting = _ask(settings, "flow_runs", {**filters, "sort": "EXPECTED_START_TIME_ASC", "flow_runs": late})
    since = _time(waiting[0]["expected_start_time"]) if waiting else None
    yield Observation(
        RUN_LATE, "flow", name, "failing" if waiting else "ok",
        f"expected the run of {utc(since)} to have begun, it has not" if since else "no run is late",
        since, "tidemark flow serve" if waiting else "",
    )  # fmt: skip


def _paused(settings: Settings, schedule: Schedule, is_paused: bool) -> Observation:
    of, said = (PAUSED, "flow", schedule.name), f"it does not run {schedule.paused}"
    if schedule.paused and home_kind(settings) == "live":
        return Observation(*of, "waiting", said, mend="set it, then `tidemark flow serve`")
    if schedule.paused:
        return Observation(*of, "ok", said)
    if is_paused:
        said = "expected the schedule to run, it is paused in Prefect"
        return Observation(*of, "warning", said, mend="tidemark flow serve")
    return Observation(*of, "ok", f"it runs at {schedule.cron} (UTC)")


def _work(flow: str, parameters: dict[str, Any]) -> str:
    """What a run is for: a flow, and of which source."""
    return f"{flow} {parameters['source']}" if "source" in parameters else flow


def _last_runs(settings: Settings, scheduled: list[str]) -> Iterator[Observation]:
    """Of each flow and source the last run that ended, by a schedule or a person."""
    last: dict[str, Any] = dict.fromkeys(scheduled)
    for flow in FLOWS:
        ended = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}, "tags": {"all_": [TAG]}}
        query = {"flows": {"name": {"any_": [flow]}}, "flow_runs": ended, "sort": "END_TIME_DESC", "limit": MOST_RUNS}
        for run in _ask(settings, "flow_runs", query):
            work = _work(flow, run["parameters"])
            last[work] = last.get(work) or run
    for work, run in last.items():
        yield _last_run(work, run)


def _last_run(work: str, run: dict[str, Any] | None) -> Observation:
    if run is None:
        return Observation(RUN_FAILED, "flow", work, "ok", "it has not run yet")
    said, at = f"its last run, {run['name']}, ended as {run['state_name']}", _time(run["end_time"])
    if run["state_type"] == "COMPLETED":
        return Observation(RUN_FAILED, "flow", work, "ok", said, at)
    why = (run["state"] or {}).get("message") or "no reason given"
    return Observation(RUN_FAILED, "flow", work, "failing", f"expected the run to end well, {said}: {why}", at, PAGE)


def _stuck(settings: Settings, limit: timedelta) -> Iterator[Observation]:
    running = {"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}}
    found = _ask(settings, "flow_runs", {"flow_runs": running, "sort": "START_TIME_ASC", "limit": 50})
    stuck = [run for run in found if (began := _time(run["start_time"])) and datetime.now(UTC) - began > limit]
    named = ", ".join(run["name"] for run in stuck)
    yield Observation(
        RUN_STUCK, "flows", "runs", "failing" if stuck else "ok",
        f"expected a run to end within {limit}, still running: {named}" if stuck else f"{len(found)} runs go on",
        _time(stuck[0]["start_time"]) if stuck else None, PAGE if stuck else "", {"running": len(found)},
    )  # fmt: skip


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def successes(settings: Settings) -> Iterator[Observation]:
    """When promotion and the checks last did something, as the warehouse knows: also with Prefect dead."""
    with enter(settings, "warehouse") as connection:
        for flow, query in _LAST_SUCCESS.items():
            ((last,),) = connection.execute(query.encode()).fetchall()
            late = last is not None and flow == "check" and datetime.now(UTC) - last > SUCCESS
            late = late and home_kind(settings) == "live"
            said = f"its last results are of {utc(last)}" if last else "it has no result yet"
            yield Observation(
                NO_SUCCESS, "flow", flow, "warning" if late else "ok",
                f"expected results within {SUCCESS}, {said}" if late else said, last,
                f"tidemark {flow}" if late else "",
            )  # fmt: skip


def dbt_runs(settings: Settings) -> Iterator[Observation]:
    """What dbt's last run on each target left."""
    for target in DATABASES:
        path = artifacts(settings, target) / "run_results.json"
        run = read_whole(path)
        if run is None:
            yield Observation("dbt failed", "models", target, "ok", "dbt has not run yet")
            continue
        failed = [result["unique_id"].split(".")[2] for result in run["results"] if result["status"] in FAILED]
        nodes = [result for result in run["results"] if not result["unique_id"].startswith(("operation.", "exposure."))]
        yield Observation(
            "dbt failed", "models", target, "failing" if failed else "ok",
            f"expected every model and test to be built, {', '.join(failed)} failed" if failed
            else f"{len(nodes)} nodes were built",
            _time(run["metadata"]["generated_at"].replace("Z", "+00:00")),
            "tidemark logs dbt" if failed else "", {"nodes": len(nodes), "failed": len(failed)},
        )  # fmt: skip
