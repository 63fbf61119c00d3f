"""Who calls the API: a key that is presented, checked against what is kept of it, with no database asked."""

import hmac
import logging
import re
import time
from dataclasses import dataclass
from typing import Any, Literal

from tidemark.access import key_file
from tidemark.errors import TidemarkError
from tidemark.output import utc
from tidemark.settings import Settings
from tidemark.state_file import NotWhole, StateFile, Time, Unreadable, read_whole

log = logging.getLogger("tidemark.access")

USE_SECONDS = 5.0  # between two writes of when each key was used last
_KEY = re.compile(rf"{key_file.PREFIX}([0-9a-f]{{8}})_[A-Za-z0-9_-]{{43}}")

Reason = Literal["unknown", "expired", "revoked"]


class KeyRefused(TidemarkError):
    """A key that opens nothing; no message holds any of it but its id."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass(frozen=True)
class Caller:
    """Who calls: a login role of both databases, by which key. An empty scope is all that its team may read."""

    name: str
    key_id: str
    scope: tuple[str, ...]
    requests_per_second: float


class Keys:
    """The keys of a state folder. The file is read anew once it has changed, so that what is revoked opens no more."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._path = settings, key_file.path_of(settings)
        self._seen: tuple[int, int, int, int] | None = None
        self._records: key_file.Records = {}
        self._uses = _Uses(settings)

    def check(self, presented: str) -> Caller:
        """Whose key it is. KeyRefused where it opens nothing, StackError where the file of keys cannot be read."""
        shaped = _KEY.fullmatch(presented)
        record = None if shaped is None else self._current().get(shaped[1])
        if shaped is None or record is None or not _same(presented, record):
            raise KeyRefused("unknown", "expected a key of this Tidemark, received one that it never gave: ask for one")
        if record["revoked_at"] is not None:
            raise KeyRefused(
                "revoked", f"the key {shaped[1]} was revoked at {utc(record['revoked_at'])}: ask for a new one"
            )
        if record["expires_at"] <= time.time():
            raise KeyRefused(
                "expired", f"the key {shaped[1]} expired at {utc(record['expires_at'])}: ask for a new one"
            )
        return Caller(record["name"], shaped[1], tuple(record["scope"]), record["requests_per_second"])

    def note_use(self, key_id: str) -> None:
        """That the key was used now: kept in memory, and every few seconds in a file."""
        self._uses.note(key_id)

    def close(self) -> None:
        """Keep what was noted last."""
        self._uses.keep()

    def _current(self) -> key_file.Records:
        try:
            said = self._path.stat()
            seen = (said.st_mtime_ns, said.st_ino, said.st_size, said.st_mode)
        except OSError:  # none yet; what else is wrong with it, reading it says
            seen = None
        if seen is None or seen != self._seen:
            self._records, self._seen = key_file.read(self._settings), seen
        return self._records


def _same(presented: str, record: key_file.Record) -> bool:
    return hmac.compare_digest(key_file.digest(presented), record["sha256"])


class _Uses:
    """When each key was used last, in `run/api_key_use.json`: seconds since 1970 by key id."""

    def __init__(self, settings: Settings) -> None:
        self._file = StateFile(settings.home / "run" / "api_key_use.json", log)
        self._last: dict[str, float] = last_uses(settings)
        self._kept_at = 0.0  # of the monotonic clock

    def note(self, key_id: str) -> None:
        self._last[key_id] = time.time()
        if time.monotonic() - self._kept_at >= USE_SECONDS:
            self.keep()

    def keep(self) -> None:
        self._kept_at = time.monotonic()
        self._file.write(self._last)


def last_uses(settings: Settings) -> dict[str, float]:
    """Seconds since 1970 of the last use of each key, by its id; empty where nothing is known, or can be read."""
    try:
        found: dict[str, Any] | None = read_whole(settings.home / "run" / "api_key_use.json", dict[str, Time])
    except (NotWhole, Unreadable) as error:
        log.warning("%s", error)
        return {}
    return found or {}
