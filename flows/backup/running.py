"""What both commands do around their work: a signal ends it cleanly, a server that goes away is a sentence."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from psycopg import OperationalError

from tidemark.errors import StackError


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def as_interrupts() -> Iterator[None]:
    """SIGTERM is Ctrl-C: what was begun is taken away, and programs that were started end."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def reachable() -> Iterator[None]:
    """A database that does not answer any more is a sentence, not a traceback."""
    try:
        yield
    except OperationalError as error:
        raise StackError(
            f"expected the databases to answer, received {' '.join(str(error).split())}: see `tidemark status`, and "
            "run it again"
        ) from None
