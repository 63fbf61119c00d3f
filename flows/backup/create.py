"""Take a backup while everything runs: first what must not be newer than `realtime`, last what must not be older.

Cursors, then the two databases in the turn of promotion, then the lake: what a cursor calls sent is in `realtime` or
still in Kafka, no day is between the databases, and every file that the warehouse names is there.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from pydantic import SecretStr

from flows.backup import manifest, postgres, progress, snapshots
from flows.backup.manifest import FORMAT, Dump, File, Manifest, Place
from flows.closing import LogEnd, await_consumer, log_ends
from flows.errors import NotClosed
from tidemark import turns
from tidemark.categories import CATEGORIES
from tidemark.connections import DATABASES, kafka_bootstrap
from tidemark.errors import ConfigurationError, StackError, TidemarkError
from tidemark.home_kind import home_kind
from tidemark.lake import lake_url
from tidemark.process_environment import OF_S3
from tidemark.secrets import VARIABLE
from tidemark.settings import Settings

TURN_SECONDS = 600.0  # for a promotion that runs
PART = ".part"  # ends the name of a backup that is not whole
LIVE = "dbt/realtime/live.sha256"  # says of what the views of `live` were built, which are in the dump
HOME = ("mark", "credentials", "rejects", "cursors", LIVE)  # of the state folder: what nothing gives back
SCHEDULES = Path(__file__).parent.parent / "schedules.yml"
Ends = dict[str, LogEnd] | None


def create(settings: Settings, folder: Path, with_lake: bool) -> Manifest:
    """Write a backup into a new folder, which has its name once it is whole; what it holds.

    ConfigurationError where the folder is there, or lies where the backup would copy itself; TidemarkError where a part
    cannot be read or written, and then nothing has the folder's name.
    """
    folder = folder.absolute()
    lake = local_lake(settings)
    _refuse(settings, folder, lake)
    try:
        with _part(folder) as part:
            made = _fill(settings, part, lake if with_lake else None)
            manifest.write(part, made)
            os.sync()
            part.rename(folder)
            return made
    except OSError as error:
        raise StackError(
            f"expected to write a backup into {folder}, received {error.strerror} ({error.filename or folder}): free "
            "some space or name another folder, and run it again"
        ) from None


def local_lake(settings: Settings) -> Path | None:
    """The lake's folder; None where it is on a server."""
    parts = urlsplit(lake_url(settings))
    return Path(lake_url(settings).removeprefix("file://")) if parts.scheme == "file" else None


def _refuse(settings: Settings, folder: Path, lake: Path | None) -> None:
    if folder.exists():
        raise ConfigurationError(f"expected the name of a new folder, received {folder}, which is there already")
    for place in filter(None, (settings.home, lake)):
        if folder.resolve().is_relative_to(place.resolve()):
            raise ConfigurationError(
                f"expected a folder outside of {place}, received {folder}: what takes the one would take the other, "
                "and best it is on another disk"
            )


@contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """An empty folder beside the final one, ours alone; it goes where the block fails. A killed one's is taken over."""
    part = folder.with_name(folder.name + PART)
    part.mkdir(parents=True, exist_ok=True, mode=0o700)
    part.chmod(0o700)
    lock = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in part.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            yield part
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except BlockingIOError:
        raise TidemarkError(f"expected to be the only backup into {folder}, another one runs: wait for it") from None
    finally:
        os.close(lock)


def _fill(settings: Settings, part: Path, lake: Path | None) -> Manifest:
    begun_at = datetime.now(UTC)
    files = list(_home(settings, part))
    cluster, ends = _kafka(settings)
    covered = ends is not None and _passed(settings, ends)
    with ExitStack() as stack:
        stack.enter_context(turns.held(settings, "warehouse", "promoter", "promote", TURN_SECONDS))
        held = snapshots.take(settings, stack)
        places = _places(held.places, _kafka(settings)[1])
        dumps = [_dump(settings, part, files, held.of[database]) for database in DATABASES]
    files += _prefect(settings, part)
    files += _lake(lake, part)
    files += _settings_files(settings, part)
    values, secrets = settings_now(settings)
    secrets += sorted(_variables_of_files(settings) - {*secrets})
    return Manifest(
        format=FORMAT, version=version("tidemark"), begun_at=begun_at, home=str(settings.home.absolute()),
        kind=home_kind(settings), dumps=dumps, places=places, balances=[asdict(each) for each in held.balances],
        kafka=kafka_bootstrap(settings), kafka_cluster=cluster, cursors_are_covered=covered,
        lake=None if lake else lake_url(settings), prefect=settings.prefect_url, settings=values, secrets=secrets,
        files=files,
    )  # fmt: skip


def _home(settings: Settings, part: Path) -> Iterator[File]:
    """The state folder's own files; a cursor as SQLite has it at one moment."""
    for name in HOME:
        place = settings.home / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            target = part / "home" / path.relative_to(settings.home)
            if path.suffix == ".sqlite":
                yield _database_file(path, target, part)
            elif path.is_file() and not path.name.endswith(("-journal", "-wal", "-shm")):
                with suppress(FileNotFoundError):  # a file beside its place, which has it by now
                    yield manifest.copy(path, target, part, lambda size: None)


def _database_file(path: Path, target: Path, part: Path) -> File:
    """A copy of an SQLite database as of one moment, whoever writes to it meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.touch(mode=0o600)
    try:
        read_only = f"{path.resolve().as_uri()}?mode=ro"  # one that is gone is an error, and is not made anew
        with closing(sqlite3.connect(read_only, uri=True)) as source, closing(sqlite3.connect(target)) as copied:
            source.backup(copied)
    except sqlite3.Error as error:
        raise TidemarkError(
            f"expected to copy {path}, an SQLite database, received {error}: look at that file"
        ) from None
    return manifest.describe(target, part)


def _kafka(settings: Settings) -> tuple[str | None, Ends]:
    """The cluster's id, and what each topic's log held; nothing where no broker answers, which holds no backup up."""
    from tidemark.kafka import admin, reachable_kafka

    try:
        with reachable_kafka(settings, "promoter"), closing(admin(settings, "promoter")) as client:
            cluster = client.describe_cluster().get("cluster_id")
        return cluster, log_ends(settings, list(CATEGORIES))
    except StackError:
        return None, None


def _passed(settings: Settings, ends: dict[str, LogEnd]) -> bool:
    """Whether the consumer passes these ends, within seconds: a lane that runs does."""
    try:
        for topic in CATEGORIES:
            await_consumer(settings, topic, ends.get(topic))
    except NotClosed:
        return False
    return True


def _places(places: list[Place], ends: Ends) -> list[Place]:
    """The places with the logs' ends, where the log is still the one that was read."""

    def end(place: Place) -> int | None:
        log = (ends or {}).get(place.topic)
        return log.offsets.get(place.partition) if log and log.topic_id == place.topic_id else None

    return [msgspec.structs.replace(place, log_end=end(place)) for place in places]


def _dump(settings: Settings, part: Path, files: list[File], held: snapshots.Held) -> Dump:
    path = part / f"{held.database}.dump"
    path.touch(mode=0o600)
    with progress.tables(f"database {held.database}", held.sizes) as begins:
        major = postgres.dump(settings, held, path, begins)
    files.append(manifest.describe(path, part))
    info = held.connection.info
    made = Dump(
        held.database, str(info.parameter_status("server_version")), major, info.user, held.taken_at,
        postgres.roles(held.connection), held.sizes,
    )  # fmt: skip
    held.connection.close()  # a table that was to be swapped has waited long enough
    return made


def _prefect(settings: Settings, part: Path) -> list[File]:
    path = settings.home / "prefect" / "prefect.db"
    if settings.prefect_url is not None or not path.exists():
        return []
    return [_database_file(path, part / "home" / "prefect" / path.name, part)]


def _lake(lake: Path | None, part: Path) -> Iterator[File]:
    """All files of the lake that are whole: nothing in it changes, so what comes meanwhile may be there or not."""
    if lake is None or not lake.exists():
        return
    sizes: dict[Path, int] = {}
    for path in sorted(lake.rglob("*")):
        with suppress(FileNotFoundError):  # what dlt itself has replaced since
            if path.is_file() and path.suffix != ".part":
                sizes[path] = path.stat().st_size
    with progress.bar("lake", sum(sizes.values())) as advance:
        for path in sizes:
            with suppress(FileNotFoundError):
                yield manifest.copy(path, part / "lake" / path.relative_to(lake), part, advance)


def settings_paths(settings: Settings) -> dict[str, Path]:
    """The files of settings, by their names in a backup."""
    named = ("sources", "topics", "destinations", "access")
    return {f"{name}.yml": getattr(settings, f"{name}_file") for name in named} | {"schedules.yml": SCHEDULES}


def _settings_files(settings: Settings, part: Path) -> Iterator[File]:
    """For a person to compare, as they belong to the checkout."""
    for name, path in settings_paths(settings).items():
        yield manifest.copy(path, part / "settings" / name, part, lambda size: None)


def _variables_of_files(settings: Settings) -> set[str]:
    """What the saved files name as ${NAME}, and what enters the lake on S3 from here."""
    texts = [path.read_bytes().decode(errors="replace") for path in settings_paths(settings).values()]
    return {name for text in texts for name in VARIABLE.findall(text)} | (set(OF_S3) & os.environ.keys())


def settings_now(settings: Settings) -> tuple[dict[str, str], list[str]]:
    """The variables that were set with their values, and the names alone of those that are secrets."""
    given: dict[str, Any] = {
        f"TIDEMARK_{name.upper()}": getattr(settings, name) for name in sorted(settings.model_fields_set)
    }
    secrets = [name for name, value in given.items() if isinstance(value, SecretStr)]
    return {name: str(value) for name, value in given.items() if name not in secrets}, secrets
