"""Incidents and maintenance as people say them at the command line: kept, listed, and refused in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidemark.settings import Settings
from watch.history import History, connect
from watch.page import view

PLAN = ("maintenance", "plan")


@pytest.fixture
def run(settings: Settings) -> Any:
    """`tidemark` on that state folder."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("tidemark"), *arguments], capture_output=True, text=True, check=False,
            env={**os.environ, "TIDEMARK_HOME": str(settings.home)},
        )  # fmt: skip

    return command


def test_an_incident_is_begun_told_on_and_resolved_without_any_server(run: Any, settings: Settings) -> None:
    assert run("incident", "say", "We look.", "--open", "A venue is silent").returncode == 0
    assert run("incident", "say", "It is back.", "--resolve").returncode == 0
    (row,) = json.loads(run("incident", "--json").stdout)
    assert (row["state"], row["title"]) == ("resolved", "A venue is silent")
    assert [each["text"] for each in row["updates"]] == ["We look.", "It is back."]
    assert [each.title for each in view.read(settings).incidents] == ["A venue is silent"]


def test_maintenance_is_planned_listed_and_cancelled_beside_a_watcher_that_writes(run: Any, settings: Settings) -> None:
    history = History(connect(settings), 30.0)
    planned = run("maintenance", "plan", "2099-08-08T18:00", "2099-08-08T21:00+02:00", "More memory", "--json")
    row = json.loads(planned.stdout)
    assert (row["begins_at"], row["ends_at"]) == ("2099-08-08T18:00:00Z", "2099-08-08T19:00:00Z")
    history.note([], 1.0)
    assert json.loads(run("maintenance", "--json").stdout) == [row]
    assert run("maintenance", "cancel", str(row["maintenance"])).returncode == 0
    assert json.loads(run("maintenance", "--json").stdout) == []
    history.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*PLAN, "tomorrow", "2099-01-01", "x"), "expected a time such as 2026-08-08T18:00Z, received 'tomorrow'"),
        ((*PLAN, "2099-01-02", "2099-01-01", "x"), "expected the end after the start, received 2099-01-02"),
        ((*PLAN, "2019-01-01", "2019-01-02", "x"), "expected an end that is to come, received 2019-01-02"),
        ((*PLAN, "2099-01-01", "2099-01-02", " "), "expected a text of 1 to 2000 characters, received 0"),
        (("maintenance", "cancel", "7"), "expected the number of a maintenance window, received 7"),
        (("incident", "say", "x"), "expected one incident that goes on, found none"),
        (("incident", "say", "x", "--incident", "7"), "expected the number of an incident, received 7"),
        (("incident", "say", "x", "--incident", "7", "--open", "y"), "expected --incident or --open, received both"),
        (("incident", "say", "x" * 2001, "--open", "y"), "received 2001"),
        (("incident", "say", "\udcff", "--open", "y"), "expected a text in UTF-8, received other bytes"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_in_one_sentence(run: Any, arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
