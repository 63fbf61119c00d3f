"""A stack of the benchmark's own: Postgres and Kafka in a temporary state folder on free ports, ended afterwards."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
import yaml

from demo.processes import environment
from tidemark.connections import dsn
from tidemark.errors import TidemarkError
from tidemark.settings import Settings
from tidemark.stack import local, process
from tidemark.stack.ports import free_ports

Found = TypeVar("Found")
Connection = psycopg.Connection[tuple[Any, ...]]

KEPT = ("TIDEMARK_CACHE", "TIDEMARK_MAVEN_URL", "TIDEMARK_RECORDINGS")
NOWHERE = "http://127.0.0.1:9/api"  # a Prefect named by a setting is not started


class BenchmarkFailed(TidemarkError):
    """A run that did not do what is being measured."""


def forget_settings() -> None:
    """No TIDEMARK_* variable of the caller reaches a benchmark, but where downloads and recordings are."""
    for name in [name for name in os.environ if name.startswith("TIDEMARK_") and name not in KEPT]:
        del os.environ[name]


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """A state folder that an unprivileged server can reach, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "home"


@dataclass(frozen=True)
class Usage:
    """CPU-seconds since each began: the measured processes, Postgres with all its backends, the broker."""

    processes: float
    database: float
    broker: float

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            self.processes - other.processes, self.database - other.database, self.broker - other.broker
        )  # fmt: skip


@dataclass(frozen=True)
class Stack:
    """A running Postgres and Kafka."""

    settings: Settings

    def connect(self, role: str = "owner") -> Connection:
        """A connection to `realtime`, each statement a transaction of its own."""
        return psycopg.connect(dsn(self.settings, "realtime", role), autocommit=True)

    def usage(self, processes: Sequence[psutil.Process]) -> Usage:
        """What was used up to now."""
        database, broker = (process.find(self.settings.home, name) for name in ("postgres", "kafka"))
        return Usage(sum(map(cpu_seconds, processes)), cpu_seconds(database), cpu_seconds(broker))

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[psutil.Process]:
        """`tidemark stream ARGUMENTS` as a process of its own, ended by SIGTERM."""
        argv = [sys.executable, "-m", "tidemark.cli", "stream", *arguments]
        with running(argv, self.settings.home / "logs" / f"bench-{arguments[0]}.log", environment(self.settings)) as it:
            yield it


@contextlib.contextmanager
def own_stack(partitions: int = 1) -> Iterator[Stack]:
    """A new stack for market_tick alone, with so many partitions; nothing of it is left afterwards."""
    with new_home() as home:
        names = ("postgres_port", "kafka_port", "kafka_controller_port", "metrics_port")
        ports: dict[str, Any] = dict(zip(names, free_ports(len(names)), strict=True))
        topics_file, destinations_file = home.parent / "topics.yml", home.parent / "destinations.yml"
        files: dict[str, Any] = {"topics_file": topics_file, "destinations_file": destinations_file}
        settings = Settings(home=home, prefect_url=NOWHERE, **files, **ports)
        destinations_file.write_text(yaml.safe_dump({"realtime": {"kind": "postgres", "topics": ["market_tick"]}}))
        topics = yaml.safe_load(Settings.model_fields["topics_file"].default.read_text())
        topics["market_tick"]["partitions"] = partitions
        topics_file.write_text(yaml.safe_dump(topics))
        try:
            local.up(settings)
            yield Stack(settings)
        finally:
            local.down(settings)


@contextlib.contextmanager
def running(argv: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Iterator[psutil.Process]:
    """A process that is ended by SIGTERM, or by force after 30 s; its output is in the log."""
    with log.open("ab") as output:
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def cpu_seconds(one: psutil.Process | None) -> float:
    """User and system time of a process, its threads and its children, those that have ended too."""
    if one is None:
        return 0.0
    total = 0.0
    for each in (one, *one.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(each.cpu_times()[:4])  # user, system, and those of children that have ended
    return total


def peak_mb(one: psutil.Process) -> float:
    """The most memory that the process ever had resident, in MB of 10^6 bytes (VmHWM)."""
    status = Path(f"/proc/{one.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def until(
    condition: Callable[[], Found], what: str, watched: Sequence[psutil.Process] = (), seconds: float = 900,
    every: float = 0.05,
) -> Found:  # fmt: skip
    """Ask again and again, and return the first answer that is true. BenchmarkFailed when time is up."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        for one in watched:
            if not one.is_running() or one.status() == psutil.STATUS_ZOMBIE:
                raise BenchmarkFailed(f"expected {what}, the process {one.pid} has ended")
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"expected {what} within {seconds:.0f} s")
        time.sleep(every)
    return found
