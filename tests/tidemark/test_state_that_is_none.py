"""Files of the state folder that are folders, garbage, or another user's: a sentence with the file and what to do."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_shim.claims import claim_lane, signed_by
from stream_shim.reports import find_reports
from tests.conftest import Stack, new_settings
from tidemark.access import key_file
from tidemark.credentials import credential, ensure_credentials
from tidemark.dbt import results
from tidemark.home_kind import home_kind
from tidemark.refusals import is_foreseen, sentence_of
from tidemark.service.install import install
from tidemark.settings import Settings
from tidemark.stack import checks, guard, process

READERS: dict[str, Callable[[Settings], Any]] = {
    "run/postgres.json": lambda settings: process.find(settings.home, "postgres"),
    "run/guard.beat": guard.read_beat,
    "run/lock": lambda settings: process.exclusive(settings.home).__enter__(),
    "run/stay.lock": lambda settings: process.keeper(settings.home),
    "run/stream.lock": lambda settings: (signed_by(settings, "stream"), claim_lane(settings).close()),
    "run/connector-venue.json": lambda settings: list(find_reports(settings, "connector")),
    "credentials/api_keys.json": key_file.read,
    "credentials/promoter": lambda settings: credential(settings, "promoter"),
    "passwords.json": ensure_credentials,
    "restoring": lambda settings: checks.require_restored(settings.home),
    "mark": home_kind,
    "dbt/by_hand/warehouse/run_results.json": results.keep_by_hand,
    "dbt/warehouse/manifest.json": results.tested_tables,
    "service.env": lambda settings: install(settings, "tidemark", system=False),
}
GARBAGE = [b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"pid": "1", "started_at": {}, "ports": 3}', b'{"pid": 1e99}']


def said_by(read: Callable[[Settings], Any], settings: Settings) -> str:
    """The sentence of a reader that refuses; empty where it takes the file for none."""
    try:
        read(settings)
    except Exception as error:
        if not is_foreseen(error):
            raise
        return str(sentence_of(error, "the database"))
    return ""


def put(home: Path, name: str, content: bytes | None) -> Path:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", READERS)
def test_a_state_file_that_is_a_folder_or_garbage_is_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for number, content in enumerate([None, *GARBAGE]):
        settings = Settings(home=tmp_path / str(number))
        path = put(settings.home, name, content)
        said = said_by(READERS[name], settings)
        if content is None and "connector" not in name:  # a report that is none is left out
            assert str(path) in said
            assert "away" in said
        assert not said or str(path) in said or str(settings.home) in said


# Gives up root, where the test has it, once all is imported; then nobody but their owner may use the files.
STRANGER = """
import os, sys
from pathlib import Path
from tests.tidemark.test_state_that_is_none import READERS, said_by
from tidemark.settings import Settings
settings = Settings(home=Path(sys.argv[1]))
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(61234); os.setuid(61234)
for name in sys.argv[2:]:
    print(said_by(READERS[name], settings))
"""


def test_a_state_file_that_this_user_may_not_read_is_a_sentence(tmp_path: Path) -> None:
    names = [name for name in READERS if not name.startswith(("run/connector", "service"))]
    home = tmp_path / "home"
    for name in names:
        put(home, name, b"").chmod(0)
    for folder in (home, home / "run", home / "credentials"):
        folder.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(home), *names], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, said in zip(names, done.stdout.splitlines(), strict=True):
        assert str(home / name) in said
        assert "chown" in said or "chmod" in said


@pytest.mark.parametrize("command", ["status", "down", "doctor"])
def test_a_command_prints_the_sentence_and_no_traceback(command: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    put(home, "run/postgres.json", None)
    done = Stack(new_settings(home)).run(command)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert f"{home / 'run' / 'postgres.json'}, received Is a directory: a file belongs there: move the folder away" in (
        " ".join((done.stderr + done.stdout).split())
    )
