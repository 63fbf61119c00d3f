"""The stack that the whole suite shares, started once on free ports in a folder of its own; the recordings' marker."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.errors import DeadlockDetected
from psycopg.sql import SQL, Identifier
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from loopback.session import Session, open_session
from realtime import partitions, tables
from tidemark.connections import dsn
from tidemark.credentials import OWNER
from tidemark.settings import Settings
from tidemark.stack import local
from tidemark.stack.ports import free_ports

RECORDINGS = os.environ.get("TIDEMARK_RECORDINGS")
PORTS = ("postgres_port", "kafka_port", "kafka_controller_port", "prefect_port", "metrics_port", "api_port")


@dataclass(frozen=True)
class Stack:
    """A running stack, or the settings of one that is yet to run."""

    settings: Settings

    def dsn(self, database: str, role: str = OWNER) -> str:
        """The URL of one database for one role."""
        return dsn(self.settings, database, role)

    def with_settings(self, **changes: Any) -> Settings:
        """The settings with some changed; the servers stay the same."""
        return self.settings.model_copy(update=changes)

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which a command finds this stack, and no setting of whoever runs the tests."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TIDEMARK_")}
        ports = {f"TIDEMARK_{name.upper()}": str(getattr(self.settings, name)) for name in PORTS}
        return {**kept, **ports, "TIDEMARK_HOME": str(self.settings.home), "NO_COLOR": "1", "COLUMNS": "200"}

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `tidemark` with these arguments on this stack, more variables set; never raises on its exit code."""
        return subprocess.run(
            [sys.executable, "-m", "tidemark.cli", *arguments],
            env=self.environ | environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """A state folder that also an unprivileged server can reach, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tidemark-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "home"


def new_settings(home: Path, **changes: Any) -> Settings:
    """Settings of a stack on free ports with its state in `home`."""
    return Settings(home=home, **dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) | changes)


def take_over_parsed(stack: Stack, home: Path) -> None:
    """What dbt has parsed for the stack, in another folder of the same servers: to parse it again takes seconds."""
    folder = stack.settings.home / "dbt"
    for path in folder.glob("**/partial_parse.msgpack"):
        there = home / "dbt" / path.relative_to(folder)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, there)


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_caller() -> None:
    """A TIDEMARK_* variable of whoever runs the tests must not reach them."""
    for name in [name for name in os.environ if name.startswith("TIDEMARK_") and name != "TIDEMARK_RECORDINGS"]:
        del os.environ[name]


@pytest.fixture(scope="session")
def stack(no_settings_of_the_caller: None) -> Iterator[Stack]:
    """Postgres, Kafka and Prefect, running for the whole session."""
    with new_home() as home:
        settings = new_settings(home)
        try:
            local.up(settings)
            yield Stack(settings)
        finally:
            local.down(settings)


@pytest.fixture
def new_stack() -> Iterator[Stack]:
    """Settings of a stack of the test's own, not yet started; ended afterwards, whatever the test did."""
    with new_home() as home:
        settings = new_settings(home)
        try:
            yield Stack(settings)
        finally:
            local.down(settings)


# The watcher looks at everything meanwhile: of two who wait for each other Postgres ends one.
again = retry(retry=retry_if_exception_type(DeadlockDetected), stop=stop_after_attempt(5), reraise=True)


@again
def empty_realtime(stack: Stack) -> None:
    """No row of a topic, no offset, epoch, quarantine, loss, trim or feed, and no day that is past."""
    names = SQL(", ").join([*tables.of_topics(), *tables.FILLED])
    with psycopg.connect(stack.dsn("realtime")) as connection:
        connection.execute(SQL("truncate {} cascade").format(names))
        for topic, day in partitions.days(connection):
            if day < datetime.now(UTC).date():
                connection.execute(SQL("drop table {}").format(Identifier("realtime", f"{topic}_{day:%Y%m%d}")))


@again
def empty_warehouse(stack: Stack) -> None:
    """No table or view but the ledger and the results, and those empty."""
    with psycopg.connect(stack.dsn("warehouse")) as connection:
        found = connection.execute(
            "select table_schema, table_name, table_type from information_schema.tables "
            "where table_schema !~ '^(pg_|information_schema$|migration$)'"
        ).fetchall()
        for schema, table, kind in found:
            name = Identifier(schema, table)
            if schema in ("ops", "quality"):
                if kind == "VIEW":
                    continue
                connection.execute(SQL("truncate {} cascade").format(name))
            else:
                what = SQL("view" if kind == "VIEW" else "table")
                connection.execute(SQL("drop {} if exists {} cascade").format(what, name))


@pytest.fixture
def clean_realtime(stack: Stack) -> Stack:
    """The stack with an empty `realtime`."""
    empty_realtime(stack)
    return stack


@pytest.fixture
def clean_warehouse(stack: Stack) -> Stack:
    """The stack with an empty `warehouse`."""
    empty_warehouse(stack)
    return stack


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded sessions."""
    assert RECORDINGS is not None
    return Path(RECORDINGS)


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session that a seed decided."""
    return open_session(None, tmp_path_factory.mktemp("generated"))


@pytest.fixture(scope="session")
def recorded(recordings: Path) -> Session:
    """The session of the recordings."""
    return open_session(recordings, Path("unused"))


_left_out = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need recordings where there are none, and what runs long unless asked for."""
    global _left_out  # noqa: PLW0603
    out = [item for item in items if RECORDINGS is None and item.get_closest_marker("recordings")]
    _left_out = len(out)
    if not config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("faults") or item.get_closest_marker("pythons")]
        out += [item for item in long if item not in out]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many tests need recordings that are not there."""
    if _left_out:
        terminalreporter.write_line(
            f"{_left_out} tests left out: they need the folder of recordings that TIDEMARK_RECORDINGS names"
        )
