"""The watcher as a process of a stack: real faults, read in status.json, the page, a webhook and Prefect's events."""

import base64
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from tests.conftest import Stack
from tests.serving import in_a_thread
from tests.stream_shim.conftest import until
from tidemark.connections import local_prefect_auth_string, prefect_url
from tidemark.http import ask_now
from tidemark.settings import Settings
from tidemark.stack import local, process, watcher
from watch.page import view
from watch.page.files import files
from watch.status_file import VALID_SECONDS, read_status

MOST_BYTES = 80_000_000


class Outside:
    """A loopback server that takes alerts (POST) and signs of life (GET)."""

    def __init__(self) -> None:
        self.url = ""
        self.posts: list[dict[str, Any]] = []
        self.beats = threading.Event()

    def words(self) -> list[tuple[str, str]]:
        return [(post["state"], post["cause"]) for post in self.posts]


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    found = Outside()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._end()

        def do_GET(self) -> None:
            found.beats.set()
            self._end()

        def _end(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Taking)) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        yield found


@pytest.fixture(scope="module")
def watched(stack: Stack, outside: Outside) -> Iterator[Stack]:
    """The session's stack, whose watcher tells that server; it has seen everything. One for all tests of this file."""
    settings = stack.with_settings(
        alert_webhook=SecretStr(f"{outside.url}/hook"), heartbeat_url=SecretStr(f"{outside.url}/beat")
    )
    local.up(settings)
    try:
        until(lambda: not unknown(settings) and read_status(settings).observations, "everything to be seen", 120)
        yield Stack(settings)
    finally:
        local.up(stack.settings)


def unknown(settings: Settings) -> list[str]:
    status = read_status(settings)
    return [status.unknown] * bool(status.unknown) + [
        one.title for one in status.observations if one.state == "unknown"
    ]


def states(settings: Settings) -> dict[str, str]:
    return {one.title: one.state for one in read_status(settings).observations}


def shown(settings: Settings) -> set[tuple[str, str]]:
    """Name and state of each part on the page: as it is served, or as it is published where nobody serves it."""
    try:
        text = httpx.get(f"http://127.0.0.1:{settings.api_port}/api/v2/summary.json").content
    except httpx.TransportError:
        text = files(view.read(settings), str(settings.home))["api/v2/summary.json"].content
    return {(part["name"], part["state"]) for part in json.loads(text)["components"] if not part["group"]}


def found(settings: Settings, name: str) -> psutil.Process:
    running = process.find(settings.home, name)
    assert running is not None
    return running


def kill_watcher(settings: Settings) -> None:
    """If it runs: the next `up` starts another."""
    if (running := process.find(settings.home, watcher.NAME)) is not None:
        running.kill()
        running.wait()


def test_a_watcher_that_sees_everything_says_so_outside_takes_little_memory_and_lets_no_second_one_run(
    watched: Stack, outside: Outside
) -> None:
    settings = watched.settings
    until(outside.beats.is_set, "a sign of life, as everything is seen", 20)
    used = found(settings, watcher.NAME).memory_info().rss
    assert used < MOST_BYTES, used
    env = dict(watcher.prepare(settings).env)
    second = subprocess.run([sys.executable, "-m", "watch"], env=env, capture_output=True, text=True, check=False)
    assert (second.returncode, "another watcher runs there" in second.stdout) == (1, True)


def test_a_killed_watcher_leaves_everything_unknown(watched: Stack) -> None:
    settings = watched.settings
    assert read_status(settings).observed_at is not None
    kill_watcher(settings)
    late = datetime.now(UTC) + timedelta(seconds=VALID_SECONDS + 1)
    assert {one.state for one in read_status(settings, late).observations} == {"unknown"}
    done = watched.run("status")
    assert done.returncode == 1
    assert "the watcher does not run, so nobody knows how things are: `tidemark up` starts it" in done.stdout
    assert watched.run("alerts").returncode == 1


def test_up_starts_another_watcher_that_repeats_no_alert(watched: Stack, outside: Outside) -> None:
    settings, password = watched.settings, watched.settings.home / "credentials" / "promoter"
    kill_watcher(settings)  # the next one looks at once
    password.chmod(0o644)
    try:
        local.up(settings)
        cause = f"password open to others: {password.parent}"
        until(lambda: ("raised", cause) in outside.words(), "the alert")
        kill_watcher(settings)
    finally:
        password.chmod(0o600)
    local.up(settings)
    until(lambda: ("resolved", cause) in outside.words(), "the word that it is over")
    assert [word for word, of in outside.words() if of == cause] == ["raised", "resolved"]
    until(lambda: not unknown(settings), "everything to be seen again", 120)
    assert watched.run("status").returncode == 0


def test_an_alert_of_a_test_reaches_every_channel_and_prefect_shows_it(watched: Stack, outside: Outside) -> None:
    done = watched.run("alerts", "test", "--json", TIDEMARK_ALERT_WEBHOOK=f"{outside.url}/hook")
    assert {row["channel"]: row["took_it"] for row in json.loads(done.stdout)} == {"prefect": True, "webhook": True}
    assert ("raised", "test") in outside.words()
    assert ("resolved", "test") in outside.words()
    until(lambda: {"tidemark.alert.raised", "tidemark.alert.resolved"} <= events(watched.settings), "both events", 60)
    done = watched.run("alerts", "test", TIDEMARK_ALERT_WEBHOOK="http://127.0.0.1:1/secret")
    assert done.returncode == 1
    assert "webhook: expected TIDEMARK_ALERT_WEBHOOK to take an alert, received no answer" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def events(settings: Settings) -> set[str]:
    """The alerts among Prefect's events, as its UI asks for them."""
    entry = base64.b64encode(local_prefect_auth_string(settings).encode()).decode()
    answer = ask_now(
        settings, f"{prefect_url(settings)}/events/filter", method="POST", seconds=20,
        json={"filter": {"event": {"prefix": ["tidemark.alert."]}}}, headers={"Authorization": f"Basic {entry}"},
    )  # fmt: skip
    return {event["event"] for event in json.loads(answer.body)["events"]}


def killed(name: str) -> Callable[[Stack], AbstractContextManager[None]]:
    @contextmanager
    def plant(stack: Stack) -> Iterator[None]:
        server = found(stack.settings, name)
        children = server.children(recursive=True)
        server.send_signal(signal.SIGKILL)
        psutil.wait_procs([server, *children], timeout=30)
        try:
            yield
        finally:
            local.up(stack.settings)

    return plant


def closed(database: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """One database of the server takes nobody, and who was there is put out."""

    @contextmanager
    def plant(stack: Stack) -> Iterator[None]:
        other = "warehouse" if database == "realtime" else "realtime"
        allow = SQL("alter database {} allow_connections {}")
        with psycopg.connect(stack.dsn(other), autocommit=True) as owner:
            owner.execute(allow.format(Identifier(database), SQL("false")))
            owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (database,))
            try:
                yield
            finally:
                owner.execute(allow.format(Identifier(database), SQL("true")))

    return plant


FAULTS = [
    pytest.param("server does not run: kafka", killed("kafka"), "log cannot be read on: market_tick", id="kafka"),
    pytest.param("server does not run: postgres", killed("postgres"), "growing quarantine: realtime", id="postgres"),
    pytest.param("server does not run: prefect", killed("prefect"), "Prefect does not answer: prefect", id="prefect"),
    pytest.param("server does not run: serve", killed("serve"), "", id="serve"),
    pytest.param("database does not answer: realtime", closed("realtime"), "low head-room: realtime", id="realtime"),
    pytest.param("database does not answer: warehouse", closed("warehouse"), "check failed: quality", id="warehouse"),
]


@pytest.mark.faults
@pytest.mark.parametrize(("title", "plant", "hidden"), FAULTS)
def test_a_server_that_is_gone_fails_what_it_hides_is_unknown_and_one_alert_comes_and_goes(
    title: str, plant: Callable[[Stack], AbstractContextManager[None]], hidden: str, watched: Stack, outside: Outside
) -> None:
    settings, part = watched.settings, (title.rpartition(" ")[2], "failing")
    before = len(outside.posts)
    with plant(watched):
        until(lambda: states(settings).get(title) == "failing", f"{title} to fail", 60)
        until(lambda: part in shown(settings), "the page to say it", 20)
        until(lambda: ("raised", title) in outside.words(), "the alert", 120)
        until(lambda: not hidden or states(settings).get(hidden) == "unknown", f"{hidden} to be unknown", 400)
        assert title in watched.run("alerts").stdout
    until(lambda: ("resolved", title) in outside.words(), "the word that it is over", 120)
    until(lambda: not unknown(settings), "everything to be seen again", 400)
    until(lambda: part not in shown(settings), "the page to say that it is over", 20)
    raised = [cause for word, cause in outside.words()[before:] if word == "raised"]
    assert raised.count(title) == 1
    assert [cause for cause in raised if cause not in (title, "the guard does not run")] == []
