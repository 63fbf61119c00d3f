"""Small JSON files of the state folder, which a process writes again and again and others read.

A full disk, or a file that was cut off, is a condition that is said and gets over: it ends neither who writes nor who
reads. What is read has the types that its reader needs, or is refused.
"""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tidemark.errors import StackError
from tidemark.refusals import of_a_file

Time = Annotated[float, msgspec.Meta(ge=0, lt=1e11)]  # seconds since 1970
Pid = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]


class Unreadable(StackError):
    """A state file cannot be read: another thing has its name, or this user may not."""


class NotWhole(Unreadable):
    """A state file that says nothing: empty, cut off, or of other types than its reader needs."""


def write_whole(path: Path, value: object, mode: int = 0o666) -> None:
    """Write it whole under its name, or not at all; OSError where it cannot be written, and no half of it stays.

    `mode` is less what the process's umask takes.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(json.dumps(value))
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def read_whole(path: Path, shape: Any = dict[str, Any]) -> dict[str, Any] | None:
    """The object in a file, None where there is no such file; Unreadable where it is none of `shape`, a TypedDict.

    What the shape does not name is given as it is.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(str(of_a_file(error) or error)) from None
    try:
        found: dict[str, Any] = json.loads(text)
        msgspec.convert(found, shape)
    except (ValueError, RecursionError) as error:
        raise NotWhole(
            f"expected a whole state file in {path}, received one of {len(text)} bytes that says: {error}; "
            "remove it, its process writes it anew"
        ) from None
    return found


def read_text(path: Path) -> str | None:
    """The text of a small file, None where there is none; Unreadable where it is no file of ours, or no text."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(str(of_a_file(error) or error)) from None
    except UnicodeDecodeError:
        raise NotWhole(f"expected text in {path}, received other bytes: move it away, or put it back") from None


class StateFile:
    """One file that its process keeps writing. What is not written is said once, and once when it is over."""

    def __init__(self, path: Path, log: logging.Logger) -> None:
        self.path, self.failures = path, 0  # in a row
        self.error = ""  # why the last write failed; empty where it did not
        self._log = log

    def write(self, value: object) -> bool:
        """Whether it was written. Where it was not, the file that is there is touched: its writer lives."""
        try:
            write_whole(self.path, value)
        except OSError as error:
            self._fail(str(error.strerror or error))
            return False
        if self.failures:
            self._log.warning("%s is written again; %s writes failed before", self.path, self.failures)
        self.failures, self.error = 0, ""
        return True

    def _fail(self, why: str) -> None:
        if self.error != why:
            self._log.error(
                "expected to write %s, received %s: make room there, or let it be written; it goes on, and is tried "
                "again each time", self.path, why,
            )  # fmt: skip
        self.failures, self.error = self.failures + 1, why
        with suppress(OSError):
            os.utime(self.path)
