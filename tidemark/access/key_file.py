"""The API's keys as they are kept: the SHA-256 of each, in a file that its owner alone reads and writes.

`credentials/api_keys.json` of the state folder. A key has 256 random bits, so that nothing is gained by a slow hash;
the key itself is printed once and kept nowhere. Who writes the file holds a lock, so that of two at once none is lost.
"""

import hashlib
import logging
import secrets
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from tidemark.credentials import FOLDER
from tidemark.errors import ConfigurationError, StackError
from tidemark.lock_file import try_lock
from tidemark.refusals import of_a_file
from tidemark.settings import Settings
from tidemark.state_file import NotWhole, Time, Unreadable, read_whole, write_whole

log = logging.getLogger("tidemark.access")

PREFIX = "tidemark_"
DEFAULT_RATE = 50.0  # requests a second
GRACE_SECONDS = 86_400.0  # that a key still opens after another took its place
KEPT_SECONDS = 400 * 86_400.0  # that a key which opens no more is still known as expired, or as revoked
LOCK_SECONDS = 10.0


class Record(TypedDict):
    """What is kept of a key; times are seconds since 1970. An empty scope is all that the person's team may."""

    sha256: str
    name: str
    made_at: Time
    expires_at: Time
    revoked_at: Time | None
    scope: list[str]
    requests_per_second: float


Records = dict[str, Record]


class _Shape(TypedDict):
    keys: Records


def path_of(settings: Settings) -> Path:
    """The file."""
    return settings.home / FOLDER / "api_keys.json"


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def read(settings: Settings) -> Records:
    """Every key by its id; StackError where the file is none, or others than its owner may write it."""
    path = path_of(settings)
    _guard(path)
    try:
        found = read_whole(path, _Shape)
    except NotWhole as error:
        raise NotWhole(
            f"{str(error).partition(';')[0]}: put {path} back from a backup, or remove it: every key is then to be "
            "made anew"
        ) from None
    records: Records = {} if found is None else found["keys"]
    return records


def _guard(path: Path) -> None:
    """What others may write may hold keys of theirs; what they may only read is closed, and said."""
    try:
        said = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unreadable(str(of_a_file(error) or error)) from None
    if not stat.S_ISREG(said.st_mode):
        return  # reading it says what it is
    mode = stat.S_IMODE(said.st_mode)
    if mode & 0o022:
        raise Unreadable(
            f"expected {path} of mode 0600, received {mode:04o}: others may have written keys of their own into it: "
            "look through `tidemark access keys` after `chmod 600` of it"
        )
    if mode & 0o077:
        path.chmod(0o600)
        log.warning(
            "expected %s of mode 0600, received %04o: closed it; no key can be made of what it holds", path, mode
        )


@contextmanager
def _changing(settings: Settings) -> Iterator[Records]:
    """The keys, to be changed: what is in them at the end is written, whole, before anybody else's turn."""
    path = path_of(settings)
    lock = settings.home / "run" / "api_keys.lock"
    turns = Retrying(
        retry=retry_if_result(lambda taken: not taken[1]), stop=stop_after_delay(LOCK_SECONDS), wait=wait_fixed(0.02),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )  # fmt: skip
    held, is_ours = turns(_take, lock)
    with held:
        if not is_ours:
            raise StackError(
                f"expected to write {path} alone, another holds {lock} for {LOCK_SECONDS:.0f} s: try again"
            )
        records = read(settings)
        yield records
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(path, {"schema": 1, "keys": records}, mode=0o600)


def _take(lock: Path) -> tuple[Any, bool]:
    held, is_ours = try_lock(lock)
    if not is_ours:
        held.close()
    return held, is_ours


def make(
    settings: Settings, name: str, lasts_seconds: float, scope: Collection[str] = (), rate: float = DEFAULT_RATE
) -> tuple[str, str]:
    """A new key of a person or service: its id and the key, which is kept nowhere."""
    now = time.time()
    with _changing(settings) as records:
        for key_id in [one for one, record in records.items() if _ended_at(record) < now - KEPT_SECONDS]:
            del records[key_id]
        return _add(records, name, now + lasts_seconds, sorted(scope), rate)


def _add(records: Records, name: str, expires_at: float, scope: list[str], rate: float) -> tuple[str, str]:
    key_id = _free_id(records)
    key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
    records[key_id] = {
        "sha256": digest(key), "name": name, "made_at": time.time(), "expires_at": expires_at, "revoked_at": None,
        "scope": scope, "requests_per_second": rate,
    }  # fmt: skip
    return key_id, key


def _free_id(records: Records) -> str:
    """It begins with a digit, as no name does."""
    while (key_id := f"{secrets.randbelow(10)}{secrets.token_hex(4)[1:]}") in records:
        continue
    return key_id


def _ended_at(record: Record) -> float:
    return min(record["expires_at"], record["revoked_at"] or record["expires_at"])


def revoke(settings: Settings, key_id: str) -> None:
    """From now on the key opens nothing; ConfigurationError where there is none of this id."""
    with _changing(settings) as records:
        record = _known(settings, records, key_id)
        record["revoked_at"] = record["revoked_at"] or time.time()


def revoke_where(settings: Settings, is_gone: Callable[[str], bool]) -> list[str]:
    """Revoke every key of a name that is gone; the ids."""
    if not (gone := opening(settings, is_gone)):
        return []
    with _changing(settings) as records:
        for key_id in gone:
            records[key_id]["revoked_at"] = time.time()
    return gone


def opening(settings: Settings, is_meant: Callable[[str], bool]) -> list[str]:
    """The ids of the keys of those names that open now."""
    now = time.time()
    return [key_id for key_id, one in read(settings).items() if is_meant(one["name"]) and _ended_at(one) > now]


def rotate(settings: Settings, key_id: str, grace_seconds: float = GRACE_SECONDS) -> tuple[str, str]:
    """A new key in the place of one, which opens on for so long: its id and itself. It lasts as long as the old did."""
    with _changing(settings) as records:
        record, now = _known(settings, records, key_id), time.time()
        if _ended_at(record) <= now:
            raise ConfigurationError(f"expected a key that opens to rotate, {key_id} does not any more: make a new one")
        lasts = record["expires_at"] - record["made_at"]
        made = _add(records, record["name"], now + lasts, record["scope"], record["requests_per_second"])
        record["expires_at"] = min(record["expires_at"], now + grace_seconds)
        return made


def _known(settings: Settings, records: Records, key_id: str) -> Record:
    if key_id not in records:
        raise ConfigurationError(
            f"expected the id of a key of {path_of(settings)}, received {key_id!r}: `tidemark access keys` lists them"
        )
    return records[key_id]


def state_of(record: Record, now: float) -> str:
    """Whether a key opens: `opens`, `expired` or `revoked`."""
    if record["revoked_at"] is not None:
        return "revoked"
    return "expired" if record["expires_at"] <= now else "opens"
