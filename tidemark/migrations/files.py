"""The migration files: `<room>/migrations/<database>/NNNN_what_it_does.sql`, found by the rooms' entry points.

The comment lines at a file's head may say `-- no transaction: <reason>` or `-- lane stopped: <reason>`.
`baseline.sql` beside them says what a database has that was made before there was a table of what was applied;
`each_up.sql` is run by every `up`, after what is new.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from tidemark.connections import Database
from tidemark.errors import StackError

GROUP = "tidemark.migrations"
BASELINE, EACH_UP = "baseline.sql", "each_up.sql"
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_DIRECTIVE = re.compile(r"-- (no transaction|lane stopped): (\S.*)")


@dataclass(frozen=True)
class Migration:
    """One file. `no_transaction` and `lane_stopped` are the reasons that its head gives, or None."""

    room: str
    number: int
    name: str  # the file's, without its ending
    sql: str
    sha256: str  # of the file's bytes
    no_transaction: str | None = None
    lane_stopped: str | None = None

    @property
    def title(self) -> str:
        """How people name it: room and file."""
        return f"{self.room}/{self.name}"


def folders() -> dict[str, Path]:
    """Room to its folder `migrations`, in the rooms' order by name; no room's code is run."""
    found = {point.name: find_spec(point.value) for point in entry_points(group=GROUP)}
    places = {room: spec.submodule_search_locations for room, spec in sorted(found.items()) if spec is not None}
    return {room: Path(next(iter(place))) / "migrations" for room, place in places.items() if place}


def read(database: Database, rooms: Mapping[str, Path]) -> list[Migration]:
    """Every migration of one database: room by room, by number. StackError where a file or a number is not as said."""
    found: list[Migration] = []
    for room, folder in rooms.items():
        numbers: dict[int, str] = {}
        for path in sorted((folder / database).glob("*.sql")):
            if path.name in (BASELINE, EACH_UP):
                continue
            migration = _read_file(room, path)
            other = numbers.setdefault(migration.number, migration.name)
            if other != migration.name:
                raise StackError(f"expected one migration a number in {path.parent}, found {other}, {migration.name}")
            found.append(migration)
    return found


def baselines(database: Database, rooms: Mapping[str, Path]) -> dict[str, str]:
    """Room to the query of its baseline, where it has one: a row of the number and of what says so."""
    return _texts(database, rooms, BASELINE)


def each_up(database: Database, rooms: Mapping[str, Path]) -> dict[str, str]:
    """Room to what every `up` does after the migrations, where there is anything."""
    return _texts(database, rooms, EACH_UP)


def _texts(database: Database, rooms: Mapping[str, Path], name: str) -> dict[str, str]:
    paths = {room: folder / database / name for room, folder in rooms.items()}
    return {room: path.read_text() for room, path in paths.items() if path.exists()}


def _read_file(room: str, path: Path) -> Migration:
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise StackError(f"expected migrations named NNNN_what_it_does.sql, found {path}: rename it")
    content = path.read_bytes()
    sql = content.decode()
    said: dict[str, str] = {}
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        if directive := _DIRECTIVE.fullmatch(line):
            said[directive[1]] = directive[2]
    digest = hashlib.sha256(content).hexdigest()
    reasons = said.get("no transaction"), said.get("lane stopped")
    return Migration(room, int(named[1]), path.stem, sql, digest, *reasons)
