"""What a client library only logs: counted, and named in the source's report, while its connector runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from stream_shim.buffer.health import Health
from tidemark.secrets import hide

MOST_CHARACTERS = 200


@contextmanager
def counted(health: Health, *loggers: str, raised: tuple[str, ...] = ()) -> Iterator[None]:
    """Count the warnings and errors of these loggers, and of those below them, until the block is left.

    `raised` are beginnings of what the library raises as well as logs: it is counted where it is caught.
    """
    handler = _Counting(health, raised)
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in loggers:
            logging.getLogger(name).removeHandler(handler)


class _Counting(logging.Handler):
    def __init__(self, health: Health, raised: tuple[str, ...]) -> None:
        super().__init__(logging.WARNING)
        self._health, self._raised = health, raised

    def emit(self, record: logging.LogRecord) -> None:
        text = hide(record.getMessage()).partition("\n")[0][:MOST_CHARACTERS]
        if not text.startswith(self._raised):
            reason = str(record.msg) if record.args else text  # without this time's values there are few
            self._health.client_error(reason.partition("\n")[0][:MOST_CHARACTERS], text)
