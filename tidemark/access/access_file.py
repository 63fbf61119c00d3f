"""The access file: teams and what they read, people and services, and what their sessions may take."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from tidemark.access.durations import seconds_of
from tidemark.connections import Database
from tidemark.credentials import ALL, API_READER, LOCAL_ADMINISTRATOR, OWNER, PEOPLE
from tidemark.errors import ConfigurationError
from tidemark.typed_yaml import WrongValue, read_one

DEFAULTS = Path(__file__).with_name("access.yml")
Schema = Literal["live", "marts", "ops", "quality"]
# Where each schema is that a team may read.
SCHEMAS: Mapping[str, Database] = {"live": "realtime", "marts": "warehouse", "ops": "warehouse", "quality": "warehouse"}

MARKER = "tidemark_access"  # every role that comes from the file is a member of it, and no other
MOST_NAME_BYTES = 63  # Postgres cuts what is longer off
SHORTEST_LIMIT_SECONDS, LONGEST_LIMIT_SECONDS = 0.001, 24 * 86_400
_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_RESERVED = {*ALL, OWNER, LOCAL_ADMINISTRATOR, MARKER, "public", "none", "postgres"} - {*PEOPLE}
_DURATIONS = {
    "statement": "statement_seconds",
    "idle": "idle_in_transaction_seconds",
    "transaction": "transaction_seconds",
}

Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Duration = str | int | float


@dataclass(frozen=True)
class Limits:
    """What one role of people may take: seconds, megabytes, and counts of sessions (all) and locks (each)."""

    connections: int
    statement_seconds: float
    idle_in_transaction_seconds: float
    transaction_seconds: float
    locks: int
    temporary_files_mb: int
    memory_mb: int  # of one session beside what all share; seen on the local server only

    def settings(self) -> dict[str, str]:
        """What a session of the role begins with; it may lift these, and is then ended by the guard instead."""
        return {
            "idle_in_transaction_session_timeout": f"{self.idle_in_transaction_seconds:g}s",
            "lock_timeout": "10s",
            "statement_timeout": f"{self.statement_seconds:g}s",
        }

    def held(self) -> dict[str, str]:
        """What its sessions cannot lift, as a superuser alone may set it.

        Nothing that a person says goes into the server's log, which is on the disk of what writes: neither its errors,
        each with the whole statement, nor `raise log`, nor what `exit_on_error` and `debug_print_plan` make of one.
        """
        return {"log_min_messages": "panic", "temp_file_limit": f"{self.temporary_files_mb}MB"}


class LimitKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be limited; what is left out is as the defaults have it. `statement: 5min`; megabytes; counts."""

    connections: Count | None = None
    statement: Duration | None = None
    idle: Duration | None = None
    transaction: Duration | None = None
    locks: Count | None = None
    temporary_files_mb: Count | None = None
    memory_mb: Count | None = None

    def __post_init__(self) -> None:
        self.given()

    def given(self) -> dict[str, Any]:
        """The limits that are stated, by their names in Limits."""
        found: dict[str, Any] = {}
        for name in LimitKeys.__struct_fields__:
            value = getattr(self, name)
            if value is None:
                continue
            try:
                found[_DURATIONS.get(name, name)] = _limit_seconds(str(value)) if name in _DURATIONS else value
            except ConfigurationError as error:
                raise WrongValue(str(error), name) from None
        return found


class Team(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What its members read: whole schemas."""

    read: Annotated[list[Schema], msgspec.Meta(min_length=1)]


class Member(LimitKeys, frozen=True, kw_only=True):
    """A person or service, and its limits."""

    team: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    teams: dict[str, Team] = {}
    people: dict[str, Member] = {}
    services: dict[str, Member] = {}
    defaults: LimitKeys = LimitKeys()
    api: LimitKeys = LimitKeys()

    def __post_init__(self) -> None:
        kinds: dict[str, str] = {}
        for kind in ("teams", "people", "services"):
            for name in getattr(self, kind):
                _check_name(kind, name)
                if (other := kinds.setdefault(name, kind)) != kind:
                    raise WrongValue(f"expected each name once, received it as one of {other} too", kind, name)
        for kind in ("people", "services"):
            for name, member in getattr(self, kind).items():
                if member.team not in self.teams:
                    teams = ", ".join(self.teams) or "none"
                    said = f"expected one of the teams of this file ({teams}), received {member.team!r}"
                    raise WrongValue(said, kind, name, "team")


def _limit_seconds(text: str) -> float:
    """As Postgres takes it: a whole number of milliseconds of 32 bits, where 0 would be no limit."""
    seconds = seconds_of(text)
    if not SHORTEST_LIMIT_SECONDS <= seconds <= LONGEST_LIMIT_SECONDS:
        said = f"expected a duration from 0.001s to 24d, as Postgres takes limits, received {text!r}"
        raise ConfigurationError(said)
    return seconds


def _check_name(kind: str, name: str) -> None:
    if len(name.encode()) > MOST_NAME_BYTES:
        said = (
            f"expected a name of at most {MOST_NAME_BYTES} bytes, as Postgres has them, received {len(name.encode())}"
        )
        raise WrongValue(said, kind, name)
    if name in _RESERVED or name.startswith("pg_"):
        raise WrongValue(
            f"expected a name that is not taken, received {name}, which is Tidemark's or Postgres's", kind, name
        )
    if not _NAME.fullmatch(name):
        said = (
            f"expected a name of lower-case letters a-z, digits and _ . -, that begins with a letter, received {name!r}"
        )
        raise WrongValue(said, kind, name)
    if name in PEOPLE and kind != "services":
        raise WrongValue(f"expected {name} among the services", kind, name)


@dataclass(frozen=True)
class Access:
    """The file as it is meant. ConfigurationError where it cannot be."""

    path: Path

    @cached_property
    def _file(self) -> _File:
        return read_one(self.path, _File)

    @property
    def teams(self) -> dict[str, list[Schema]]:
        """The schemas that each team reads."""
        return {name: team.read for name, team in self._file.teams.items()}

    @property
    def members(self) -> dict[str, str]:
        """The team of each person and service."""
        return {name: member.team for name, member in self._members.items()}

    @property
    def roles(self) -> set[str]:
        """Every role that comes from the file."""
        return {*self.teams, *self.members}

    @property
    def _members(self) -> dict[str, Member]:
        return {**self._file.people, **self._file.services}

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return read_one(DEFAULTS, _File).defaults.given() | self._file.defaults.given()

    def limits_of(self, role: str) -> Limits:
        """What a role may take; of one that the file does not name, the defaults."""
        if role == API_READER:
            own = read_one(DEFAULTS, _File).api.given() | self._file.api.given()
        else:
            own = self._members[role].given() if role in self._members else {}
        return Limits(**(self._defaults | own))

    def team_of(self, name: str) -> str:
        """The team of a person or service; ConfigurationError where the file has none of that name."""
        if name not in self.members:
            known = ", ".join(self.members) or "none"
            raise ConfigurationError(f"{self.path}: expected a person or service of it ({known}), received {name!r}")
        return self.members[name]


def read_access(path: Path) -> Access:
    """The file, read and checked."""
    access = Access(path)
    access.limits_of(API_READER)
    return access
