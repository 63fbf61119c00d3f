"""The stack, the lane and the flows as services: what systemd reads, and `up --stay`, which it runs."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import Stack, new_settings
from tests.stream_shim.conftest import suspend, until
from tidemark.errors import StackError
from tidemark.service.install import make_home_of_caller
from tidemark.service.units import environment, environment_text, read_environment, unit_files
from tidemark.settings import Settings
from tidemark.stack import local, process
from tidemark.stack.staying import stay

SECRET = 'a "quoted" \\ $HOME `id` %h\nsecond line é'


def install(home: Path, folder: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`tidemark service install --no-start`, of a shell with these variables."""
    given = {
        "TIDEMARK_HOME": str(home),
        "XDG_CONFIG_HOME": str(folder),
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
    }
    command = [sys.executable, "-m", "tidemark.cli", "service", "install", "--no-start", *options]
    return subprocess.run(command, env=given | environ, capture_output=True, text=True, check=False, cwd=folder)


def test_an_installation_writes_the_units_and_the_settings_of_its_shell(tmp_path: Path) -> None:
    home = tmp_path / "a home of 100% $é"
    done = install(home, tmp_path, TIDEMARK_FRED_API_KEY=SECRET, TIDEMARK_ACCESS_FILE="access.yml")
    assert done.returncode == 0, done.stderr
    assert "systemctl --user enable" not in done.stderr
    assert "systemctl --user daemon-reload && systemctl --user enable --now tidemark.target" in done.stdout
    units = tmp_path / "systemd" / "user"
    assert sorted(path.name for path in units.iterdir()) == [
        "tidemark-flows.service", "tidemark-stack.service", "tidemark-stream.service", "tidemark.target",
    ]  # fmt: skip
    kept = home / "service.env"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert read_environment(kept.read_text(), "kept") == {
        "TIDEMARK_HOME": str(home), "TIDEMARK_FRED_API_KEY": SECRET,
        "TIDEMARK_ACCESS_FILE": str(tmp_path / "access.yml"),
    }  # fmt: skip
    for path in units.iterdir():
        text = path.read_text()
        assert SECRET[:9] not in text
        assert not re.search(r"\$\{", text)
        if path.suffix == ".service":
            assert f"EnvironmentFile={home}".replace("%", "%%") in text
    _verify(units)

    again = install(home, tmp_path, "--name", "second", TIDEMARK_KEEP_DAYS="9")
    assert again.returncode == 0, again.stderr
    assert len(list(units.iterdir())) == 8
    assert "Wants=second-stack.service" in (units / "second-flows.service").read_text()
    assert "kept from before: TIDEMARK_ACCESS_FILE, TIDEMARK_FRED_API_KEY; --forget NAME takes one back" in again.stdout
    assert read_environment(kept.read_text(), "kept").items() >= {
        ("TIDEMARK_KEEP_DAYS", "9"), ("TIDEMARK_FRED_API_KEY", SECRET),
    }  # fmt: skip

    forget = ("--forget", "TIDEMARK_KEEP_DAYS")
    still = install(home, tmp_path, *forget, TIDEMARK_KEEP_DAYS="9")
    assert (still.returncode, "`unset TIDEMARK_KEEP_DAYS` first" in still.stderr) == (2, True), still.stderr
    assert install(home, tmp_path, *forget).returncode == 0
    assert "TIDEMARK_KEEP_DAYS" not in read_environment(kept.read_text(), "kept")
    unknown = install(home, tmp_path, *forget)
    assert (unknown.returncode, "from before (TIDEMARK_ACCESS_FILE, TIDEMARK_FRED_API_KEY)" in unknown.stderr) == (
        2,
        True,
    )


@pytest.mark.parametrize("line", ["TIDEMARK_KEEP_DAYS=9", "export A=1", 'A="a" b', 'A="not closed'])
def test_a_line_of_the_kept_settings_that_cannot_be_read_is_refused_by_its_number_and_nothing_is_lost(
    tmp_path: Path, line: str
) -> None:
    home = tmp_path / "home"
    assert install(home, tmp_path, TIDEMARK_FRED_API_KEY="of \n two lines").returncode == 0
    kept = home / "service.env"
    text = kept.read_text() + line + "\n"
    kept.write_text(text)
    refused = install(home, tmp_path)
    assert refused.returncode == 2
    assert f"{kept}, line {text.count(chr(10))}: expected NAME=" in refused.stderr
    assert line not in refused.stderr
    assert kept.read_text() == text


def test_where_no_systemd_of_the_user_runs_what_mends_it_is_said(tmp_path: Path) -> None:
    """A program in its place says what systemd says in a shell of sudo or su."""
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n")
    program.chmod(0o755)
    done = command(tmp_path / "home", tmp_path, "install", path=f"{tmp_path}:/bin:/usr/bin")
    assert done.returncode == 1
    for words in ("No medium found", "`loginctl enable-linger`", "XDG_RUNTIME_DIR=/run/user/$(id -u)"):
        assert words in done.stderr
    assert done.stderr.count("\n") == 1


def command(home: Path, folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """`tidemark service ..` where systemd is not asked."""
    env = {"TIDEMARK_HOME": str(home), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder), "PATH": path}
    call = [sys.executable, "-m", "tidemark.cli", "service", *arguments]
    return subprocess.run(call, env=env, capture_output=True, text=True, check=False, cwd=folder)


def test_what_was_installed_goes_without_systemd_and_its_settings_once_no_unit_reads_them(tmp_path: Path) -> None:
    home, units = tmp_path / "home", tmp_path / "systemd" / "user"
    for name in ("tidemark", "second"):
        assert install(home, tmp_path, "--name", name).returncode == 0
    asked = command(home, tmp_path, "remove")
    assert asked.returncode == 1
    assert "with `install --no-start` and `remove --no-stop` it is not asked" in asked.stderr
    assert len(list(units.iterdir())) == 8
    assert "service.env" not in command(home, tmp_path, "remove", "--no-stop").stdout
    assert [path.name.partition("-")[0].partition(".")[0] for path in units.iterdir()] == ["second"] * 4
    last = command(home, tmp_path, "remove", "--no-stop", "--name", "second")
    assert f"removed {home}/service.env" in last.stdout
    assert list(units.iterdir()) == []
    wrong = command(home, tmp_path, "install", "--no-start", "--name", "../x")
    assert wrong.returncode == 2
    assert "expected lower-case letters, digits, _ and -, received '../x'" in wrong.stderr


def test_a_home_that_sudo_makes_belongs_to_who_asked_for_it(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    make_home_of_caller(home, {"SUDO_UID": str(uid), "SUDO_GID": str(uid)})
    assert {path.stat().st_uid for path in (home, home.parent, *home.iterdir())} == {uid}
    (home / "logs").rmdir()
    make_home_of_caller(home, {})
    assert (home / "logs").stat().st_uid == home.stat().st_uid == uid


def test_systemd_gives_the_stack_longer_to_end_than_a_server_may_take_to_start() -> None:
    unit = unit_files(Settings(), "tidemark", system=False)["tidemark-stack.service"]
    (minutes,) = re.findall(r"^TimeoutStopSec=(\d+)min$", unit, re.MULTILINE)
    assert int(minutes) * 60 > local.START_TIMEOUT + 35  # within which `process.stop` ends a server


@pytest.mark.faults  # it looks every 5 s
def test_who_keeps_the_servers_ends_one_that_does_not_answer_and_starts_it_again(stack: Stack) -> None:
    stop, said = threading.Event(), list[str]()
    frozen = process.find(stack.settings.home, "guard")
    assert frozen is not None
    suspend(frozen)

    def say(sentence: str) -> None:
        said.append(sentence)
        if "all servers run" in sentence:
            stop.set()

    stay(stack.settings, stop, say, silent_seconds=0)
    assert f"its process {frozen.pid} was stopped by a signal: `kill -CONT {frozen.pid}`; after 0 s it is" in said[0]
    assert said[1] == "the guard ended: starting again"
    assert not frozen.is_running()
    assert process.find(stack.settings.home, "guard") is not None


def test_who_keeps_the_servers_waits_for_room_on_the_disk_and_ends_at_once_when_asked(
    stack: Stack, tmp_path: Path
) -> None:
    elsewhere = {
        "kafka_bootstrap": f"127.0.0.1:{stack.settings.kafka_port}",
        "prefect_url": f"http://127.0.0.1:{stack.settings.prefect_port}/api",
    }
    settings = new_settings(tmp_path / "home", **elsewhere)
    (settings.home / "run" / "lock").mkdir(parents=True)  # opening it is an OSError, as writing is to a full disk
    stop, said = threading.Event(), list[str]()

    def say(sentence: str) -> None:
        said.append(sentence)
        if len(said) == 2:
            stop.set()

    stay(settings, stop, say)
    lock = settings.home / "run" / "lock"
    assert f"expected to use {lock}, received Is a directory" in said[1]
    assert said[1].endswith("; trying again in 5 s")
    (settings.home / "run" / "lock").rmdir()
    with pytest.raises(StackError, match="was asked to end before they ran"):
        local.up(settings, stop=stop)
    assert process.find(settings.home, "postgres") is None


def _verify(units: Path) -> None:
    """By systemd itself, on a machine that has it."""
    if program := shutil.which("systemd-analyze"):
        files = sorted(map(str, units.iterdir()))
        done = subprocess.run(
            [program, "verify", "--user", "--man=no", *files], capture_output=True, text=True, check=False,
            env=os.environ | {"XDG_RUNTIME_DIR": str(units.parent)},
        )  # fmt: skip
        said = [line for line in done.stderr.splitlines() if "tidemark" in line]
        assert not said, done.stderr


def test_the_machine_s_services_run_as_who_owns_the_state(tmp_path: Path) -> None:
    units = unit_files(Settings(home=tmp_path), "tidemark", system=True)
    owner = tmp_path.owner()
    assert [f"User={owner}\n" in text for text in units.values()] == [True, True, True, False]
    assert "WantedBy=multi-user.target" in units["tidemark.target"]


def test_what_the_sources_name_reaches_the_services_and_nothing_else_of_the_shell(tmp_path: Path) -> None:
    (tmp_path / "sources.yml").write_text("a: {kind: poll, url: 'https://x/?key=${MY_KEY}'}\n")
    settings = Settings(home=tmp_path, sources_file=tmp_path / "sources.yml")
    given = {"MY_KEY": "1", "MY_KEY_FILE": "/k", "PGPASSWORD": "no", "HTTPS_PROXY": "http://p:1", "LS_COLORS": "no"}
    assert environment(settings, given) == {
        "MY_KEY": "1", "MY_KEY_FILE": "/k", "HTTPS_PROXY": "http://p:1", "TIDEMARK_HOME": str(tmp_path),
    }  # fmt: skip
    assert read_environment(environment_text({"A": SECRET}), "kept") == {"A": SECRET}


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd listens for what its services say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(180)
        yield server


@pytest.mark.faults  # it starts a stack twice
def test_a_stack_that_stays_says_when_it_is_up_starts_what_died_and_ends_on_sigterm(
    stack: Stack, tmp_path: Path, listening: socket.socket
) -> None:
    mine = Stack(
        new_settings(
            tmp_path / "home",
            kafka_bootstrap=f"127.0.0.1:{stack.settings.kafka_port}",
            prefect_url=f"http://127.0.0.1:{stack.settings.prefect_port}/api",
        )
    )
    home = mine.settings.home
    command = [sys.executable, "-m", "tidemark.cli", "up", "--stay"]
    with (tmp_path / "said").open("w") as said:
        staying = subprocess.Popen(
            command, env=mine.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}, stdout=said, stderr=said
        )
    try:
        assert listening.recv(100) == b"READY=1"
        refused = mine.run("down")
        assert refused.returncode == 1
        assert f"process {staying.pid} (`tidemark up --stay`)" in refused.stderr
        killed = process.find(home, "guard")
        assert killed is not None
        killed.kill()
        guard = until(lambda: (found := process.find(home, "guard")) != killed and found, "another guard", 60)
        assert isinstance(guard, psutil.Process)
        until(lambda: "all servers run" in (tmp_path / "said").read_text(), "the word that all run")
        staying.send_signal(signal.SIGTERM)
        assert staying.wait(60) == 0, (tmp_path / "said").read_text()
        assert listening.recv(100) == b"STOPPING=1"
        assert [process.find(home, name) for name in ("postgres", "guard")] == [None, None]
        assert mine.run("down").stdout == "nothing ran\n"
    finally:
        staying.kill()
        staying.wait()
        local.down(mine.settings)
