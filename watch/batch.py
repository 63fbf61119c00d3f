"""The batch lane: flows as Prefect knows them, what the databases know where it is dead, and dbt's last run."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from flows.automations import TAG
from flows.deployments import Schedule, registered
from flows.running import FLOWS
from tidemark.connections import DATABASES, prefect_url
from tidemark.dbt.project import artifacts
from tidemark.dbt.results import FAILED
from tidemark.home_kind import home_kind
from tidemark.output import utc
from tidemark.settings import Settings
from tidemark.stack import prefect
from tidemark.state_file import read_whole
from watch.databases import enter
from watch.observation import RUNBOOK, Observation

ASK_SECONDS = 5
MOST_RUNS = 200  # that Prefect lists at a time
MARGIN = timedelta(minutes=1)
STUCK = timedelta(hours=2)  # no flow takes so long
SUCCESS = timedelta(hours=26)  # a day, and what a daily flow may take
DAILY = ("promote", "check")
PAGE = f"{RUNBOOK}/flow-run-failed.md"
UNREACHED, NOT_SERVED, PAUSED = "Prefect does not answer", "flows are not served", "schedule is paused"
RUN_FAILED, RUN_STUCK, RUN_LATE, NO_SUCCESS = "flow run failed", "flow run is stuck", "flow run is late", "no success"
_OURS: dict[str, Any] = {"tags": {"all_": [TAG]}}
_LAST_SUCCESS = {
    "promote": "select max(verified_at) from ops.promotion",
    "check": "select max(checked_at) from quality.results",
}


class Batch:
    """Remembers of each flow and source the last run that ended, so that only those that ended since are asked for."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, Any]] = {}
        self._well: dict[str, datetime] = {}  # by flow and source, when a run last ended well
        self._known: set[str] = set()  # ids of runs that ended
        self._until: datetime | None = None  # the end of the newest of them

    def look(self, settings: Settings, stuck: timedelta = STUCK) -> Iterator[Observation]:
        """Each schedule and its runs, of which one that takes longer than `stuck` is. A replay has no schedule."""
        deployments = _ask(settings, "deployments", {"deployments": _OURS, "limit": 100})
        yield Observation(UNREACHED, "server", "prefect", "ok", f"Prefect answers at {prefect_url(settings)}")
        by_name = {each["name"]: each for each in deployments}
        wanted = registered(settings)
        yield _served(settings, by_name, wanted)
        there = [schedule for schedule in wanted if schedule.name in by_name]
        late = _late(settings) if there else {}
        for schedule in there:
            deployment = by_name[schedule.name]
            yield from _of_schedule(settings, schedule, deployment, late.get(deployment["id"]))
        new = self._ended(settings)
        works = dict.fromkeys([*(_work(schedule.flow, schedule.parameters) for schedule in there), *self._last, *new])
        for work in works:
            runs = new.get(work, [])
            self._last |= {work: _latest([*runs, *([self._last[work]] if work in self._last else [])])} if runs else {}
            # One that failed and was followed by another between two looks is said once, and over with the next look.
            failed = [run for run in runs if run["state_type"] != "COMPLETED"] if self._until else []
            yield _last_run(work, next(iter(failed), self._last.get(work)))
            ends = [end for run in runs if run["state_type"] == "COMPLETED" and (end := _ended_at(run))]
            if ends:
                self._well[work] = max(ends)
        for schedule in there:
            if schedule.flow in DAILY and not schedule.paused:
                yield self._success(schedule, by_name[schedule.name])
        ends = [end for run in self._last.values() if (end := _ended_at(run))]
        self._until = max(ends, default=self._until)
        yield from _stuck(settings, stuck)

    def _success(self, schedule: Schedule, deployment: dict[str, Any]) -> Observation:
        """Whether a flow that runs each day has ended well within a day and what it may take."""
        last = self._well.get(_work(schedule.flow, schedule.parameters))
        since = last or datetime.fromisoformat(deployment["created"])
        late = datetime.now(UTC) - since > SUCCESS
        said = f"its last run that ended well is of {utc(last)}" if last else f"none did since {utc(since)}"
        return Observation(
            NO_SUCCESS, "flow", schedule.name, "failing" if late else "ok",
            f"expected a run to end well within {SUCCESS}, {said}" if late else said, since, PAGE if late else "",
        )  # fmt: skip

    def _ended(self, settings: Settings) -> dict[str, list[dict[str, Any]]]:
        """By flow and source, the runs that ended since the last look, the latest first; at first of all time."""
        ended: dict[str, Any] = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}, **_OURS}
        query = {"flow_runs": ended, "sort": "END_TIME_DESC", "limit": MOST_RUNS}
        if self._until is not None:  # one that ended a little earlier may be said a little later
            ended["end_time"] = {"after_": (self._until - MARGIN).isoformat()}
            recent = _ask(settings, "flow_runs", {**query, "flows": {"name": {"any_": list(FLOWS)}}})
            if {run["id"] for run in recent} <= self._known:
                return {}
        found: dict[str, list[dict[str, Any]]] = {}
        for flow in FLOWS:
            for run in _ask(settings, "flow_runs", {**query, "flows": {"name": {"any_": [flow]}}}):
                if run["id"] not in self._known:
                    found.setdefault(_work(flow, run["parameters"]), []).append(run)
        self._known |= {run["id"] for runs in found.values() for run in runs}
        return found


def look(settings: Settings, stuck: timedelta = STUCK) -> Iterator[Observation]:
    """The same of one moment."""
    yield from Batch().look(settings, stuck)


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


def _late(settings: Settings) -> dict[str, datetime]:
    """By deployment, when the first run should have begun of those that are late."""
    late = {"state": {"name": {"any_": ["Late"]}}}
    query = {"deployments": _OURS, "flow_runs": late, "sort": "EXPECTED_START_TIME_DESC", "limit": MOST_RUNS}
    return {run["deployment_id"]: datetime.fromisoformat(run["expected_start_time"])
            for run in _ask(settings, "flow_runs", query)}  # fmt: skip


def _of_schedule(
    settings: Settings, schedule: Schedule, deployment: dict[str, Any], since: datetime | None
) -> Iterator[Observation]:
    yield _paused(settings, schedule, deployment["paused"])
    yield Observation(
        RUN_LATE, "flow", schedule.name, "failing" if since else "ok",
        f"expected the run of {utc(since)} to have begun, it has not" if since else "no run is late",
        since, "tidemark flow serve" if since else "",
    )  # fmt: skip


def _paused(settings: Settings, schedule: Schedule, is_paused: bool) -> Observation:
    of, said = (PAUSED, "flow", schedule.name), f"it does not run: {schedule.paused}"
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


def _ended_at(run: dict[str, Any]) -> datetime | None:
    return _time(run["end_time"])


def _latest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return max(runs, key=lambda run: str(run["end_time"]))


def _last_run(work: str, run: dict[str, Any] | None) -> Observation:
    if run is None:
        return Observation(RUN_FAILED, "flow", work, "waiting", "it has not run yet")
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
                NO_SUCCESS, "flow", flow, "warning" if late else "ok" if last else "waiting",
                f"expected results within {SUCCESS}, {said}" if late else said, last,
                f"tidemark {flow}" if late else "",
            )  # fmt: skip


def dbt_runs(settings: Settings) -> Iterator[Observation]:
    """What dbt's last run on each target left."""
    for target in DATABASES:
        path = artifacts(settings, target) / "run_results.json"
        run = read_whole(path)
        if run is None:
            yield Observation("dbt failed", "models", target, "waiting", "dbt has not run yet")
            continue
        failed = [result["unique_id"].split(".")[2] for result in run["results"] if result["status"] in FAILED]
        nodes = [result for result in run["results"] if not result["unique_id"].startswith(("operation.", "exposure."))]
        yield Observation(
            "dbt failed", "models", target, "failing" if failed else "ok",
            f"expected every model and test to be built, {', '.join(failed)} failed" if failed
            else f"{len(nodes)} nodes were built",
            _time(run["metadata"]["generated_at"].replace("Z", "+00:00")),
            f"tidemark logs dbt-{target}" if failed else "", {"nodes": len(nodes), "failed": len(failed)},
        )  # fmt: skip
