"""Restore a backup onto an empty state folder, and see what of Kafka it goes on with.

Killed, it goes on when it is run again: first the files, then the servers, then each database in one transaction, so
that what is there is whole, and is left alone.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import Connection

from flows.account import account
from flows.backup import manifest, postgres, progress, topics
from flows.backup.create import LIVE, local_lake, settings_now, settings_paths
from flows.backup.manifest import Manifest
from flows.backup.topics import Outcome
from tidemark.connections import DATABASES, Database, connect, is_local
from tidemark.credentials import OWNER, ROLES
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.settings import Settings
from tidemark.stack import checks, local
from tidemark.stack.local import Report

# The marker's lines, after the backup's folder and its manifest's sha256. Files that are there servers may have changed
# since, and records that were compared are no longer where they were once an epoch is opened.
COPIED, COMPARED = "files", "records"


@dataclass
class Restored:
    """What a restore made, and what a person still has to look at: `outcomes` of topics, `notes`, a sentence each."""

    made: Manifest
    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def restore(settings: Settings, folder: Path, report: Report) -> Restored:
    """Fill the empty state folder and the empty databases of the settings; TidemarkError, and what to do, where not.

    Nothing is changed where the backup is not whole or something is there already.
    """
    folder = folder.absolute()
    made = manifest.read(folder)
    with progress.bar("checking the backup", sum(file.bytes for file in made.files)) as advance:
        manifest.verify(folder, made, advance)
    done = Restored(made)
    _begin(settings, folder, made)
    marker = settings.home / checks.RESTORING
    _once(marker, COPIED, lambda: _copy_files(settings, folder, made))
    local.up(settings, report, lambda database, connection: _fill(settings, folder, done, database, connection))
    _ensure_live(settings)
    _once(marker, COMPARED, lambda: _compare(settings, made))
    done.outcomes = topics.go_on(settings, made)
    done.notes += _cursors(settings, done) + _differences(settings, folder, made)
    marker.unlink()
    return done


def _once(marker: Path, name: str, step: Callable[[], None]) -> None:
    """Do a step that a try which was ended has not done yet."""
    if name not in marker.read_text().splitlines()[2:]:
        step()
        with marker.open("a") as file:
            file.write(f"{name}\n")


def _begin(settings: Settings, folder: Path, made: Manifest) -> None:
    """Mark the state folder as being restored; ConfigurationError where it, a database or the lake holds anything."""
    marker, sha256 = settings.home / checks.RESTORING, manifest.describe(folder / manifest.NAME, folder).sha256
    if marker.exists():
        before = marker.read_text().splitlines()
        if before[1:2] != [sha256]:
            raise ConfigurationError(
                f"expected a restore of {before[0]}, which was begun in {settings.home} and not ended, received "
                f"{folder}: run it with that folder, or delete the state folder (and the databases on servers that "
                "variables name) to begin with another"
            )
        return
    if settings.home.exists() and (there := sorted(path.name for path in settings.home.iterdir())):
        raise ConfigurationError(
            f"expected an empty state folder to restore into, found {', '.join(there[:5])} in {settings.home}: set "
            "TIDEMARK_HOME to another folder, or move what is there away"
        )
    for database in DATABASES:
        _require_empty(settings, database)
    lake = local_lake(settings)
    if made.lake is None and lake is not None and lake.exists() and any(lake.iterdir()):
        raise ConfigurationError(
            f"expected an empty lake to restore into, found files in {lake}: set TIDEMARK_LAKE_URL to another folder, "
            "or move what is there away"
        )
    checks.make_home(settings.home)
    checks.require_space(settings.home, sum(file.bytes for file in made.files) + checks.NEEDED_BYTES)
    local.require_ports(settings)
    part = marker.with_name(f"{marker.name}.part")
    with part.open("w") as file:
        file.write(f"{folder}\n{sha256}\n")
        file.flush()
        os.fsync(file.fileno())  # a marker without its folder could not be taken up
    part.replace(marker)


def _require_empty(settings: Settings, database: Database) -> None:
    """ConfigurationError where the server that a variable names has a database of that name with tables."""
    if is_local(settings, database):
        return
    with connect(settings, database, OWNER, dbname="postgres") as connection:
        if not connection.execute("select from pg_database where datname = %s", (database,)).fetchall():
            return
    with connect(settings, database, OWNER) as connection:
        found = connection.execute(
            "select count(*) from pg_class where relkind in ('r', 'p', 'v', 'm') "
            "and relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'"
        ).fetchall()
    if found != [(0,)]:
        raise ConfigurationError(
            f"expected no database {database}, or an empty one, on the server of TIDEMARK_{database.upper()}_URL, it "
            "has tables: drop it there, or name another server"
        )


def _copy_files(settings: Settings, folder: Path, made: Manifest) -> None:
    """The state folder's own files and, where the lake is a folder here, the lake's."""
    into = {"home": settings.home, "lake": local_lake(settings)}
    files = [file for file in made.files if into.get(file.path.partition("/")[0]) is not None]
    with progress.bar("files", sum(file.bytes for file in files)) as advance:
        for file in files:
            room, _, path = file.path.partition("/")
            place = into[room]
            assert place is not None
            manifest.copy(folder / file.path, place / path, place, advance)


def _fill(settings: Settings, folder: Path, done: Restored, database: Database, connection: Connection[Any]) -> None:
    """Restore one database, unless an earlier try has: its migrations came with the rest, in one transaction."""
    if connection.execute("select to_regclass('migration.applied')").fetchall() != [(None,)]:
        return
    dump = next(dump for dump in done.made.dumps if dump.database == database)
    if people := sorted(set(postgres.missing_roles(connection, dump)) - {*ROLES}):
        done.notes.append(
            f"{database}: the roles {', '.join(people)} were made without a password: give each one by "
            "`tidemark access password NAME`, or, where the access file does not name it, `alter role .. password ..`"
        )
    path = folder / f"{database}.dump"
    with progress.tables(f"database {database}", dump.tables) as begins:
        postgres.restore(settings, connection, dump, path, begins)


def _ensure_live(settings: Settings) -> None:
    """The views of `live`, where the backup has them: a newer checkout may have others."""
    from tidemark import dbt

    if (settings.home / LIVE).exists():
        dbt.ensure_live(settings)


def _compare(settings: Settings, made: Manifest) -> None:
    """TidemarkError unless every record is where it was in the backup's snapshots."""
    from dataclasses import asdict

    found = [asdict(balance) for balance in account(settings)]
    if found != made.balances:
        wrong = [each for each in found if each not in made.balances] or made.balances
        raise TidemarkError(
            f"expected every record where the backup has it, received {wrong[:2]}: something wrote into the databases "
            "while they were restored; end it, delete what was restored and begin again"
        )


def _cursors(settings: Settings, done: Restored) -> list[str]:
    """Take away the cursors that would keep back what nobody has any more."""
    outcomes = done.outcomes  # none of them where `realtime` had consumed nothing, whatever was sent
    if done.made.cursors_are_covered or (outcomes and all(outcome.is_whole for outcome in outcomes)):
        return []
    for cursor in (settings.home / "cursors").glob("*.sqlite"):
        cursor.unlink()
    return [
        "the cursors of pollers are not restored, as what they call sent may be gone with Kafka: every value is sent "
        "again, and the warehouse knows those that it has as repeats"
    ]


def _differences(settings: Settings, folder: Path, made: Manifest) -> list[str]:
    """What is set otherwise than when the backup was taken; it is a person's to decide."""
    values, secrets = settings_now(settings)
    names = sorted(n for n in made.settings.keys() | values.keys() if n != "TIDEMARK_HOME" and not n.endswith("_PORT"))
    notes = [
        f"{name} was {made.settings.get(name, 'not set')}, it is {values.get(name, 'not set')}"
        for name in names
        if made.settings.get(name) != values.get(name)
    ]
    there = {*secrets, *os.environ, *(name.removesuffix("_FILE") for name in os.environ)}
    notes += [f"{name} was needed, it is not set" for name in made.secrets if name not in there]
    for name, path in settings_paths(settings).items():
        if (folder / "settings" / name).read_bytes() != path.read_bytes():
            notes.append(f"{path} is another than the backup's {folder / 'settings' / name}")
    if made.lake is not None:
        notes.append(f"the lake is not in the backup: it was at {made.lake}")
    elif local_lake(settings) is None:
        notes.append(f"the lake is a server's: copy {folder / 'lake'} there")
    return notes
