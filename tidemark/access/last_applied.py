"""Which access file a state folder's databases have, so that another one takes nobody's login by mistake."""

from pathlib import Path
from typing import TypedDict

from tidemark.access.access_file import Access
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings
from tidemark.state_file import read_whole, write_whole


class _Applied(TypedDict):
    path: str
    members: list[str]


def refuse_another(settings: Settings, access: Access) -> None:
    """ConfigurationError where another file was applied last, and people or services of it are not in this one.

    A shell that lacks the variable would else take their logins and keys, which no other call brings back.
    """
    applied = read_whole(_file(settings), _Applied)
    if applied is None or applied["path"] == _path(access):
        return
    if gone := sorted(set(applied["members"]) - access.members.keys()):
        raise ConfigurationError(
            f"expected the access file {applied['path']}, which was applied last, received {access.path}, by which "
            f"{', '.join(gone)} would lose login and keys: set TIDEMARK_ACCESS_FILE, or say that they are to go by "
            "`tidemark access apply --another-file`"
        )


def note(settings: Settings, access: Access) -> None:
    """That the databases are now as this file says."""
    write_whole(_file(settings), _Applied(path=_path(access), members=sorted(access.members)))


def _file(settings: Settings) -> Path:
    return settings.home / "run" / "access_applied.json"


def _path(access: Access) -> str:
    return str(access.path.resolve())
