"""`tidemark incident` and `tidemark maintenance`: what people say on the status page."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from tidemark.output import json_option, show, visible

DAYS = 90.0  # that a list goes back


class Moment(click.ParamType):
    """A time of ISO 8601, UTC where it names no offset; seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"expected a time such as 2026-08-08T18:00Z, received {visible(str(value))!r}", param, ctx)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _print(as_json: bool, title: str, rows: Sequence[dict[str, Any]], empty: str) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        show(title, [{key: _cell(value) for key, value in row.items()} for row in rows], False, empty)


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return f"{value[-1]['at']} {visible(value[-1]['text'])}" if value else ""
    return visible(value) if isinstance(value, str) else value


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def incident(ctx: click.Context, as_json: bool) -> None:
    """List the incidents of the last 90 days with what was said last of each; `say` adds to one.

    \b
    Examples:
      tidemark incident
      tidemark incident --json | jq '.[] | select(.state == "open")'
    """
    if ctx.invoked_subcommand is not None:
        return
    from tidemark.settings import load
    from watch.announcements import incidents
    from watch.history import reading

    with reading(load()) as kept:
        found = [] if kept is None else incidents(kept, time.time() - DAYS * 86_400)
    _print(as_json, "Incidents", [each.row() for each in found], "no incident was said")


@incident.command()
@click.argument("text")
@click.option("--incident", "number", type=int, help="Which one, by its number; else the only one that goes on.")
@click.option("--open", "title", help="Begin an incident of that title.")
@click.option("--resolve", is_flag=True, help="It is over with this.")
@json_option
def say(text: str, number: int | None, title: str | None, resolve: bool, as_json: bool) -> None:
    """Say TEXT of an incident on the status page and in its feed.

    \b
    Examples:
      tidemark incident say "Prices of one venue are late; we look." --open "A venue is silent"
      tidemark incident say "It sends again, the hole is filled." --resolve

    Exit codes: 0 it was said; 1 it could not be kept; 2 no such incident, or no text.
    """
    from tidemark.settings import load
    from watch import announcements

    if number is not None and title is not None:
        raise click.UsageError("expected --incident or --open, received both")
    found = announcements.say(load(), text, time.time(), incident=number, title=title, resolve=resolve)
    row = found.row()
    click.echo(json.dumps(row, indent=2) if as_json else f"incident {found.id}, {row['state']}: {visible(found.title)}")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def maintenance(ctx: click.Context, as_json: bool) -> None:
    """List the maintenance that is planned, under way, or was within 90 days; `plan` adds one.

    \b
    Example:
      tidemark maintenance --json
    """
    if ctx.invoked_subcommand is not None:
        return
    from tidemark.settings import load
    from watch.announcements import maintenances
    from watch.history import reading

    now = time.time()
    with reading(load()) as kept:
        found = [] if kept is None else maintenances(kept, now - DAYS * 86_400)
    _print(as_json, "Maintenance", [each.row(now) for each in found], "no maintenance is planned")


@maintenance.command()
@click.argument("start", type=Moment())
@click.argument("end", type=Moment())
@click.argument("text")
@json_option
def plan(start: float, end: float, text: str, as_json: bool) -> None:
    """Say on the status page that from START to END something is done on purpose. Times are UTC unless they say else.

    \b
    Example:
      tidemark maintenance plan 2026-08-08T18:00 2026-08-08T19:00 "The host gets more memory; nothing is lost."

    Exit codes: 0 it is planned; 1 it could not be kept; 2 no such time, or an end before the start.
    """
    from tidemark.settings import load
    from watch import announcements

    now = time.time()
    row = announcements.plan(load(), start, end, text, now).row(now)
    said = f"maintenance {row['maintenance']}, {row['state']}: {row['begins_at']} to {row['ends_at']}"
    click.echo(json.dumps(row, indent=2) if as_json else said)


@maintenance.command()
@click.argument("number", type=int)
def cancel(number: int) -> None:
    """Take a window off the status page, by its number."""
    from tidemark.settings import load
    from watch import announcements

    announcements.cancel(load(), number)
    click.echo(f"maintenance {number} is planned no more")
