"""Generated passwords: a file for each role, which only the processes of that role read.

`credentials/ROLE` in the state folder holds the role's password and nothing else, readable by the folder's owner alone.
`credentials/prefect` is that of the local Prefect server, which has one user: who calls it may run code as its owner.
"""

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from tidemark.errors import StackError
from tidemark.settings import Settings

OWNER = "owner"
ADMINISTRATOR = "administrator"  # of the local servers; on a server named by a variable, its URL says who
LOCAL_ADMINISTRATOR = "tidemark"  # the name of the local Postgres's superuser, and of the local Prefect's one user
PREFECT = "prefect"
# One role per part, each with its own schemas; the rooms' migrations say what each may do.
PARTS = ("stream_writer", "ingest_writer", "promoter", "transformer", "catalog_reader", "guard")
PEOPLE = ("bi_reader",)  # whose passwords are given to people, and who are limited
ROLES = (*PARTS, *PEOPLE)

# The users of the local Kafka; a part has one name and one password on both servers.
KAFKA_ADMINISTRATOR = "kafka_administrator"  # only `up` reads it
KAFKA_NODE = "kafka_node"  # the broker and its controller, to each other
# tidemark/access/kafka_rights.py says what each may do.
KAFKA_ROLES = ("connector", "stream_writer", "stream_manager", "promoter", "catalog_reader")
ALL = tuple(dict.fromkeys((ADMINISTRATOR, *ROLES, PREFECT, KAFKA_ADMINISTRATOR, KAFKA_NODE, *KAFKA_ROLES)))

FOLDER = "credentials"
FORMER = "passwords.json"  # where version 0.1.0 kept all of them


def credential(settings: Settings, name: str) -> str:
    """The password of one role; StackError where `tidemark up` has not made it."""
    try:
        return (settings.home / FOLDER / name).read_text().removesuffix("\n")  # as an editor, or echo, leaves it
    except FileNotFoundError:
        raise StackError(
            f"expected the password of {name} in {settings.home / FOLDER}, found none: run `tidemark up` first, "
            "or set TIDEMARK_HOME to the state folder of the stack that you mean"
        ) from None


def ensure_credentials(settings: Settings, names: Sequence[str] = ALL) -> None:
    """Make the passwords that are missing; those of an older version's single file keep what they were."""
    folder, former = settings.home / FOLDER, settings.home / FORMER
    known: dict[str, str] = json.loads(former.read_text()) if former.exists() else {}
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


def _write(path: Path, value: str) -> None:
    """Whole or not at all, and never readable by others."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
