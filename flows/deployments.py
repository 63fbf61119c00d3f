"""The flows' deployments: schedules.yml made known to Prefect, and the process that runs what is due."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from flows import automations
from flows.automations import TAG
from flows.prefect_session import prefect_session
from flows.running import Flow
from tidemark import typed_yaml
from tidemark.home_kind import home_kind, refuse_a_replay
from tidemark.settings import Settings

SCHEDULES = Path(__file__).parent / "schedules.yml"


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """What schedules.yml says of one. `needs` are settings without which it would only fail."""

    flow: Flow
    parameters: dict[str, Any]
    cron: str
    needs: list[str]


@dataclass(frozen=True)
class Schedule:
    """One entry of schedules.yml. `cron` is UTC; `paused` says why it does not run, or is empty."""

    name: str
    flow: str
    parameters: dict[str, Any]
    cron: str
    paused: str


def schedules(settings: Settings) -> list[Schedule]:
    """The entries of schedules.yml, and which of them these settings pause."""
    return _of_file(settings, _check_all)


def registered(settings: Settings) -> list[Schedule]:
    """The same without a look at their times, which Prefect has taken already: its import takes seconds."""
    return _of_file(settings, lambda entries: None)


def _of_file(settings: Settings, check: Callable[[dict[str, Entry]], None]) -> list[Schedule]:
    entries: dict[str, Entry] = typed_yaml.read(SCHEDULES, Entry, check)
    return [_schedule(settings, name, entry) for name, entry in entries.items()]


def _check_all(entries: dict[str, Entry]) -> None:
    """Times that cron has, and settings that there are."""
    from prefect.client.schemas.schedules import CronSchedule

    for name, entry in entries.items():
        try:
            CronSchedule(cron=entry.cron)
        except ValueError:
            raise typed_yaml.WrongValue(
                f"expected the five fields of cron, received {entry.cron!r}", name, "cron"
            ) from None
        for number, need in enumerate(entry.needs):
            if need not in Settings.model_fields:
                raise typed_yaml.WrongValue(
                    f"expected a setting, as docs/configuration.md names it without TIDEMARK_, received {need!r}",
                    name, "needs", number,
                )  # fmt: skip


def _schedule(settings: Settings, name: str, entry: Entry) -> Schedule:
    unset = [f"TIDEMARK_{need.upper()}" for need in entry.needs if getattr(settings, need) is None]
    paused = f"until {' and '.join(unset)} is set" if unset else ""
    if home_kind(settings) == "replay":
        paused = "the state is a replay"
    return Schedule(name, entry.flow, entry.parameters, entry.cron, paused)


def deploy(settings: Settings) -> list[Schedule]:
    """Make Prefect know the deployments of schedules.yml and the alert, no others; again, nothing changes."""
    wanted = schedules(settings)
    with prefect_session(settings):
        for deployment in _deployments(wanted):
            deployment.apply()
        _remove_others({f"{schedule.flow}/{schedule.name}" for schedule in wanted})
        automations.apply(settings)
    return wanted


def serve(settings: Settings) -> None:
    """Deploy, then run what is due, each run in a process of its own, until SIGTERM or SIGINT.

    StackError in a demo's state folder: its schedules are paused for good.
    """
    refuse_a_replay(settings)
    wanted = deploy(settings)
    with prefect_session(settings):
        import prefect

        _let_missed_runs_go()
        # Prefect's handler of SIGTERM calls a coroutine that it does not await, and then exits, which ends the runner.
        warnings.filterwarnings("ignore", "coroutine 'Runner.astop' was never awaited", RuntimeWarning)
        prefect.serve(*_deployments(wanted), pause_on_shutdown=False)


def _let_missed_runs_go() -> None:
    """Of the runs that a schedule missed while nobody served, the latest does the work of all: others are cancelled.

    What a person asked for is no run of a schedule, and runs.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    with get_client(sync_client=True) as client:
        while True:  # a page at a time
            scheduled = [run for run in client.read_flow_runs(**_missed()) if run.auto_scheduled]
            latest = {run.deployment_id: run.id for run in reversed(scheduled)}.values()
            older = [run for run in scheduled if run.id not in latest]
            for run in older:
                client.set_flow_run_state(run.id, Cancelled(message="missed; the latest of its schedule runs instead"))
            if not older:
                return


def _missed() -> dict[str, Any]:
    """What to ask Prefect's client for: our runs whose time has come and which nobody took, the latest first."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterTags,
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterState,
        FlowRunFilterStateName,
    )
    from prefect.client.schemas.sorting import FlowRunSort

    missed = FlowRunFilter(
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled", "Late"])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
    )
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    return {"flow_run_filter": missed, "deployment_filter": ours, "sort": FlowRunSort.EXPECTED_START_TIME_DESC}


def _deployments(wanted: list[Schedule]) -> list[Any]:
    from prefect.types.entrypoint import EntrypointType

    from flows import definitions

    return [
        getattr(definitions, schedule.flow).to_deployment(
            schedule.name,
            cron=schedule.cron,
            parameters=schedule.parameters,
            paused=bool(schedule.paused),
            tags=[TAG],
            concurrency_limit=1,
            entrypoint_type=EntrypointType.MODULE_PATH,  # no folder of the machine that deploys
        )
        for schedule in wanted
    ]


def _remove_others(names: set[str]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags

    with get_client(sync_client=True) as client:
        ours = client.read_deployments(deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])))
        for deployment in ours:
            flow = client.read_flow(deployment.flow_id)
            if f"{flow.name}/{deployment.name}" not in names:
                client.delete_deployment(deployment.id)
