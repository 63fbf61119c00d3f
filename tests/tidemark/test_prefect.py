"""The local Prefect server asks who calls: without its string nothing is open but what is listed here."""

import base64
import json
import os
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from flows.deployments import deploy
from tests.conftest import Stack
from tests.serving import in_a_thread
from tidemark.connections import local_prefect_auth_string, prefect_auth_string, prefect_url
from tidemark.credentials import PREFECT, credential
from tidemark.errors import StackError
from tidemark.settings import Settings
from tidemark.stack import local, prefect, process

OPEN = {("get", "/health"), ("get", "/ready")}
OPEN_OUTSIDE_OF_THE_API = ("/", "/openapi.json", "/docs", "/redoc", "/docs/oauth2-redirect", "/ui-settings")
SOCKETS = (
    "events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled", "work_pools/any/workers/connect",
)  # fmt: skip


@pytest.fixture(scope="module")
def auth(stack: Stack) -> httpx.BasicAuth:
    return httpx.BasicAuth(*local_prefect_auth_string(stack.settings).split(":"))


def wrong_strings(settings: Settings) -> list[dict[str, str]]:
    """Headers of who brings nothing, another password, or the right one in another scheme."""
    right = local_prefect_auth_string(settings)
    encoded = [base64.b64encode(text.encode()).decode() for text in ("tidemark:wrong", right[:-1], ":")]
    return [
        {},
        {"Authorization": f"Basic {encoded[0]}"},
        {"Authorization": f"Bearer {base64.b64encode(right.encode()).decode()}"},
        {"Authorization": right},
        {"Authorization": "Basic"},
        *({"Authorization": f"Basic {text}"} for text in encoded[1:]),
    ]


def test_every_route_refuses_who_brings_no_string_or_a_wrong_one(stack: Stack) -> None:
    root = prefect_url(stack.settings).removesuffix("/api")
    schema = httpx.get(f"{root}/openapi.json", timeout=60).json()
    routes = {(method, path) for path, methods in schema["paths"].items() for method in methods}
    assert len(routes) > 150
    assert routes >= OPEN
    found: dict[tuple[str, str], set[int]] = {}
    with httpx.Client(base_url=f"{root}/api", trust_env=False, timeout=60) as client:
        for headers in wrong_strings(stack.settings):
            assert client.post("/flows/filter", json={}, headers=headers).status_code == 401
        for method, path in sorted(routes):
            filled = re.sub(r"{[^}]*}", str(uuid4()), path)
            for headers in wrong_strings(stack.settings)[:2]:
                answer = client.request(method, filled, headers=headers)
                found.setdefault((method, path), set()).add(answer.status_code)
    assert {route for route, statuses in found.items() if statuses != {401}} == OPEN


def test_outside_of_the_api_only_the_ui_and_the_description_of_the_api_are_open(stack: Stack) -> None:
    root = prefect_url(stack.settings).removesuffix("/api")
    for path in OPEN_OUTSIDE_OF_THE_API:
        assert httpx.get(root + path, follow_redirects=True, timeout=60).status_code == 200
    hidden = httpx.get(f"{root}/ui-settings", timeout=60).json()
    assert (hidden["api_url"], hidden["auth"]) == ("/api", "BASIC")
    for path in ("/api/docs", "/api/openapi.json", "/api/redoc", "/api/health/", "/api/x/health", "/api//health"):
        assert httpx.get(root + path, timeout=60).status_code == 401, path


@pytest.mark.parametrize("path", SOCKETS)
def test_a_web_socket_is_closed_to_who_brings_no_string_or_a_wrong_one(stack: Stack, path: str) -> None:
    address = f"{prefect_url(stack.settings).replace('http:', 'ws:')}/{path}"
    right = local_prefect_auth_string(stack.settings)
    for token in ("", "tidemark:wrong", right[:-1]):
        with connect(address, subprotocols=[Subprotocol("prefect")], proxy=None) as socket:
            socket.send(json.dumps({"type": "auth", "token": token}))
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=30)
    if path in SOCKETS[:3]:
        with connect(address, subprotocols=[Subprotocol("prefect")], proxy=None) as socket:
            socket.send(json.dumps({"type": "auth", "token": right}))
            assert json.loads(socket.recv(timeout=30))["type"] == "auth_success"


def test_the_listed_web_sockets_are_all_that_the_server_has() -> None:
    from pathlib import Path

    from prefect.server import api

    folder = Path(api.__path__[0])
    assert sum(path.read_text().count(".websocket(") for path in folder.rglob("*.py")) == len(SOCKETS)


def test_who_brings_no_string_cannot_change_what_a_deployment_runs(stack: Stack, auth: httpx.BasicAuth) -> None:
    deploy(stack.settings)
    url = prefect_url(stack.settings)
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        named = "/deployments/name/check/check-daily"
        assert client.get(named).status_code == 401
        found = client.get(named, auth=auth).raise_for_status().json()
        steps = {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "id"}}]}
        path = f"/deployments/{found['id']}"
        assert client.patch(path, json=steps).status_code == 401
        assert client.post(f"{path}/create_flow_run", json={}).status_code == 401
        assert client.post("/block_documents/filter", json={"include_secrets": True}).status_code == 401
        assert client.get(named, auth=auth).json()["pull_steps"] == found["pull_steps"]

        assert client.patch(path, json=steps, auth=auth).status_code == 204
        assert client.get(named, auth=auth).json()["pull_steps"] == steps["pull_steps"]
        assert client.patch(path, json={"pull_steps": found["pull_steps"]}, auth=auth).status_code == 204


def test_a_page_of_another_origin_gets_no_leave_to_call(stack: Stack) -> None:
    asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        answer = httpx.options(
            f"{prefect_url(stack.settings)}/flows/filter", headers={"Origin": origin, **asked}, timeout=60
        )
        assert "access-control-allow-origin" not in answer.headers
        answer = httpx.get(f"{prefect_url(stack.settings)}/health", headers={"Origin": origin}, timeout=60)
        assert "access-control-allow-origin" not in answer.headers


def test_the_string_is_in_no_argument_log_or_file_of_prefect(stack: Stack) -> None:
    deploy(stack.settings)
    secret = credential(stack.settings, PREFECT)
    encoded = base64.b64encode(local_prefect_auth_string(stack.settings).encode()).decode()
    running = process.find(stack.settings.home, prefect.NAME)
    assert running is not None
    assert running.environ()[prefect.AUTH_STRING].endswith(secret)
    for each in (running, *running.children(recursive=True)):
        assert secret not in " ".join(each.cmdline())
    folders = [stack.settings.home / name for name in ("prefect", "logs", "run")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert "prefect.db" in {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        assert secret.encode() not in content, path
        assert encoded.encode() not in content, path


@pytest.mark.faults
def test_a_server_that_an_older_version_left_open_is_ended_by_up_and_asks_afterwards(
    stack: Stack, new_stack: Stack
) -> None:
    mine = Stack(new_stack.with_settings(kafka_bootstrap=f"127.0.0.1:{stack.settings.kafka_port}"))
    local.up(mine.settings)
    process.stop(mine.settings.home, prefect.NAME, prefect.STOP_SIGNAL)
    (mine.settings.home / "credentials" / PREFECT).unlink()
    launch = prefect.prepare(stack.settings)
    env = {key: value for key, value in launch.env.items() if key != prefect.AUTH_STRING}
    port = str(mine.settings.prefect_port)
    argv = [*launch.argv[:-1], port]
    database = f"sqlite+aiosqlite:///{mine.settings.home / 'prefect' / 'prefect.db'}"
    env |= {"PREFECT_API_DATABASE_CONNECTION_URL": database, "PREFECT_HOME": str(mine.settings.home / "prefect")}
    old = process.spawn(
        mine.settings.home, prefect.NAME, process.Launch(argv, env, mine.settings.home), prefect.ports(mine.settings)
    )
    assert local.up(mine.settings) == ["Prefect let in whoever called: it was ended and started anew"]
    assert not psutil.pid_exists(old.pid) or psutil.Process(old.pid).status() == psutil.STATUS_ZOMBIE
    assert httpx.post(f"{prefect_url(mine.settings)}/flows/filter", json={}, timeout=60).status_code == 401
    deploy(mine.settings)

    (mine.settings.home / "credentials" / PREFECT).write_text("another")
    assert local.up(mine.settings) == [
        "Prefect asked for another string than the generated one: it was ended and started anew"
    ]
    deploy(mine.settings)
    assert local.up(mine.settings) == []


class Collector(HTTPServer):
    """A loopback server that keeps the headers of every request, and answers an empty list to all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CollectorHandler)
        self.received: list[str] = []


class CollectorHandler(BaseHTTPRequestHandler):
    server: Collector

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append(f"{self.path} {self.headers}")
        self.send_response(404 if "csrf-token" in self.path else 200)  # as a server without CSRF
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def do_POST(self) -> None:
        self.do_GET()

    def do_CONNECT(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests' output is theirs."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with in_a_thread(Collector()) as made:
        yield made


def test_who_took_the_servers_port_is_not_sent_the_string(stack: Stack, collector: Collector) -> None:
    port = {"TIDEMARK_PREFECT_PORT": str(collector.server_port)}
    done = stack.run("flow", "deploy", **port)
    assert done.returncode == 1
    assert re.search(r"expected the Prefect server of \S+ on port \d+, it does not listen there", done.stderr)
    assert "run `tidemark up`" in done.stderr
    with pytest.raises(StackError, match="it does not listen there"):
        prefect.prefect_login(stack.with_settings(prefect_port=collector.server_port))
    assert collector.received == []


def test_a_server_of_others_is_sent_the_string_of_its_own_setting_or_none(stack: Stack, collector: Collector) -> None:
    local_string = {"PREFECT_API_AUTH_STRING": local_prefect_auth_string(stack.settings)}
    named = {"TIDEMARK_PREFECT_URL": f"http://127.0.0.1:{collector.server_port}/api"}
    stack.run("flow", "deploy", **named, **local_string)
    assert any("/api/flows/filter" in request for request in collector.received)
    assert not [request for request in collector.received if "authorization" in request.lower()]

    stack.run("flow", "deploy", **named, **local_string, TIDEMARK_PREFECT_AUTH_STRING="them:theirs")
    theirs = base64.b64encode(b"them:theirs").decode()
    sent = [request for request in collector.received if "authorization" in request.lower()]
    assert sent and all(f"Basic {theirs}" in request for request in sent)
    assert prefect_auth_string(stack.with_settings(prefect_url=named["TIDEMARK_PREFECT_URL"])) is None


def test_a_proxy_of_the_environment_is_not_sent_the_string_of_the_local_server(
    stack: Stack, collector: Collector
) -> None:
    proxy = f"http://127.0.0.1:{collector.server_port}"
    done = stack.run("flow", "deploy", http_proxy=proxy, HTTP_PROXY=proxy, all_proxy=proxy, no_proxy="", NO_PROXY="")
    assert done.returncode == 0, done.stderr
    assert collector.received == []


@pytest.mark.parametrize("auth_string", [None, "tidemark:wrong"])
def test_a_string_that_the_server_refuses_is_a_sentence_that_names_the_setting(
    stack: Stack, auth_string: str | None
) -> None:
    settings = stack.with_settings(
        prefect_url=prefect_url(stack.settings), prefect_auth_string=auth_string and SecretStr(auth_string)
    )
    with pytest.raises(StackError, match=r"it answered 401: set TIDEMARK_PREFECT_AUTH_STRING to") as refused:
        deploy(settings)
    assert "wrong" not in str(refused.value)
    right = SecretStr(local_prefect_auth_string(stack.settings))
    deploy(settings.model_copy(update={"prefect_auth_string": right}))
    assert "PREFECT_API_AUTH_STRING" not in os.environ


def test_status_says_how_to_log_in_and_env_has_the_string(stack: Stack) -> None:
    secret = local_prefect_auth_string(stack.settings)
    for arguments in (["status"], ["status", "--json"]):
        shown = stack.run(*arguments).stdout
        assert "the PREFECT_API_AUTH_STRING that `tidemark env` prints" in shown
        assert secret.partition(":")[2] not in shown
    assert f"export PREFECT_API_AUTH_STRING={secret}\n" in stack.run("env").stdout + "\n"
    assert json.loads(stack.run("env", "--json").stdout)["prefect_auth_string"] == secret
    other = stack.run("env", TIDEMARK_PREFECT_URL="https://prefect.example.org/api").stdout
    assert "unset PREFECT_API_AUTH_STRING" in other.splitlines()
    assert secret not in other


def test_a_server_that_keeps_runs_for_another_time_than_is_set_is_started_anew(stack: Stack) -> None:
    running = process.find(stack.settings.home, prefect.NAME)
    assert running is not None
    assert prefect.outdated(stack.settings, running) == ""
    said = prefect.outdated(stack.with_settings(flow_days=30), running)
    assert said == "kept its runs for another time than is set"
    kept = {key: value for key, value in running.environ().items() if "VACUUM" in key}
    assert kept == {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs,orphans",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(90 * 86_400),
    }
