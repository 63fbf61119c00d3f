"""`tidemark doctor`: what it says where nothing runs, where a look fails or hangs, and on a narrow terminal."""

import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Stack, new_settings
from tests.stream_shim.conftest import Lane
from tidemark.settings import Settings
from tidemark.stack import process
from watch.observation import WELL, Look, Observation
from watch.observations import LOOKS, observe

EVERYTHING = {
    "state folder", "disk", "server", "database", "topic", "destination", "lane", "account", "flow", "flows",
    "contracts", "models",
}  # fmt: skip


def test_with_no_state_folder_and_no_server_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    nowhere = Stack(new_settings(tmp_path / "nowhere"))
    said = nowhere.run("doctor", "--json")
    assert said.returncode == 1, said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    found = json.loads(said.stdout)
    assert found[0]["state"] == "failing"
    assert found[0]["mend"] == "tidemark up"
    assert not (tmp_path / "nowhere").exists()  # a look writes nothing
    assert {one["state"] for one in found if one["kind"] in ("database", "topic")} <= {"failing", "unknown"}


def test_where_nothing_is_wrong_it_names_what_it_looked_at(lane: Lane, known: set[str]) -> None:
    found = observe(lane.settings)
    assert {one.title for one in found if one.state not in WELL} == known
    assert {one.kind for one in found} >= EVERYTHING
    assert all(one.sentence for one in found)
    assert not [one for one in found if one.state == "ok" and one.mend]
    json.dumps([one.row() for one in found])


def test_of_a_stack_that_was_ended_on_purpose_it_says_that_alone(tmp_path: Path) -> None:
    mine = Stack(new_settings(tmp_path))
    (tmp_path / "logs").mkdir()
    for name in ("postgres", "kafka"):
        (tmp_path / "logs" / f"{name}.log").touch()
    mine.run("down")
    process.note_down(tmp_path)
    [down] = [one for one in observe(mine.settings) if one.state not in WELL]
    assert (down.title, down.mend) == ("the stack is down", "tidemark up")
    assert down.since is not None
    assert abs(down.since.timestamp() - time.time()) < 60
    process.forget_down(tmp_path)  # they ended otherwise: nobody knows when
    found = [one for one in observe(mine.settings) if one.name == "server does not run"]
    assert {one.identity: one.since for one in found} == dict.fromkeys(("postgres", "kafka", "prefect", "serve"))


@pytest.mark.parametrize("name", ["bi_reader", "promoter"])
def test_a_folder_in_place_of_a_password_is_moved_away_and_not_answered_by_up_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "credentials" / name
    path.mkdir(parents=True)
    found = {one.name: one for one in observe(Settings(home=tmp_path), LOOKS[:1])}
    assert found["password is no file"].mend == f"mv {path} {path}.away && tidemark up"


def fails(settings: Settings) -> Iterator[Observation]:
    yield Observation("before", "kind", "one", "ok", "it was well")
    raise OSError(13, "no entry")


def hangs(settings: Settings) -> Iterator[Observation]:
    threading.Event().wait(30)
    yield Observation("hangs", "kind", "two", "ok", "too late")


def answers(settings: Settings) -> Iterator[Observation]:
    yield Observation("well", "kind", "three", "ok", "it is well")
    yield Observation("ill", "kind", "three", "failing", "it is not")


def test_a_look_that_fails_or_hangs_is_unknown_and_hides_no_other() -> None:
    looks = [Look(name, "kind", name, ask) for name, ask in (("f", fails), ("h", hangs), ("a", answers))]
    began = time.monotonic()
    found = observe(Settings(), looks, seconds=2)
    assert time.monotonic() - began < 25  # whatever hangs
    assert [(one.state, one.name) for one in found] == [
        ("failing", "ill"), ("unknown", "f"), ("unknown", "h"), ("ok", "before"), ("ok", "well"),
    ]  # fmt: skip
    assert "no entry" in found[1].sentence
    assert "none within" in found[2].sentence


@pytest.mark.parametrize("no_color", ["1", None])
def test_at_80_columns_every_line_fits_and_no_identity_is_cut(no_color: str | None, tmp_path: Path) -> None:
    home = tmp_path / "a-state-folder-with-a-name-that-is-rather-long-and-must-not-be-cut-anywhere" / "home"
    stack = Stack(new_settings(home))
    master, slave = pty.openpty()
    environ = {**stack.environ, "COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
    if no_color is None:
        del environ["NO_COLOR"]
    command = [sys.executable, "-m", "tidemark.cli", "doctor"]
    with subprocess.Popen(command, env=environ, stdout=slave, stderr=slave, stdin=subprocess.DEVNULL) as process:
        os.close(slave)
        text = b""
        try:
            while chunk := os.read(master, 65536):
                text += chunk
        except OSError:  # the other end is closed
            os.close(master)
    assert process.returncode == 1
    assert bool(re.search(rb"\x1b\[[0-9;]*3[1-7]m", text)) == (no_color is None)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).replace("\r", "")
    assert str(home) in plain
    assert [line for line in plain.splitlines() if len(line) > 80 and str(home) not in line] == []
