"""Small JSON files of the state folder, which a process writes again and again and others read.

A full disk, or a file that was cut off, is a condition that is said and gets over: it ends neither who writes nor who
reads.
"""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_whole(path: Path, value: object) -> None:
    """Write it whole under its name, or not at all; OSError where it cannot be written, and no half of it stays."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(value))
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def read_whole(path: Path) -> dict[str, Any] | None:
    """The object in a file, None where there is no such file; ValueError where it is empty, cut off or no object."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise ValueError(f"expected an object, received {type(found).__name__}")
    return found


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
