"""What a Postgres server says that takes nothing now, or a file of ours, and what to do: no traceback.

A connection that is refused has no code of its own, only the server's words; an error of a statement has its SQLSTATE.
"""

import errno
import sys
from typing import TYPE_CHECKING

from tidemark.errors import StackError, TidemarkError

if TYPE_CHECKING:
    from psycopg import Error

_WAIT = "wait until it is done"
_FULL = "end sessions that nobody needs (select * from pg_stat_activity), or allow more with max_connections"
_DISK = "make room on the disk of its server"
_AWAY = "`tidemark up` starts the local one"
_READ_ONLY = (
    "is it a standby, or was default_transaction_read_only set (alter system reset default_transaction_read_only; "
    "select pg_reload_conf())?"
)
# By SQLSTATE, the longest beginning first.
_BY_STATE = {
    "25006": _READ_ONLY,
    "53100": _DISK,
    "53200": "its server has no memory left: end what takes it",
    "53300": _FULL,
    "53": "its server has no room left for that",
    "57014": "it was asked to stop, or took longer than statement_timeout: try again, or allow more time",
    "57P": _AWAY,
    "55P03": "another session holds it: try again, or see pg_stat_activity for who",
    "58": "see its server's log",
    "08": _AWAY,
}
# By the words with which a connection is refused.
_BY_WORDS = {
    "too many c": _FULL,
    "connection slots are reserved": _FULL,
    "starting up": _WAIT,
    "in recovery": _WAIT,
    "not yet accepting connections": _WAIT,
    "shutting down": "wait until it has ended, then `tidemark up`",
    "No space left": _DISK,
    "could not write": _DISK,
}

# By what the system says of a file. A file that is not there is a fault of who asked for it.
_BY_FILE = {
    errno.EISDIR: "a file belongs there: move the folder away",
    errno.ENOTDIR: "a folder belongs there: move the file away",
    errno.EEXIST: "another thing has its name: move that away",
    errno.EACCES: "give it to the user who runs this (chown), for reading and writing (chmod u+rw; a folder u+rwx)",
    errno.EPERM: "give it to the user who runs this (chown)",
    errno.EROFS: "its file system takes no writes: mount it so that it does",
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room on its disk",
}


def of_a_file(error: OSError) -> StackError | None:
    """The sentence about a file or folder that cannot be used as it lies there; None of any other fault."""
    todo = _BY_FILE.get(error.errno or 0)
    if todo is None or error.filename is None:
        return None
    return StackError(f"expected to use {error.filename}, received {error.strerror}: {todo}")


def sentence_of(error: BaseException, whom: str) -> TidemarkError:
    """What is said of a foreseen error; `whom` was asked, where it is a database's."""
    if isinstance(error, TidemarkError):
        return error
    if isinstance(error, OSError):
        return of_a_file(error) or StackError(str(error))
    return explained(error, whom)  # type: ignore[arg-type]


def what_to_do(said: str, state: str | None = None) -> str:
    """What helps where a server refuses with these words, or this SQLSTATE; empty where nothing is known."""
    if state:
        return next((todo for begins, todo in _BY_STATE.items() if state.startswith(begins)), "")
    return next((todo for words, todo in _BY_WORDS.items() if words in said), "")


def is_temporary(error: "Error") -> bool:
    """Whether the server takes nothing now, and the same may succeed later: no fault of what was asked."""
    from psycopg import OperationalError

    return isinstance(error, OperationalError) or bool(what_to_do("", error.sqlstate))


def is_foreseen(error: BaseException | None) -> bool:
    """Whether a sentence says it all, and no traceback adds to it: our own, a file's, what a database refuses now."""
    if isinstance(error, TidemarkError) or (isinstance(error, OSError) and of_a_file(error)):
        return True
    psycopg = sys.modules.get("psycopg")  # not imported: then it is none of its errors
    return psycopg is not None and isinstance(error, psycopg.Error) and is_temporary(error)


def with_what_to_do(error: "Error") -> str:
    """What the server said, on one line, and what helps where that is known."""
    said = " ".join(str(error).split()) or type(error).__name__
    todo = what_to_do(said, error.sqlstate)
    return f"{said}: {todo}" if todo else said


def explained(error: "Error", whom: str) -> StackError:
    """The sentence about an error of a database, with what to do; it may be tried again where it is temporary."""
    said = with_what_to_do(error)
    if is_temporary(error) and not what_to_do(str(error), error.sqlstate):
        said = f"{said}: {_AWAY}"
    sentence = StackError(f"expected {whom} to do what it was asked, received {said}")
    sentence.retriable = is_temporary(error)
    return sentence
