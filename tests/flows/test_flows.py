"""Flows against the real Prefect server: what fails says so, on its run and to the webhook; deploying twice is once."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from flows import alerts
from flows.deployments import deploy, serve
from flows.running import prefect_session, run_flow
from tidemark.connections import prefect_url
from tidemark.errors import SourceError, StackError
from tidemark.settings import Settings


class Server(HTTPServer):
    """A loopback server: it keeps what is posted to it, and answers every GET with 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posts: Queue[dict[str, str]] = Queue()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.posts.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests' output is theirs."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def prefect(settings: Settings, path: str) -> list[dict[str, Any]]:
    return httpx.post(f"{prefect_url(settings)}/{path}/filter", json={}).raise_for_status().json()


def test_a_source_that_answers_503_fails_its_run_by_name_and_posts_to_the_webhook(stack: Any, server: Server) -> None:
    settings = stack.with_settings(
        ecb_url=server.url, retry_seconds=(0.01,), alert_webhook=SecretStr(f"{server.url}/secret-token")
    )
    deploy(settings)
    with pytest.raises(SourceError, match=r"ecb.*503"):
        run_flow(settings, "ingest", source="ecb")
    post = server.posts.get(timeout=30)
    assert post["subject"] == "Tidemark: flow ingest Failed"
    assert "ecb" in post["text"]
    kept = httpx.post(f"{prefect_url(settings)}/block_documents/filter", json={}).text
    assert "secret-token" not in kept

    with prefect_session(settings):
        assert alerts.apply(stack.settings) is False
    assert [each for each in prefect(settings, "automations") if each["name"] == alerts.NAME] == []


def test_deploying_twice_is_once_and_nothing_runs_before_real_sources_are_configured(stack: Any) -> None:
    first, second = deploy(stack.settings), deploy(stack.settings)
    assert first == second
    deployments = {each["name"]: each for each in prefect(stack.settings, "deployments")}
    assert set(deployments) == {"ingest-ecb", "ingest-fred", "promote-daily", "check-daily"}
    assert all(each["paused"] and len(each["schedules"]) == 1 for each in deployments.values())

    configured = stack.with_settings(user_agent="Test test@example.org")
    assert [schedule.name for schedule in deploy(configured) if not schedule.paused] == [
        "ingest-ecb", "promote-daily", "check-daily",
    ]  # fmt: skip
    deploy(stack.settings)


def test_a_demos_state_folder_is_not_served(stack: Any, tmp_path: Path) -> None:
    (tmp_path / "mark").write_text("replay\n")
    with pytest.raises(StackError, match="expected a state folder for live sources"):
        serve(stack.with_settings(home=tmp_path))
