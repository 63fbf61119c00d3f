"""`tidemark up` after a Postgres that was killed: its sessions and its lock do not stand in the way."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.conftest import Stack
from tidemark.credentials import OWNER
from tidemark.stack import local
from tidemark.stack.postgres_survivors import end_survivors
from tidemark.stack.process import find


@contextmanager
def working_in(folder: Path, title: str = "postgres: a session", *arguments: str) -> Iterator[psutil.Process]:
    """A process whose folder is that of a cluster, and which calls itself so."""
    child = subprocess.Popen(
        [title, "-c", "echo works; read line", *arguments], executable="/bin/sh", cwd=folder,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"works\n"
        yield psutil.Process(child.pid)
    finally:
        child.communicate()


@pytest.mark.parametrize("first_line", ["", "0", "a half", str(os.getpid())])
def test_a_lock_of_a_pid_that_is_over_or_somebody_elses_is_forgotten(first_line: str, tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{first_line}\n{tmp_path}\n")
    end_survivors(tmp_path)
    assert not lock.exists()


def test_a_session_that_was_stopped_is_ended_and_a_server_that_runs_is_left(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with working_in(tmp_path) as session, working_in(tmp_path, "/opt/postgres", "-D", str(tmp_path)) as server:
        lock.write_text(f"{gone.pid}\n")
        end_survivors(tmp_path)  # whatever its lock says
        assert server.is_running()
        assert session.is_running()
        lock.write_text(f"{server.pid}\n")
        end_survivors(tmp_path)
        assert session.is_running()
        assert lock.exists()
    with working_in(tmp_path) as session:
        session.suspend()
        lock.write_text(f"{gone.pid}\n")
        end_survivors(tmp_path)
        assert not session.is_running() or session.status() == psutil.STATUS_ZOMBIE
        assert not lock.exists()


def test_the_shell_of_a_person_who_stands_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    with working_in(tmp_path, "bash") as shell, working_in(tmp_path, "less", "postgres: log") as pager:
        lock.write_text("0\n")
        end_survivors(tmp_path)
        assert shell.is_running() and pager.is_running()
        assert psutil.STATUS_ZOMBIE not in (shell.status(), pager.status())
    assert not lock.exists()


@pytest.mark.faults
def test_up_after_postgres_was_killed_beside_a_session_that_does_not_see_it(stack: Stack) -> None:
    with psycopg.connect(stack.dsn("realtime", OWNER), autocommit=True) as connection:
        session = psutil.Process(connection.info.backend_pid)
        server = find(stack.settings.home, "postgres")
        assert server is not None
        session.suspend()  # it has the shared memory, and sees nothing
        server.kill()
        server.wait(60)
        local.up(stack.settings)
        assert not session.is_running()
        connection.close()
    with psycopg.connect(stack.dsn("realtime", OWNER)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
