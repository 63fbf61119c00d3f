"""Start, find and end the servers of a state folder, side by side."""

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

import psutil

from tidemark.access import kafka as kafka_access
from tidemark.access.access_file import read_access
from tidemark.access.apply import Fill, apply
from tidemark.access.last_applied import refuse_another
from tidemark.credentials import KAFKA_ADMINISTRATOR, ensure_credentials
from tidemark.errors import StackError
from tidemark.kafka import security
from tidemark.settings import Settings
from tidemark.stack import checks, external, guard, kafka, postgres, postgres_tls, prefect, process, serve, watcher

LOOK_SECONDS = 0.2
START_TIMEOUT = 180.0  # seconds; a cold disk and two busy cores have taken 60


class Server(Protocol):
    """A module of this package that knows one server."""

    NAME: str
    TITLE: str
    STOP_SIGNAL: signal.Signals
    LOGIN: str  # how a person logs in, without a secret; empty where nobody does

    def ports(self, settings: Settings) -> dict[str, int]:
        """The settings that hold the ports, and the ports; the first is the server's address."""

    def wanted(self, settings: Settings) -> bool:
        """Whether it is to run here: no variable names another."""

    def address(self, settings: Settings) -> str:
        """Where it is, without a password."""

    def prepare(self, settings: Settings) -> process.Launch:
        """Make its state where there is none; how to start it."""

    def outdated(self, settings: Settings, running: psutil.Process) -> str:
        """Why the server that runs is to be started anew, as the rest of a sentence; empty where it is not."""

    def ready(self, settings: Settings) -> bool:
        """Whether it answers."""


# Not with the others: they need the databases, what is set up in them, or all that is there.
LATER: tuple[Server, ...] = (guard, serve, watcher)
SERVERS: tuple[Server, ...] = (postgres, kafka, prefect, *LATER)


Report = Callable[[str, str], None]  # told a server's title, or a database, and what `up` is doing with it


@dataclass(frozen=True)
class Status:
    """One server: `state` is running, stopped, or external (named by a variable); bytes of all its processes.

    `silence`: why one that runs, or is external, does not answer.
    """

    name: str
    state: str
    address: str
    pid: int | None = None
    resident_bytes: int | None = None
    uptime_seconds: float | None = None
    login: str = ""
    silence: str = ""


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return f"TIDEMARK_{setting.upper()}"


def up(
    settings: Settings,
    report: Report = lambda server, doing: None,
    fill: Fill | None = None,
    stop: threading.Event | None = None,
) -> list[str]:
    """Start what no variable names and what does not run yet, and set up the databases; `fill` is apply's.

    On any failure, on an interrupt, and where `stop` is set meanwhile, what this call started is ended again. What an
    older version left and this call changed is returned, a sentence each: servers that ran as they must not,
    migrations.
    """
    checks.make_home(settings.home)
    if fill is None:
        checks.require_restored(settings.home)
    with process.exclusive(settings.home):
        wanted = [server for server in SERVERS if server not in LATER and server.wanted(settings)]
        if wanted:
            checks.require_space(settings.home)
        refuse_another(settings, read_access(settings.access_file))  # what is refused ends nothing
        postgres_tls.check(settings)
        require_ports(settings)
        ensure_credentials(settings)
        ended = _end_outdated(settings)
        # What does not fit is said before anything starts.
        security(settings, KAFKA_ADMINISTRATOR)
        started: list[Server] = []
        try:
            _start_all(settings, wanted, started, report, stop or threading.Event())
            # Before the databases are set up, so that no person's session holds that up.
            guarding = _start_aside(settings, guard, started)
            applied = apply(settings, report) if fill is None else apply(settings, report, fill)
            if kafka.wanted(settings):
                kafka_access.apply(settings)
            _start(settings, serve, started, threading.Event(), report)
            # Once all is there: what it saw missing before would be in its history.
            watching = _start_aside(settings, watcher, started)
            for aside, running in ((guard, guarding), (watcher, watching)):
                _wait_until_ready(settings, aside, running, threading.Event())
        except BaseException:
            for server in started:
                process.stop(settings.home, server.NAME, server.STOP_SIGNAL)
            raise
        process.forget_down(settings.home)
        files = [
            f"{database}: applied {each.title}" for database, all_of in applied.migrated.items() for each in all_of
        ]
        return [*ended, *files, *(f"access: {row['role']}: {row['change']}" for row in applied.access)]


def renew_guard(settings: Settings) -> list[str]:
    """Start the guard anew where what it was started with has changed; a sentence of it."""
    with process.exclusive(settings.home):
        running = process.find(settings.home, guard.NAME)
        reason = guard.outdated(settings, running) if running else ""
        if running is not None and not reason:
            return []
        if running is not None:
            process.stop(settings.home, guard.NAME, guard.STOP_SIGNAL)
        _wait_until_ready(settings, guard, _start_aside(settings, guard, []), threading.Event())
        return [f"{guard.TITLE} {reason or 'did not run'}: it was started anew"]


def _end_outdated(settings: Settings) -> list[str]:
    """End what must not go on as it runs, also where a variable has replaced it since."""
    said = []
    for server in SERVERS:
        running = process.find(settings.home, server.NAME)
        reason = server.outdated(settings, running) if running else ""
        if reason:
            process.stop(settings.home, server.NAME, server.STOP_SIGNAL)
            said.append(f"{server.TITLE} {reason}: it was ended" + " and started anew" * server.wanted(settings))
    return said


def require_ports(settings: Settings) -> None:
    """StackError where a port that the servers here need is somebody else's, before anything is started or deleted."""
    for server in SERVERS:
        if server.wanted(settings):
            _require_ports(settings, server)


def _start_all(
    settings: Settings, wanted: list[Server], started: list[Server], report: Report, stop: threading.Event
) -> None:
    given_up = threading.Event()
    with ThreadPoolExecutor(max(1, len(wanted))) as pool:
        tasks: list[Future[None]] = []
        try:
            tasks += [pool.submit(_start, settings, server, started, given_up, report) for server in wanted]
            waiting = True
            while waiting and not stop.is_set():
                done, others = wait(tasks, LOOK_SECONDS, return_when=FIRST_EXCEPTION)
                waiting = bool(others) and not any(task.exception() for task in done)
        finally:  # also on an interrupt: the others stop waiting
            if not all(task.done() and task.exception() is None for task in tasks):
                given_up.set()
    for task in tasks:
        task.result()
    if stop.is_set():
        raise StackError("expected to start the servers, was asked to end before they ran: what it started is ended")


def _require_ports(settings: Settings, server: Server) -> None:
    """The ports are free, or a server of this state folder already has them."""
    running = process.find(settings.home, server.NAME)
    record = process.read_record(settings.home, server.NAME)
    for setting, port in server.ports(settings).items():
        if running is None:
            checks.require_free_port(server.TITLE, variable(setting), port)
        elif record is not None and record.ports[setting] != port:
            raise StackError(
                f"expected {server.TITLE} of {settings.home} on port {port}, it runs on {record.ports[setting]} "
                f"already: set {variable(setting)} to {record.ports[setting]}, or run `tidemark down` first"
            )


def _start(
    settings: Settings, server: Server, started: list[Server], given_up: threading.Event, report: Report
) -> None:
    running = process.find(settings.home, server.NAME)
    if running is None:
        report(server.TITLE, "preparing")
        launch = server.prepare(settings)
        if given_up.is_set():
            return
        started.append(server)
        process.rotate(settings.home, server.NAME, settings.log_bytes)
        running = process.spawn(settings.home, server.NAME, launch, server.ports(settings))
    report(server.TITLE, "starting")
    _wait_until_ready(settings, server, running, given_up)
    report(server.TITLE, "ready")


def _start_aside(settings: Settings, server: Server, started: list[Server]) -> psutil.Process:
    """The one that runs, or a new one."""
    running = process.find(settings.home, server.NAME)
    if running is None:
        started.append(server)
        process.rotate(settings.home, server.NAME, settings.log_bytes)
        running = process.spawn(settings.home, server.NAME, server.prepare(settings), server.ports(settings))
    return running


def _wait_until_ready(settings: Settings, server: Server, running: psutil.Process, given_up: threading.Event) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not given_up.wait(0.1):
        if not running.is_running() or running.status() == psutil.STATUS_ZOMBIE:
            failure = "it ended"
        elif server.ready(settings):
            return
        elif time.monotonic() > deadline:
            failure = f"it did not answer within {START_TIMEOUT:.0f} s"
        else:
            continue
        log = process.log_path(settings.home, server.NAME)
        said = process.last_lines(settings.home, server.NAME)
        raise StackError(f"expected {server.TITLE} to start, {failure}: {said} (all of it in {log})")


def down(settings: Settings) -> list[str]:
    """End every server of the state folder that runs, also one that a variable has replaced since; their titles."""
    if not (settings.home / "run").exists():
        return []
    with process.exclusive(settings.home), ThreadPoolExecutor(len(SERVERS)) as pool:
        ended = list(pool.map(lambda each: process.stop(settings.home, each.NAME, each.STOP_SIGNAL), SERVERS))
        if any(ended):  # of servers that ended before, nobody knows when
            process.note_down(settings.home)
        return [server.TITLE for server, did in zip(SERVERS, ended, strict=True) if did]


def status(settings: Settings) -> list[Status]:
    """Every server: where it is and what it takes; each that is to run is asked whether it answers."""
    with ThreadPoolExecutor(len(SERVERS)) as pool:
        return list(pool.map(lambda server: _status(settings, server), SERVERS))


def _status(settings: Settings, server: Server) -> Status:
    running = process.find(settings.home, server.NAME)
    record = process.read_record(settings.home, server.NAME)
    if running is None or record is None:
        if server.wanted(settings):
            return Status(server.NAME, "stopped", server.address(settings), login=server.LOGIN)
        said = external.silence(settings, server.NAME)
        return Status(server.NAME, "external", server.address(settings), login=server.LOGIN, silence=said)
    ports = list(record.ports.values())
    address = f"127.0.0.1:{ports[0]}" if ports else server.address(settings)
    resident = sum(_resident(each) for each in (running, *running.children(recursive=True)))
    uptime = time.time() - running.create_time()
    said = _silence(settings.model_copy(update=record.ports), server, running)
    return Status(server.NAME, "running", address, running.pid, resident, uptime, server.LOGIN, said)


def _silence(settings: Settings, server: Server, running: psutil.Process) -> str:
    """Why a server that runs here does not answer, and what to do; empty where it does, or nobody is to ask it."""
    if pid := process.frozen(running):
        return f"expected {server.TITLE} to answer, its process {pid} was stopped by a signal: `kill -CONT {pid}`"
    if not server.ports(settings):
        return guard.silence(settings) if server is guard else watcher.silence(settings)
    try:
        if not server.wanted(settings) or server.ready(settings):
            return ""
    except StackError as error:
        return str(error)
    where = server.address(settings)
    return f"expected {server.TITLE} to answer at {where}, received nothing: `tidemark logs {server.NAME}` says why"


def _resident(each: psutil.Process) -> int:
    """Bytes resident; what processes share is divided among them where the system says so (Linux's `Pss`).

    Every session of Postgres maps its shared buffers: added up for each, they would be more than the machine gives.
    """
    try:
        with each.oneshot():
            return int(getattr(each.memory_full_info(), "pss", 0) or each.memory_info().rss)
    except psutil.AccessDenied:  # a server of another user, as seen by who may not look into it
        return int(each.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0
