"""`tidemark doctor`, and `tidemark status`, which reads what the watcher saw."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

import click

from tidemark.output import PIPED_WIDTH, json_option, utc, visible

if TYPE_CHECKING:
    from watch.observation import Observation
    from watch.status_file import Status

STYLES = {"failing": "bold red", "unknown": "bold magenta", "warning": "yellow", "waiting": "cyan", "ok": "green"}
INDENT = "    "


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show each server: state, address, pid, resident memory, uptime, and how a person logs in; then how all else is.

    Each server is asked whether it answers, one that a variable names too. How all else is the watcher saw last,
    every few seconds; what it has not seen is unknown. --json has the servers alone, and `run/status.json` of the
    state folder the rest.

    Exit codes: 0 every server answers; 1 one does not run, or does not answer; 2 wrong configuration.
    """
    from tidemark.settings import load
    from tidemark.stack import guard, local, watcher
    from tidemark.stack.commands import print_status
    from watch.status_file import read_status

    settings = load()
    found = local.status(settings)
    if as_json:
        click.echo(json.dumps([asdict(server) for server in found], indent=2))
    else:
        print_status(found)
        for sentence in guard.shortfalls(settings):
            click.echo(sentence)
        _print_seen(read_status(settings), watcher.silence(settings))
    ctx.exit(1 if any(server.state == "stopped" or server.silence for server in found) else 0)


def _print_seen(seen: "Status", silence: str) -> None:
    if why := silence or seen.unknown:
        click.echo(f"unknown: {why}")
        return
    assert seen.observed_at is not None
    counts = ", ".join(f"{seen.summary[state]} {state}" for state in list(STYLES)[:4] if seen.summary[state])
    age = f"seen {(datetime.now(UTC) - seen.observed_at).total_seconds():.0f} s ago"
    said = f"{counts}; `tidemark doctor` says what and why" if counts else "nothing is wrong"
    click.echo(f"{len(seen.observations)} conditions, {age}: {said}")
    for alert in seen.alerts:
        click.echo(f"{alert['severity']}: {visible(alert['cause'])}, since {alert['since']} ({alert['runbook']})")


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Look at everything from outside; say, worst first, what is wrong, since when, and what mends it.

    It writes nothing and needs no server: what does not answer within 10 s is unknown, never well. --json has
    all that was looked at, what is well too.

    \b
    Examples:
      tidemark doctor
      tidemark doctor --json | jq '.[] | select(.state != "ok")'

    What waits for a setting is named, and nothing wrong.

    Exit codes: 0 nothing is wrong, or only warnings; 1 something fails, or is unknown; 2 wrong configuration.
    """
    from tidemark.settings import load
    from watch.observations import observe

    found = observe(load())
    wrong = [one for one in found if one.state != "ok"]
    if as_json:
        click.echo(json.dumps([one.row() for one in found], indent=2))
    else:
        _print(wrong, found)
    ctx.exit(1 if any(one.state in ("failing", "unknown") for one in wrong) else 0)


def _print(wrong: "Sequence[Observation]", found: "Sequence[Observation]") -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH
    for (state, *_), alike in groupby(wrong, lambda one: (one.state, one.sentence, one.since, one.mend)):
        together = list(alike)  # what is unknown for one reason is one paragraph
        first, *others = _wrap("; ".join(one.title for one in together), width, " " * 9).splitlines()
        console.print(Text(f"{state:8}", STYLES[state]), Text(first.strip(), "bold"), soft_wrap=True)
        for line in [*others, *_lines(together[0], width)]:
            console.print(Text(line), soft_wrap=True)
    console.print(Text(_wrap(_summary(wrong, found), width, "")), soft_wrap=True)


def _lines(one: "Observation", width: int) -> Iterator[str]:
    yield _wrap(one.sentence, width)
    if one.since is not None:
        yield _wrap(f"since {utc(one.since)} ({_age(one.since)})", width)
    if one.mend:
        yield _wrap(f"→ {one.mend}", width)


def _wrap(text: str, width: int, indent: str = INDENT) -> str:
    """Lines of at most that width, but for a word that is longer: an identity, a path or a command is never cut."""
    lines = textwrap.wrap(
        visible(text), width, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(lines)


def _age(since: datetime) -> str:
    seconds = max(0, (datetime.now(UTC) - since).total_seconds())
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _summary(wrong: "Sequence[Observation]", found: "Sequence[Observation]") -> str:
    kinds = ", ".join(dict.fromkeys(one.kind for one in found))
    looked = f"{len(found)} conditions were looked at ({kinds})"
    if all(one.state == "waiting" for one in wrong):
        return f"nothing is wrong: {looked}"
    counts = ", ".join(f"{sum(one.state == state for one in wrong)} {state}" for state in list(STYLES)[:4])
    return f"{looked}: {counts}"
