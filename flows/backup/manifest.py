"""`manifest.json`: what a backup holds, as of when, and by what it is known to be whole. Written last of all."""

import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tidemark.errors import TidemarkError

NAME = "manifest.json"
FORMAT = 1
CHUNK = 1024 * 1024

Advance = Callable[[int], None]  # told how many bytes more are done


class File(Struct, frozen=True):
    """One file below the backup's folder."""

    path: str
    bytes: int
    sha256: str


class Dump(Struct, frozen=True):
    """One database, as pg_dump's custom format has it. `roles`: whom its objects and rights name, and members."""

    database: str
    server: str
    major: int  # of the pg_dump that wrote it: an older pg_restore cannot read it
    administrator: str
    taken_at: datetime  # of the snapshot, by the server's clock
    roles: dict[str, list[str]]  # to the roles that each is a member of
    tables: dict[str, int]  # bytes of each, by schema.name, for a restore to say how far it is


class Place(Struct, frozen=True):
    """Up to where one partition of a topic is in the backup.

    `topic_id` is Kafka's own; `log_end` the end of its log after the snapshot, None where Kafka did not answer or had
    another topic by then. `last_record_at`: of the last record below `next_offset`, by the topic's clock.
    """

    topic: str
    log_epoch: int
    topic_id: str
    partition: int
    next_offset: int
    log_end: int | None
    last_record_at: datetime | None


class Manifest(Struct, frozen=True):
    """`balances`: rows of `tidemark account` in the snapshots. `cursors_are_covered`: all that the cursors of pollers
    call sent was in the databases. `settings`: those that were set, no secret; `secrets`: the names of the others.
    """

    format: int
    version: str  # of Tidemark
    begun_at: datetime
    home: str
    kind: str  # live, or replay
    dumps: list[Dump]
    places: list[Place]
    balances: list[dict[str, Any]]
    kafka: str
    kafka_cluster: str | None
    cursors_are_covered: bool
    lake: str | None  # its URL; None: it is in the folder `lake`
    prefect: str | None  # the URL of a server of others; None: its database is in `home`
    settings: dict[str, str]
    secrets: list[str]
    files: list[File]

    def left_out(self) -> list[str]:
        """What a restore will miss or must be given, a sentence each."""
        said = []
        if self.lake is not None:
            said.append(f"the lake is not in it: {self.lake}")
        if self.prefect is not None:
            said.append(f"Prefect's database is not in it: {self.prefect} is a server of others")
        if self.secrets:
            said.append(f"not in it, and to be set again: {', '.join(self.secrets)}")
        if not self.cursors_are_covered:
            said.append(
                "the lane lags behind Kafka or does not run: should Kafka be gone too, a restore leaves the cursors of "
                "pollers out, and every value is sent again"
            )
        return said


def copy(source: Path, target: Path, below: Path, advance: Advance) -> File:
    """Copy a file that may grow meanwhile, as far as it is; for its owner alone."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest, size = hashlib.sha256(), 0
    with (
        source.open("rb") as read,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as to,
    ):
        while chunk := read.read(CHUNK):
            to.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            advance(len(chunk))
    return File(str(target.relative_to(below)), size, digest.hexdigest())


def describe(path: Path, below: Path) -> File:
    """A file that is there, as the manifest has it."""
    return File(str(path.relative_to(below)), path.stat().st_size, _sha256(path, lambda size: None))


def _sha256(path: Path, advance: Advance) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as read:
        while chunk := read.read(CHUNK):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def write(folder: Path, manifest: Manifest) -> None:
    """The last file of a backup."""
    path = folder / NAME
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


def read(folder: Path) -> Manifest:
    """The manifest; TidemarkError where the folder is no backup, or one of another Tidemark."""
    try:
        text = (folder / NAME).read_bytes()
    except OSError as error:
        raise TidemarkError(
            f"expected a backup in {folder}, found no {NAME} that can be read ({error.strerror}): name the folder that "
            "`tidemark backup` made; one whose name ends in .part was never finished"
        ) from None
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise TidemarkError(
            f"{folder / NAME}: expected what `tidemark backup` wrote (format {FORMAT}), received {error}: take another "
            "backup, or the Tidemark that made this one"
        ) from None
    if manifest.format != FORMAT:
        raise TidemarkError(
            f"{folder / NAME}: expected a backup of format {FORMAT}, received {manifest.format} of Tidemark "
            f"{manifest.version}: restore it with that version"
        )
    return manifest


def verify(folder: Path, manifest: Manifest, advance: Advance) -> None:
    """TidemarkError naming the files that are not what was written."""
    wrong = []
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            wrong.append(f"{file.path} is missing")
        elif path.stat().st_size != file.bytes:
            wrong.append(f"{file.path} has {path.stat().st_size:,} bytes, not {file.bytes:,}")
        elif _sha256(path, advance) != file.sha256:
            wrong.append(f"{file.path} has other bytes (sha256)")
    if wrong:
        more = f", and {len(wrong) - 3:,} more" if len(wrong) > 3 else ""
        raise TidemarkError(
            f"{folder}: expected the {len(manifest.files):,} files that its manifest lists, as they were written: "
            f"{'; '.join(wrong[:3])}{more}. Nothing was restored: fetch the backup again, or take another"
        )
