"""`tidemark alerts`: which are open, which are over, and whether each channel takes one."""

import json
import uuid
from typing import TYPE_CHECKING, Any

import click

from tidemark.output import json_option, show, visible

if TYPE_CHECKING:
    from watch.channels import Payload


@click.group(invoke_without_command=True)
@json_option
@click.option("--last", default=10, show_default=True, type=click.IntRange(0, 10_000), help="How many that are over.")
@click.pass_context
def alerts(ctx: click.Context, as_json: bool, last: int) -> None:
    """List the alerts that are open, then the last that are over; `test` sends one through every channel.

    \b
    Examples:
      tidemark alerts
      tidemark alerts --json --last 100
      tidemark alerts test

    Exit codes: 0 none is open; 1 one is, or nobody knows as the watcher does not run; 2 wrong configuration.
    """
    if ctx.invoked_subcommand is not None:
        return
    from tidemark.settings import load
    from tidemark.stack import watcher
    from watch.alert import kept
    from watch.history import reading

    settings = load()
    with reading(settings) as history:
        found = [] if history is None else kept(history, last)
    rows = [alert.row() for alert in found]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        show("Alerts", [_shown(row) for row in rows], False, "no alert was ever raised here")
    if silent := watcher.silence(settings):
        click.echo(f"unknown: {silent}", err=True)
    ctx.exit(1 if silent or any(alert.resolved_at is None for alert in found) else 0)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    lacking = ", ".join(f"{channel}{_refusal(row['refused_by'].get(channel))}" for channel in row["not_taken_by"])
    return {
        "state": "open" if row["resolved_at"] is None else "over", "cause": visible(row["cause"]),
        "severity": row["severity"], "since": row["since"], "over": row["resolved_at"], "not_taken_by": lacking,
        "runbook": row["runbook"],
    }  # fmt: skip


def _refusal(refused: dict[str, Any] | None) -> str:
    if refused is None:
        return ""
    return f" ({'not delivered, ' * refused['is_given_up']}refused {refused['times']} times)"


@alerts.command()
@json_option
@click.pass_context
def test(ctx: click.Context, as_json: bool) -> None:
    """Send an alert and its end through every channel, with this shell's settings; say which took them.

    Exit codes: 0 every channel took both; 1 one did not; 2 wrong configuration.
    """
    from tidemark.errors import TidemarkError
    from tidemark.settings import load
    from watch.channels import channels

    settings, sent = load(), test_payloads()
    rows: list[dict[str, Any]] = []
    for channel, send in channels(settings).items():
        said = ""
        try:
            for payload in sent:
                send(settings, payload)
        except TidemarkError as error:
            said = str(error)
        rows.append({"channel": channel, "took_it": not said, "why": said})
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            click.echo(f"{row['channel']}: " + ("took it" if row["took_it"] else visible(row["why"])))
    ctx.exit(0 if all(row["took_it"] for row in rows) else 1)


def test_payloads() -> "list[Payload]":
    """An alert and its end, as the watcher sends them; nothing is wrong, and they say so."""
    import time

    from watch.alert import Alert

    now = time.time()
    alert = Alert(
        uuid.uuid4().hex, "test", "test", "test", "test", "warning", "`tidemark alerts test`: nothing is wrong",
        "", "docs/alerts.md", now, now, now,
    )  # fmt: skip
    return [alert.payload(word) for word in alert.words()]
