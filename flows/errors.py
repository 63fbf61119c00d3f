"""Why a day stays where it is. A day that stays is whole, and the next run takes it up again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tidemark.errors import StackError, TidemarkError


class NotClosed(TidemarkError):
    """The consumer has not passed all that the day's topic holds, so rows of the day may still come."""


class Unbalanced(TidemarkError):
    """The conservation law does not hold for the topic: records are missing or doubled."""


class Disagreement(TidemarkError):
    """The copies of a day differ between two places."""


class AlreadyRunning(TidemarkError):
    """Another promotion holds the lock."""


class NotPromoted(TidemarkError):
    """At least one due day stayed. `rows`: what became of every topic and due day."""

    def __init__(self, message: str, rows: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.rows = rows


class CheckFailed(TidemarkError):
    """A contract found broken rows."""


class NotLetGo(TidemarkError):
    """Tables whose old rows are there still; the next run takes them up."""

    def __init__(self, failures: Sequence[TidemarkError]) -> None:
        super().__init__("; ".join(dict.fromkeys(map(str, failures))))
        self.retriable = all(failure.retriable for failure in failures)


@contextmanager
def reachable_databases(
    advice: str = "run `tidemark up`, or set TIDEMARK_REALTIME_URL and TIDEMARK_WAREHOUSE_URL",
) -> Iterator[None]:
    """A database that does not answer, or not any more, is a sentence, not a traceback."""
    from psycopg import Error

    from tidemark.refusals import is_temporary, what_to_do

    try:
        yield
    except Error as error:
        if not is_temporary(error):
            raise
        said = " ".join(str(error).split())
        todo = what_to_do(said, error.sqlstate) or advice
        raise StackError(f"expected the databases to answer, received {said}: {todo}") from None
