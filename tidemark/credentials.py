"""Generated passwords: a file for each role, which only the processes of that role read.

`credentials/ROLE` in the state folder holds the role's password and nothing else, readable by the folder's owner alone.
`credentials/prefect` is that of the local Prefect server, which has one user: who calls it may run code as its owner.
"""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from tidemark.errors import StackError
from tidemark.settings import Settings
from tidemark.state_file import NotWhole, read_whole


class BadCredential(StackError):
    """A password's file cannot be read as one; `mend` is what to do."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(f"{message}: {mend}")
        self.mend = mend


OWNER = "owner"
ADMINISTRATOR = "administrator"  # of the local servers; on a server named by a variable, its URL says who
LOCAL_ADMINISTRATOR = "tidemark"  # the name of the local Postgres's superuser, and of the local Prefect's one user
PREFECT = "prefect"
# One role per part, each with its own schemas; the rooms' migrations say what each may do.
PARTS = ("stream_writer", "ingest_writer", "promoter", "transformer", "catalog_reader", "guard")
PEOPLE = ("bi_reader",)  # a service that is always there: its password is here, as people are given it
API_READER = "api_reader"  # of the API, which reads as the person who calls: no part, and limited as people are
ROLES = (*PARTS, *PEOPLE, API_READER)

# The users of the local Kafka; a part has one name and one password on both servers.
KAFKA_ADMINISTRATOR = "kafka_administrator"  # only `up` reads it
KAFKA_NODE = "kafka_node"  # the broker and its controller, to each other
# tidemark/access/kafka_rights.py says what each may do.
KAFKA_ROLES = ("connector", "stream_writer", "stream_manager", "promoter", "catalog_reader")
ALL = tuple(dict.fromkeys((ADMINISTRATOR, *ROLES, PREFECT, KAFKA_ADMINISTRATOR, KAFKA_NODE, *KAFKA_ROLES)))

FOLDER = "credentials"
FORMER = "passwords.json"  # where version 0.1.0 kept all of them


def credential(settings: Settings, name: str) -> str:
    """The password of one role; StackError where `tidemark up` has not made it, or its file is none."""
    path = settings.home / FOLDER / name
    try:
        return path.read_text().removesuffix("\n")  # as an editor, or echo, leaves it
    except FileNotFoundError:
        raise StackError(
            f"expected the password of {name} in {settings.home / FOLDER}, found none: run `tidemark up` first, "
            "or set TIDEMARK_HOME to the state folder of the stack that you mean"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        received = "bytes that are no text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise BadCredential(f"expected the password of {name} in {path}, received {received}", mend_of(path)) from None


def mend_of(path: Path) -> str:
    """What to do about a password's file that cannot be read; `up` makes what is missing, but not what opens all."""
    if path.is_file() and not os.access(path, os.R_OK):
        return f"chmod 600 {path}, as its owner"
    if path.name == ADMINISTRATOR:
        return f"put back {path}, the file that the cluster was made with, from a backup"
    return f"mv {path} {path}.away && tidemark up"


def ensure_credentials(settings: Settings, names: Sequence[str] = ALL) -> None:
    """Make the passwords that are missing; those of an older version's single file keep what they were."""
    folder, former = settings.home / FOLDER, settings.home / FORMER
    known = _former(former)
    known[ADMINISTRATOR] = known.pop(LOCAL_ADMINISTRATOR, "")
    there = known[ADMINISTRATOR] or (folder / ADMINISTRATOR).exists()
    if not there and (settings.home / "postgres" / "data").exists():
        raise StackError(
            f"expected {folder / ADMINISTRATOR} beside the cluster that it opens, it is missing: restore it from a "
            f"backup, or move {settings.home / 'postgres'} away and run `tidemark up` again for an empty cluster"
        )
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in names:
        if not (folder / name).exists():
            _write(folder / name, known.get(name) or secrets.token_urlsafe(24))
    former.unlink(missing_ok=True)


def write_credential(settings: Settings, name: str, value: str) -> None:
    """Another password of a role, in its file; whoever sets it on the servers does that next."""
    _write(settings.home / FOLDER / name, value)


def _former(path: Path) -> dict[str, str]:
    """What an older version's single file holds; nothing where there is none."""
    try:
        return dict(read_whole(path, dict[str, str]) or {})
    except NotWhole:
        raise StackError(
            f"expected the passwords of an older version in {path}, received none: put it back from a backup, or "
            "remove it where the passwords are files of credentials already"
        ) from None


def _write(path: Path, value: str) -> None:
    """Whole or not at all, and never readable by others."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
