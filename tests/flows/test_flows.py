"""Flows against the real Prefect server: what fails says so on its run, and is seen; deploying twice is once."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import psutil
import pytest
import tenacity
from pydantic import SecretStr

from flows import automations
from flows.automations import TAG
from flows.deployments import deploy, serve
from flows.prefect_session import prefect_session
from flows.running import run_flow
from tests.serving import in_a_thread
from tests.stream_shim.conftest import until
from tidemark.connections import local_prefect_auth_string, prefect_url
from tidemark.errors import SourceError, StackError
from tidemark.settings import Settings
from watch import batch
from watch.channels import emit


class Server(ThreadingHTTPServer):
    """A loopback server: it keeps what is posted to it, and answers every GET with 503, once it may."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posts: Queue[dict[str, str]] = Queue()
        self.asked: Queue[str] = Queue()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.posts.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.asked.put(self.path)
        self.server.may_answer.wait()
        self.send_response(503)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests' output is theirs."""


@pytest.fixture
def server() -> Iterator[Server]:
    with in_a_thread(Server()) as made:
        yield made
        made.may_answer.set()


def prefect(settings: Settings, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(settings, f"{path}/filter").json()
    return found


@tenacity.retry(
    retry=tenacity.retry_if_exception(lambda error: getattr(getattr(error, "response", None), "status_code", 0) == 503),
    wait=tenacity.wait_fixed(1), stop=tenacity.stop_after_delay(60), reraise=True,
)  # fmt: skip
def call(settings: Settings, path: str, **body: Any) -> httpx.Response:
    """Prefect's answer; a busy one asks its callers to come again, as its own client does."""
    user, _, password = local_prefect_auth_string(settings).partition(":")
    return httpx.post(
        f"{prefect_url(settings)}/{path}", json=body, auth=(user, password), timeout=60
    ).raise_for_status()


def failed(settings: Settings, work: str, said: str) -> str:
    """What the watcher sees of a flow's last run, once it failed with these words; an alert is raised by it."""
    found: list[str] = []

    def look() -> bool:
        seen = [one for one in batch.look(settings) if (one.name, one.identity) == (batch.RUN_FAILED, work)]
        found[:] = [one.sentence for one in seen if one.state == "failing" and said in one.sentence]
        return bool(found)

    until(look, f"a run of {work} that failed with {said!r}", 120)
    return found[0]


def test_a_source_that_answers_503_fails_its_run_by_name_and_that_is_seen(stack: Any, server: Server) -> None:
    settings = stack.with_settings(
        ecb_url=server.url, retry_seconds=(0.01,), alert_webhook=SecretStr(f"{server.url}/secret-token")
    )
    deploy(settings)
    with pytest.raises(SourceError, match=r"ecb.*503"):
        run_flow(settings, "ingest", source="ecb")
    assert "ended as Failed" in failed(settings, "ingest ecb", "ecb")
    assert "secret-token" not in call(settings, "block_documents/filter").text


def test_prefect_posts_that_the_watcher_is_silent_once_it_was_heard_and_an_older_automation_goes(
    stack: Any, server: Server
) -> None:
    settings = stack.with_settings(alert_webhook=SecretStr(f"{server.url}/secret-token"))
    with prefect_session(settings):
        former = automations._missing(None)
        former.name = automations.FORMER_NAME
        former.create()
        automations.apply(settings)
        quick = automations._missing(automations._save_block(f"{server.url}/hook"))
        quick.id, quick.trigger.within = automations._find(automations.WATCHER_NAME).id, timedelta(seconds=10)
        quick.trigger.match = quick.trigger.match.model_validate({"prefect.resource.id": "another watcher"})
        quick.trigger.after = quick.trigger.expect = {"tidemark.test.beat"}
        quick.update()
    names = {each["name"] for each in prefect(settings, "automations")}
    assert automations.WATCHER_NAME in names
    assert automations.FORMER_NAME not in names
    emit(settings, "tidemark.test.beat", "another watcher", {})
    post = server.posts.get(timeout=90)
    assert (post["state"], post["cause"]) == ("raised", "the watcher does not run")
    assert post["runbook"] == "docs/runbook/watcher-does-not-run.md"
    with prefect_session(settings):
        automations.apply(stack.settings)
    [shown] = [each for each in prefect(settings, "automations") if each["name"] == automations.WATCHER_NAME]
    assert [action["type"] for action in shown["actions"]] == ["do-nothing"]


def test_deploying_twice_is_once_and_promotion_waits_for_no_setting_of_a_source(stack: Any) -> None:
    first, second = deploy(stack.settings), deploy(stack.settings)
    assert first == second
    deployments = {each["name"]: each for each in prefect(stack.settings, "deployments")}
    assert set(deployments) == {"ingest-ecb", "ingest-fred", "promote-daily", "check-daily"}
    assert all(len(each["schedules"]) == 1 for each in deployments.values())
    assert {name for name, each in deployments.items() if each["paused"]} == {"ingest-ecb", "ingest-fred"}

    configured = stack.with_settings(user_agent="Test test@example.org")
    assert [schedule.name for schedule in deploy(configured) if not schedule.paused] == [
        "ingest-ecb", "promote-daily", "check-daily",
    ]  # fmt: skip
    deploy(stack.settings)


def test_a_demos_state_folder_is_not_served(stack: Any, tmp_path: Path) -> None:
    (tmp_path / "mark").write_text("replay\n")
    with pytest.raises(StackError, match="expected a state folder for live sources"):
        serve(stack.with_settings(home=tmp_path))


@pytest.mark.faults
def test_a_served_run_that_the_api_asks_for_is_executed_by_a_child_and_one_that_is_killed_posts_that_it_crashed(
    stack: Any, server: Server
) -> None:
    environ = stack.environ | {
        "TIDEMARK_ECB_URL": server.url,
        "TIDEMARK_RETRY_SECONDS": "[0.01]",
        "TIDEMARK_ALERT_WEBHOOK": f"{server.url}/hook",
    }
    command = [sys.executable, "-m", "tidemark.cli", "flow", "serve"]
    log = stack.settings.home / "logs" / "serve.log"
    deploy(stack.with_settings(alert_webhook=SecretStr(f"{server.url}/hook")))
    ecb = _deployment(stack.settings, "ingest-ecb")
    _miss(stack.settings, "check-daily", days=5)
    with log.open("wb") as output, subprocess.Popen(command, env=environ, stdout=output, stderr=output) as serving:
        try:
            call(stack.settings, f"deployments/{ecb}/create_flow_run")
            assert "ended as Failed" in failed(stack.settings, "ingest ecb", "503")

            server.may_answer.clear()
            _empty(server.asked)
            call(stack.settings, f"deployments/{ecb}/create_flow_run")
            server.asked.get(timeout=120)  # the child waits for the source
            for child in psutil.Process(serving.pid).children(recursive=True):
                child.kill()
            assert "ended as Crashed" in failed(stack.settings, "ingest ecb", "status code: -9")
            cancelled = [run for run in prefect(stack.settings, "flow_runs") if run["state"]["name"] == "Cancelled"]
            assert len(cancelled) in {3, 4}, cancelled  # of the four or five that a schedule missed, the last one runs
            assert {run["state"]["message"] for run in cancelled} == {"missed; the latest of its schedule runs instead"}
        finally:
            serving.send_signal(signal.SIGTERM)
            serving.wait(60)
    with prefect_session(stack.settings):
        automations.apply(stack.settings)
    said = log.read_text()
    assert local_prefect_auth_string(stack.settings).partition(":")[2] not in said
    assert "SIGTERM received" in said
    assert "RuntimeWarning" not in said


@pytest.mark.faults
@pytest.mark.parametrize("seconds", [15, None])
def test_a_run_by_hand_that_is_killed_without_a_word_is_crashed_and_posts_it_once(
    stack: Any, server: Server, seconds: int | None
) -> None:
    environ = stack.environ | {
        "TIDEMARK_ECB_URL": server.url,
        "TIDEMARK_ALERT_WEBHOOK": f"{server.url}/hook",
        "TIDEMARK_USER_AGENT": "Test test@example.org",
    }
    if seconds:
        environ["TIDEMARK_FLOW_SILENCE_SECONDS"] = str(seconds)
    server.may_answer.clear()
    command = [sys.executable, "-m", "tidemark.cli", "flow", "run", "ingest", "--param", "source=ecb"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            server.asked.get(timeout=120)
        finally:
            running.kill()
    silence = seconds or Settings.model_fields["flow_silence_seconds"].default
    assert "ended as Crashed" in failed(stack.settings, "ingest ecb", f"gave no sign of life for {silence} s")


def test_of_a_server_that_others_use_too_only_our_runs_are_crashed(stack: Any) -> None:
    settings = stack.with_settings(flow_silence_seconds=10)
    with prefect_session(settings):
        automations.apply(settings)
    theirs, ours = _made(settings, "RUNNING", "Running"), _made(settings, "RUNNING", "Running", TAG)

    def states() -> dict[str, str]:
        return {run["id"]: run["state"]["name"] for run in prefect(settings, "flow_runs")}

    until(lambda: states()[ours] == "Crashed", "ours to be Crashed")
    assert states()[theirs] == "Running"
    with prefect_session(settings):
        automations.apply(stack.settings)


def _made(settings: Settings, kind: str, name: str, *tags: str) -> str:
    """A flow run in a state, of which no process gives a sign."""
    flow = call(settings, "flows/", name="silent").json()["id"]
    state = {"type": kind, "name": name}
    made = call(settings, "flow_runs/", flow_id=flow, name="ours" if tags else "theirs", tags=tags, state=state)
    return str(made.json()["id"])


def _deployment(settings: Settings, name: str) -> str:
    return next(str(each["id"]) for each in prefect(settings, "deployments") if each["name"] == name)


def _miss(settings: Settings, name: str, days: int) -> None:
    """Runs of a schedule that nobody took: a person may ask for such, the scheduler's are marked in its database."""
    now, deployment = datetime.now(UTC), _deployment(settings, name)
    missed = {"start_time": str(now - timedelta(days=days)), "end_time": str(now), "min_runs": days}
    call(settings, f"deployments/{deployment}/schedule", **missed)
    with closing(sqlite3.connect(settings.home / "prefect" / "prefect.db", timeout=60)) as database, database:
        marked = "update flow_run set auto_scheduled = 1 where deployment_id = ? and expected_start_time < ?"
        assert database.execute(marked, (deployment, f"{now:%Y-%m-%d %H:%M:%S.%f}")).rowcount >= days - 1


def _empty(queue: "Queue[str]") -> None:
    while not queue.empty():
        queue.get()
