"""The demo's state folder: marked as a replay, made anew by each run, and never one with anything else in it."""

import shutil
import signal
from collections.abc import Iterator

from demo.processes import SOURCES, STREAM
from tidemark.connections import DATABASES, connect
from tidemark.credentials import OWNER
from tidemark.errors import ConfigurationError
from tidemark.home_kind import home_kind
from tidemark.settings import Settings

# What `tidemark up` makes beside checks.FOLDERS, and what everything else makes but the mark: all that is deleted.
_STACK = frozenset({"credentials", "passwords.json", "postgres", "kafka", "prefect", "dbt", "watch"})
_REST = frozenset({"lake", "dlt", "session", "sources.yml"})
_EXTERNAL = ("realtime_url", "warehouse_url", "kafka_bootstrap", "lake_url", "prefect_url")


def renew(settings: Settings) -> None:
    """A new state folder, marked as a replay; the servers of the replay before are ended.

    Downloads are elsewhere (TIDEMARK_CACHE) and stay. ConfigurationError where the folder is no replay's and holds
    data or files that Tidemark does not make, or a variable names a server that is not the demo's own.
    """
    from tidemark.stack import checks, local, process

    _require_own(settings)
    for name in (SOURCES, STREAM):  # of an earlier demo that was killed: they would write into this one
        process.stop(settings.home, name, signal.SIGTERM)
    local.down(settings)
    local.require_ports(settings)  # before anything is deleted
    checks.make_home(settings.home)
    (settings.home / "mark").write_text("replay\n")  # first, so that a demo killed here can be run again
    for path in settings.home.iterdir():
        if path.name in {*checks.FOLDERS, *_STACK, *_REST}:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _require_own(settings: Settings) -> None:
    named = [f"TIDEMARK_{name.upper()}" for name in _EXTERNAL if getattr(settings, name) is not None]
    if named:
        raise ConfigurationError(
            f"the demo runs on a local stack that it makes anew: expected {', '.join(named)} not to be set"
        )
    if home_kind(settings) == "replay":
        return
    held = next(_held(settings), None)
    if held is not None:
        raise ConfigurationError(
            f"expected the state folder of a replay, or an empty one, found {held} in {settings.home}: "
            "set TIDEMARK_HOME to another folder for the demo"
        )


def _held(settings: Settings) -> Iterator[str]:
    """What a folder without the mark has, and a stack that was only started has not."""
    from tidemark.stack import checks

    home = settings.home
    started = (home / "credentials").exists() or (home / "passwords.json").exists()
    made = {*checks.FOLDERS, *(_STACK if started else ())}
    yield from (path.name for path in sorted(home.glob("*")) if path.name not in made)
    empty = {*checks.FOLDERS} - {"run", "logs" if started else ""}
    yield from (f"live data ({path.relative_to(home)})" for name in sorted(empty) for path in home.glob(f"{name}/*"))
    partitions = home.glob("kafka/data/*-[0-9]*")
    topics = {path.name.rpartition("-")[0] for path in partitions if not path.name.startswith("__")}  # __: Kafka's own
    yield from (f"live data (the topic {topic})" for topic in sorted(topics))
    if (home / "postgres" / "data").exists():
        yield from (f"live data (rows in {table})" for table in _tables_with_rows(settings))


def _tables_with_rows(settings: Settings) -> list[str]:
    """The tables of both databases that hold a row; Postgres runs for the question, and is as it was afterwards."""
    from tidemark.stack import local, process

    alone = settings.model_copy(update={"kafka_bootstrap": "none", "prefect_url": "none"})
    asleep = [server for server in reversed(local.SERVERS) if process.find(settings.home, server.NAME) is None]
    local.up(alone)
    try:
        return [f"{database}.{name}" for database in DATABASES for name in _filled(settings, database)]
    finally:
        for server in asleep:
            process.stop(settings.home, server.NAME, server.STOP_SIGNAL)


def _filled(settings: Settings, database: str) -> Iterator[str]:
    from psycopg.sql import SQL, Identifier

    with connect(settings, database, OWNER) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where tablename not in ('turn', 'access_change') "
            "and schemaname not in ('pg_catalog', 'information_schema', 'migration', 'guard')"  # what `up` itself notes
        ).fetchall()
        for schema, table in tables:
            if connection.execute(SQL("select from {} limit 1").format(Identifier(schema, table))).rowcount:
                yield f"{schema}.{table}"
