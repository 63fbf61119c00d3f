"""The log of one process: its file in the state folder, and warnings on the terminal."""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from tidemark.output import VisibleFormatter
from tidemark.secrets import hide
from tidemark.settings import Settings

OLD_FILES = 3


class _WithoutCredentials(VisibleFormatter):
    """Leaves credentials out of whatever is logged, tracebacks and other libraries' lines too."""

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


class LogFile(RotatingFileHandler):
    """A file that rotates. While it cannot be written, that is said on the terminal, once, and lines may be lost."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path, maxBytes=most, backupCount=OLD_FILES, delay=True)
        self._failed = 0  # lines, in a row
        self._is_failing = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self._is_failing = False
        super().emit(record)
        if self._failed and not self._is_failing:
            print(f"{self.baseFilename} is written again; {self._failed} lines could not be before", file=sys.stderr)
            self._failed = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's own name)
        """A disk that takes no more stops nobody; anything else is a fault of the caller's, and shown by logging."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._is_failing = True
        self._failed += 1
        if self._failed == 1:
            print(f"expected to write {self.baseFilename}, received {error.strerror}: make room", file=sys.stderr)


def start_log(settings: Settings, name: str) -> None:
    """Everything to logs/NAME.log, which rotates at `log_bytes` and keeps three old ones; warnings to the terminal."""
    path = settings.home / "logs" / f"{name}.log"
    to_file, to_terminal = LogFile(path, settings.log_bytes), logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.WARNING)
    for handler in (to_file, to_terminal):
        handler.setFormatter(_WithoutCredentials("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        logging.getLogger("tidemark.stream").warning("expected a log in %s, received %s", path, error.strerror)
