"""The batch lane: flows as Prefect knows them, what the databases know where it is dead, and dbt's last run."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from flows.deployments import TAG, Schedule, registered
from tidemark.connections import DATABASES, home_kind, prefect_url
from tidemark.dbt.project import artifacts
from tidemark.dbt.running import FAILED
from tidemark.output import utc
from tidemark.settings import Settings
from tidemark.stack import prefect
from watch.databases import enter
from watch.observation import RUNBOOK, Observation

ASK_SECONDS = 5
STUCK = timedelta(hours=2)  # no flow takes so long
SUCCESS = timedelta(hours=26)  # a day, and what a daily flow may take
PAGE = f"{RUNBOOK}/flow-run-failed.md"
UNREACHED, NOT_SERVED, PAUSED = "Prefect does not answer", "flows are not served", "schedule is paused"
RUN_FAILED, RUN_STUCK, RUN_LATE, NO_SUCCESS = "flow run failed", "flow run is stuck", "flow run is late", "no success"
_LAST_SUCCESS = {
    "promote": "select max(verified_at) from ops.promotion",
    "check": "select max(checked_at) from quality.check_result",
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
    is_paused = deployment["paused"] and not schedule.paused
    yield Observation(
        PAUSED, "flow", name, "warning" if is_paused else "ok",
        "expected the schedule to run, it is paused in Prefect" if is_paused
        else f"it does not run {schedule.paused}" if schedule.paused else f"it runs at {schedule.cron} (UTC)",
        mend="tidemark flow serve" if is_paused else "",
    )  # fmt: skip
    filters = {"deployments": {"id": {"any_": [deployment["id"]]}}, "sort": "END_TIME_DESC", "limit": 1}
    done = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}
    last = next(iter(_ask(settings, "flow_runs", {**filters, "flow_runs": done})), None)
    failed = last is not None and last["state_type"] != "COMPLETED"
    said = f"its last run, {last['name']}, ended as {last['state_name']}" if last else "it has not run yet"
    message = (last or {}).get("state", {}).get("message") if failed else None
    yield Observation(
        RUN_FAILED, "flow", name, "failing" if failed else "ok",
        f"expected the run to end well, {said}: {message or 'no reason given'}" if failed else said,
        _time(last["end_time"]) if last else None, PAGE if failed else "",
    )  # fmt: skip
    late = {"state": {"name": {"any_": ["Late"]}}}
    waiting = _ask(settings, "flow_runs", {**filters, "sort": "EXPECTED_START_TIME_ASC", "flow_runs": late})
    since = _time(waiting[0]["expected_start_time"]) if waiting else None
    yield Observation(
        RUN_LATE, "flow", name, "failing" if waiting else "ok",
        f"expected the run of {utc(since)} to have begun, it has not" if since else "no run is late",
        since, "tidemark flow serve" if waiting else "",
    )  # fmt: skip


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
        if not path.exists():
            yield Observation("dbt failed", "models", target, "ok", "dbt has not run yet")
            continue
        run = json.loads(path.read_text())
        failed = [result["unique_id"].split(".")[2] for result in run["results"] if result["status"] in FAILED]
        yield Observation(
            "dbt failed", "models", target, "failing" if failed else "ok",
            f"expected every model and test to be built, {', '.join(failed)} failed" if failed
            else f"{len(run['results'])} nodes were built",
            _time(run["metadata"]["generated_at"].replace("Z", "+00:00")),
            "tidemark logs dbt" if failed else "", {"nodes": len(run["results"]), "failed": len(failed)},
        )  # fmt: skip
