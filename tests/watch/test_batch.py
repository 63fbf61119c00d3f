"""Flows as Prefect knows them: a run that failed, is stuck or late, and a schedule that is paused."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.deployments import deploy
from tests.conftest import Stack
from tidemark.connections import prefect_auth_string, prefect_url
from tidemark.dbt.project import artifacts
from tidemark.http import ask_now
from tidemark.settings import Settings
from watch import batch
from watch.observation import Observation

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def call(stack: Stack) -> Call:
    """Prefect's API, as anybody may ask it."""
    settings = stack.settings
    entry = base64.b64encode(str(prefect_auth_string(settings)).encode()).decode()

    def ask(method: str, path: str, **body: Any) -> Any:
        answer = ask_now(
            settings, f"{prefect_url(settings)}/{path}", method=method, json=body or None, seconds=20,
            headers={"Authorization": f"Basic {entry}"},
        )  # fmt: skip
        assert answer.status < 300, answer.start()
        return json.loads(answer.body) if answer.body else None

    return ask


@pytest.fixture(scope="module")
def promote(stack: Stack, call: Call) -> dict[str, Any]:
    """The deployment of the daily promotion."""
    deploy(stack.settings)
    found: dict[str, Any] = call("GET", "deployments/name/promote/promote-daily")
    return found


@pytest.fixture
def run(promote: dict[str, Any], call: Call) -> Iterator[Callable[..., None]]:
    """Makes a run of it in a state; it is gone afterwards."""
    made = []

    def make(kind: str, name: str = "", message: str = "", by_hand: bool = False) -> None:
        state: dict[str, Any] = {"type": kind, "name": name or kind.title(), "message": message}
        if kind == "SCHEDULED":
            state["state_details"] = {"scheduled_time": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
        of_whom = {} if by_hand else {"deployment_id": promote["id"]}
        tagged = {"flow_id": promote["flow_id"], "tags": ["tidemark"], "state": state}
        made.append(call("POST", "flow_runs/", **tagged, **of_whom)["id"])

    yield make
    for one in made:
        call("DELETE", f"flow_runs/{one}")


def seen(settings: Settings, **options: Any) -> dict[str, Observation]:
    return {f"{one.name}: {one.identity}": one for one in batch.look(settings, **options) if one.state != "ok"}


def test_a_run_that_failed_counts_until_one_ends_well(stack: Stack, run: Callable[..., None]) -> None:
    run("FAILED", message="expected a lock, received none", by_hand=True)
    failed = seen(stack.settings)["flow run failed: promote"]
    assert (failed.state, failed.mend) == ("failing", "docs/runbook/flow-run-failed.md")
    assert "expected a lock, received none" in failed.sentence
    run("COMPLETED")
    assert "flow run failed: promote" not in seen(stack.settings)
    run("CRASHED")
    assert "flow run failed: promote" in seen(stack.settings)
    run("COMPLETED", by_hand=True)
    assert "flow run failed: promote" not in seen(stack.settings)


def test_a_run_that_goes_on_for_too_long_is_stuck(stack: Stack, run: Callable[..., None]) -> None:
    run("RUNNING")
    assert "flow run is stuck: runs" not in seen(stack.settings)
    stuck = seen(stack.settings, stuck=timedelta(0))["flow run is stuck: runs"]
    assert stuck.since is not None
    assert timedelta(0) < datetime.now(UTC) - stuck.since < timedelta(minutes=1)


def test_flows_that_nobody_serves_and_a_run_that_is_late_are_seen(stack: Stack, run: Callable[..., None]) -> None:
    run("SCHEDULED", name="Late")
    found = seen(stack.settings)
    assert found["flows are not served: serve"].mend == "tidemark flow serve"
    assert found["flow run is late: promote-daily"].state == "failing"


def test_a_schedule_that_a_person_paused_is_a_warning_and_one_without_its_setting_waits_for_it(
    stack: Stack, promote: dict[str, Any], call: Call
) -> None:
    call("POST", f"deployments/{promote['id']}/pause_deployment")
    try:
        assert seen(stack.settings)["schedule is paused: promote-daily"].state == "warning"
    finally:
        call("POST", f"deployments/{promote['id']}/resume_deployment")
    found = {name: one for name, one in seen(stack.settings).items() if name.startswith("schedule is paused")}
    assert {name.removeprefix("schedule is paused: "): one.state for name, one in found.items()} == {
        "ingest-ecb": "waiting", "ingest-fred": "waiting",
    }  # fmt: skip
    assert "TIDEMARK_FRED_API_KEY is set" in found["schedule is paused: ingest-fred"].sentence


def test_what_dbt_left_is_read_as_it_stands(tmp_path: Path) -> None:
    folder = artifacts(Settings(home=tmp_path), "warehouse")
    folder.mkdir(parents=True)
    results = [
        {"unique_id": "model.tidemark.fct_bars_1m", "status": "error"},
        {"unique_id": "x.y.z", "status": "pass"},
    ]
    run = {"metadata": {"generated_at": "2024-08-08T10:00:00.5Z"}, "results": results}
    (folder / "run_results.json").write_text(json.dumps(run))
    realtime, warehouse = batch.dbt_runs(Settings(home=tmp_path))
    assert (realtime.state, warehouse.state) == ("waiting", "failing")
    assert "fct_bars_1m failed" in warehouse.sentence
