"""`tidemark up`, `down`, `env`."""

import json
import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from tidemark.output import json_option, print_table

if TYPE_CHECKING:
    from tidemark.dbt.tables import Outgrown
    from tidemark.settings import Settings
    from tidemark.stack.local import Status


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@click.command()
@click.option(
    "--stay",
    is_flag=True,
    help="Until SIGTERM: start again what ends, or gives no answer for 60 s; then end all, as a service does.",
)
def up(stay: bool) -> None:
    """Start the local stack, and set up databases, roles, tables and views. Running it again changes nothing.

    A server that a variable names (TIDEMARK_REALTIME_URL, TIDEMARK_WAREHOUSE_URL, TIDEMARK_KAFKA_BOOTSTRAP,
    TIDEMARK_PREFECT_URL, TIDEMARK_LAKE_URL) is used instead of a local one.

    \b
    Examples:
      tidemark up
      TIDEMARK_HOME=~/market TIDEMARK_POSTGRES_PORT=25432 tidemark up
    """
    from tidemark.settings import load
    from tidemark.stack import guard, local

    settings = load()
    signal.signal(signal.SIGTERM, _interrupt)  # ends what was started, as Ctrl-C does
    changed, old_tables = _start(settings)
    for sentence in changed:
        click.echo(sentence)
    for table in old_tables:
        click.echo(f"warehouse: {table}", err=True)
    if len(old_tables) > 1:
        click.echo("warehouse: `tidemark models rebuild` builds all of them", err=True)
    print_status(local.status(settings))
    for sentence in guard.shortfalls(settings):
        click.echo(sentence)
    if stay:
        _stay(settings)


def _start(settings: "Settings") -> "tuple[list[str], list[Outgrown]]":
    """Everything, with what it does shown meanwhile; what it changed, and the marts that are to be rebuilt."""
    from rich.console import Console

    from tidemark import dbt
    from tidemark.connections import DATABASES
    from tidemark.dbt.tables import outgrown
    from tidemark.stack import local

    doing: dict[str, str] = {}
    with Console(stderr=True).status("starting") as line:

        def report(server: str, what: str) -> None:
            doing[server] = what
            line.update(", ".join(f"{name}: {state}" for name, state in doing.items()))
            if server in DATABASES and not line.console.is_terminal:  # a log has no line to write over
                click.echo(f"{server}: {what}", err=True)

        changed = local.up(settings, report)
        report("schema live", "its views")
        dbt.ensure_live(settings)
        report("marts", "their columns")
        return changed, outgrown(settings)


def _stay(settings: "Settings") -> None:
    """Until SIGTERM or Ctrl-C; systemd, where it started this, is told that the stack is up."""
    import threading

    from tidemark.service.notify import notify
    from tidemark.stack import local, process, staying

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with process.keeping(settings.home):
        notify("READY=1")
        staying.stay(settings, stop, lambda sentence: click.echo(sentence, err=True))
        notify("STOPPING=1")
        local.down(settings)


@click.command()
def down() -> None:
    """End the local servers; what they hold stays in the state folder."""
    from tidemark.errors import StackError
    from tidemark.settings import load
    from tidemark.stack import local, process

    settings = load()
    if (keeper := process.keeper(settings.home)) is not None:
        raise StackError(
            f"expected nobody to keep the servers of {settings.home} running, process {keeper} (`tidemark up --stay`) "
            "does and would start them again: end it, or stop its service (`systemctl --user stop tidemark.target`; of "
            "--system `sudo systemctl stop tidemark.target`; installed with --name, NAME.target)"
        )
    ended = local.down(settings)
    click.echo(f"ended {', '.join(ended)}" if ended else "nothing ran")


def print_status(found: "list[Status]") -> None:
    """The servers as a table, then which of them does not answer, and how a person logs in."""
    rows: list[dict[str, Any]] = [
        {
            "name": server.name,
            "state": f"{server.state}, does not answer" if server.silence else server.state,
            "address": server.address,
            "pid": None if server.pid is None else str(server.pid),
            "resident_MB": None if server.resident_bytes is None else round(server.resident_bytes / 1e6),
            "uptime_s": None if server.uptime_seconds is None else round(server.uptime_seconds),
        }
        for server in found
    ]
    everything = round(sum(server.resident_bytes or 0 for server in found) / 1e6)
    print_table("Servers", [*rows, dict.fromkeys(rows[0]) | {"name": "all", "resident_MB": everything}])
    for server in found:
        if server.silence:
            click.echo(f"{server.name}: {server.silence}")
        if server.login:
            click.echo(f"{server.name}: {server.login}")


@click.command()
@json_option
@click.option(
    "--role",
    default=None,
    metavar="NAME",
    help="Only PG* of this role; with --json: whose DSNs (default: owner).",
)
def env(as_json: bool, role: str | None) -> None:
    """Print what psql, dbt and BI tools need to find the servers, as lines for a shell.

    PG* are the BI reader's on the warehouse, DBT_* the transformer's. PREFECT_API_AUTH_STRING is what Prefect's UI
    asks for, and lets who has it run code as you. The lines hold passwords.

    \b
    Examples:
      eval "$(tidemark env)"
      tidemark env --role bi_reader
      tidemark env --json --role stream_writer
    """
    from tidemark.credentials import OWNER
    from tidemark.settings import load
    from tidemark.stack import environment

    settings = load()
    if as_json:
        click.echo(json.dumps(environment.addresses(settings, role or OWNER), indent=2))
    elif role is not None:
        click.echo(environment.shell_of_role(settings, role))
    else:
        click.echo(environment.shell(settings))
