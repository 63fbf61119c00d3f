"""The demo's state folder: only a replay's, or one without anything in it, is made anew."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.processes import SOURCES, environment, sources
from demo.state import renew
from loopback.session import Session
from tests.conftest import Stack, new_settings
from tidemark.errors import ConfigurationError, StackError
from tidemark.home_kind import home_kind
from tidemark.settings import PROJECT
from tidemark.stack import local, process
from tidemark.stack.checks import make_home


def contents(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*")}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("thesis.txt", r"found thesis\.txt in "),
        ("docs/thesis.txt", r"found live data \(docs/thesis\.txt\) in "),
        ("logs/mine.log", r"found live data \(logs/mine\.log\) in "),
        ("kafka/data/my_topic-0/log", "found kafka in "),
        ("passwords.json kafka/data/my_topic-0/log", r"found live data \(the topic my_topic\) in "),
        ("passwords.json lake/ecb/file.csv", "found lake in "),
        ("passwords.json cursors/edgar.json", r"found live data \(cursors/edgar\.json\) in "),
    ],
)
def test_a_folder_with_anything_of_a_persons_is_refused_and_left_as_it_is(
    tmp_path: Path, entry: str, said: str
) -> None:
    home = tmp_path / "home"
    make_home(home)
    for name in entry.split():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("{}")
    before = contents(home)
    with pytest.raises(ConfigurationError, match=said + ".*set TIDEMARK_HOME"):
        renew(new_settings(home))
    assert contents(home) == before


def test_a_replay_is_made_anew_and_what_is_not_tidemarks_stays_in_it(tmp_path: Path) -> None:
    for folder in ("lake/ecb", "session", "mine"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("")
    (tmp_path / "mark").write_text("replay\n")
    renew(new_settings(tmp_path))
    assert contents(tmp_path) == {"mark", "mine", "mine/file"}


@pytest.fixture
def started(new_stack: Any) -> Iterator[Stack]:
    """A state folder whose Postgres was started once: the other servers are not needed."""
    nowhere = new_stack.with_settings(kafka_bootstrap="none", prefect_url="none")
    local.up(nowhere)
    yield new_stack


def test_a_stack_that_was_only_started_becomes_a_replay_and_one_with_a_row_is_refused(started: Stack) -> None:
    settings = started.settings
    with psycopg.connect(started.dsn("warehouse", "transformer")) as connection:
        connection.execute("create table marts.mine as select 1 as a")
    local.down(settings)
    with pytest.raises(ConfigurationError, match=r"live data \(rows in warehouse\.marts\.mine\)"):
        renew(settings)
    assert local.down(settings) == []  # it is as it was

    local.up(started.with_settings(kafka_bootstrap="none", prefect_url="none"))
    with psycopg.connect(started.dsn("warehouse", "transformer")) as connection:
        connection.execute("drop table marts.mine")
    renew(settings)
    assert home_kind(settings) == "replay"
    assert contents(settings.home) == {"mark"}


def test_a_replay_stays_where_another_stack_has_its_ports(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "file").write_text("")
    (tmp_path / "mark").write_text("replay\n")
    settings = new_settings(tmp_path)
    with (
        socket.create_server(("127.0.0.1", settings.postgres_port)),
        pytest.raises(StackError, match="TIDEMARK_POSTGRES_PORT"),
    ):
        renew(settings)
    assert (tmp_path / "lake" / "file").exists()


def test_the_sources_of_a_demo_that_was_killed_are_ended_and_their_like_of_nobody_stays(
    tmp_path: Path, generated: Session
) -> None:
    settings = new_settings(tmp_path)
    make_home(tmp_path)
    command = [sys.executable, "-m", "loopback", str(generated.folder)]
    alike = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(settings), cwd=PROJECT)
    with alike, contextlib.ExitStack() as killed:
        killed.enter_context(sources(settings, generated.folder))
        left = process.find(tmp_path, SOURCES)
        assert left is not None
        (tmp_path / "mark").write_text("replay\n")
        renew(settings)
        assert not left.is_running()
        assert alike.poll() is None
        alike.terminate()
