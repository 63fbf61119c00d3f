"""The messages of a source that were no records: each whole, with its reason, in rejects/NAME.jsonl.

The newest `FILES` + 1 files of `FILE_BYTES` are kept, a message that is larger than that too. What goes is counted.
"""

import json
import logging
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from tidemark.secrets import hide
from tidemark.settings import Settings

log = logging.getLogger("tidemark.connector")

FILE_BYTES, FILES = 10 * 1024 * 1024, 3


class Rejects(RotatingFileHandler):
    """Keeps messages; `dropped` counts those that are kept no more."""

    def __init__(self, settings: Settings, source: str) -> None:
        path = rejects_path(settings, source)
        with suppress(OSError):  # then nothing is kept, which is said
            path.parent.mkdir(parents=True, exist_ok=True)
        self.source, self.dropped, self._said = source, 0, ""
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES, delay=True, encoding="utf-8")

    def keep(self, reason: str, raw: Any) -> None:
        """Write one down, without the values of credentials."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"rejected_at": at, "reason": hide(reason), "raw": _hidden(raw)})
        self.handle(logging.LogRecord(self.source, logging.INFO, "", 0, line, None, None))

    def doRollover(self) -> None:  # noqa: N802 (logging's own name)
        """The oldest file goes."""
        with suppress(FileNotFoundError), Path(f"{self.baseFilename}.{FILES}").open("rb") as oldest:
            gone = sum(1 for _ in oldest)
            self.dropped += gone
            log.warning("%s: its %s oldest rejects are kept no more, they were the oldest file", self.source, gone)
        super().doRollover()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's own name)
        """A disk that takes no more must not stop the source: its rejects are counted all the same."""
        self.dropped += 1
        why = str(sys.exc_info()[1])
        if why != self._said:
            self._said = why
            log.error("%s: expected to keep rejects, received %s: they are counted, and not kept", self.source, why)


def rejects_path(settings: Settings, source: str) -> Path:
    """The newest of a source's files."""
    return settings.home / "rejects" / f"{source}.jsonl"


def read_rejects(settings: Settings, source: str, most: int) -> list[dict[str, Any]]:
    """The newest `most` rejects of a source, the oldest first: rejected_at, reason, raw."""
    path = rejects_path(settings, source)
    files = [path.with_name(f"{path.name}.{number}") for number in range(FILES, 0, -1)]
    return [_read(line) for line in deque(_lines([*files, path]), maxlen=most)]


def _lines(files: list[Path]) -> Iterator[str]:
    for path in files:
        with suppress(FileNotFoundError), path.open(encoding="utf-8") as lines:
            yield from lines


def _read(line: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = {"rejected_at": None, **json.loads(line)}  # older files have no time
    except ValueError:  # a process that was killed while it wrote
        found = {"rejected_at": None, "reason": "this line of the file is cut short", "raw": line.rstrip("\n")}
    return found


def _hidden(raw: Any) -> Any:
    """The message as JSON has it, without credentials; what JSON does not have is text."""
    if isinstance(raw, dict):
        return {hide(str(key)): _hidden(value) for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [_hidden(value) for value in raw]
    if isinstance(raw, bytes):
        return hide(raw.decode(errors="backslashreplace"))
    return raw if raw is None or isinstance(raw, bool | int | float) else hide(str(raw))
