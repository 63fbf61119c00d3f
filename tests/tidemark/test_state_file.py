"""Files of state: what cannot be written is said once and gets over, what cannot be read is no reason to end."""

import logging
from pathlib import Path

import pytest

from tidemark.settings import Settings
from tidemark.stack import process
from tidemark.stack.guard import beat_path, read_beat
from tidemark.state_file import StateFile, read_whole

CUT_OFF = [b"", b"{", b'{"pid": 1, "st', b"[]", b"null", b'"text"', b"\xff\xfe", b"\x00\x00\x00"]


def test_what_cannot_be_written_is_said_once_and_once_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    file = StateFile(folder / "guard.beat", logging.getLogger("tidemark.test"))
    assert file.write({"pid": 1})
    folder.rename(tmp_path / "away")
    folder.touch()  # nobody can write there, root neither
    assert [file.write({"pid": 2}) for _ in range(3)] == [False] * 3
    assert len(caplog.messages) == 1
    assert f"expected to write {file.path}, received" in caplog.messages[0]
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert read_whole(file.path) == {"pid": 1}
    assert file.write({"pid": 3})
    assert read_whole(file.path) == {"pid": 3}
    assert caplog.messages[1:] == [f"{file.path} is written again; 3 writes failed before"]
    assert [path.name for path in folder.iterdir()] == ["guard.beat"]  # no half of a file


@pytest.mark.parametrize("content", CUT_OFF)
def test_a_record_or_a_beat_that_is_cut_off_is_none(content: bytes, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    (tmp_path / "run").mkdir()
    process.record_path(tmp_path, "guard").write_bytes(content)
    beat_path(tmp_path).write_bytes(content)
    assert process.read_record(tmp_path, "guard") is None
    assert process.find(tmp_path, "guard") is None
    assert read_beat(settings) == {}
