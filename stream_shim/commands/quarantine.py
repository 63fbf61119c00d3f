"""`tidemark quarantine`: what people do with records that could not be rows."""

from typing import Any

import click

from tidemark.output import json_option, show


def _wanted(command: Any) -> Any:
    command = click.option("--topic", help="Only of this topic.")(command)
    command = click.option("--reason", help="Only for this reason.")(command)
    return click.option("--identity", help="Only this record: TOPIC:EPOCH:PARTITION:OFFSET.")(command)


@click.group()
def quarantine() -> None:
    """Records that could not be rows: list, show, retry or drop them."""


@quarantine.command("list")
@_wanted
@json_option
def quarantine_list(as_json: bool, **which: str | None) -> None:
    """Count them by topic and reason."""
    from realtime.quarantined import Wanted, summary
    from tidemark.settings import load

    show("Quarantine", summary(load(), Wanted(**which)), as_json, "nothing is in quarantine")


@quarantine.command("show")
@_wanted
@click.option("--limit", default=20, show_default=True, help="How many at most.")
@json_option
def quarantine_show(limit: int, as_json: bool, **which: str | None) -> None:
    """Show the records, with why each could not be a row, and its payload."""
    from realtime.quarantined import Wanted
    from realtime.quarantined import show as show_records
    from tidemark.settings import load

    show("Quarantine", show_records(load(), Wanted(**which), limit), as_json, "nothing is in quarantine")


@quarantine.command()
@_wanted
def retry(**which: str | None) -> None:
    """Try the records again, by the topic mapping as it is now; those that are rows now leave quarantine.

    \b
    Example:
      tidemark quarantine retry --topic market_tick --reason missing_field
    """
    from realtime.quarantined import Wanted
    from stream_shim.repairs.quarantine import retry as retry_records
    from tidemark.settings import load

    rows, stay = retry_records(load(), Wanted(**which))
    click.echo(f"{rows} are rows now, {stay} stay in quarantine")


@quarantine.command()
@_wanted
@click.option("--yes", is_flag=True, help="Do not ask first.")
def drop(yes: bool, **which: str | None) -> None:
    """Give the records up: they count as dropped, and can be retried no more.

    Payload and key are deleted after TIDEMARK_DROPPED_DAYS (30 by default); the identity and the reason stay, for
    the balance.

    \b
    Example:
      tidemark quarantine drop --identity market_tick:1:0:123 --yes
    """
    from realtime.quarantined import Wanted, summary
    from realtime.quarantined import drop as drop_records
    from tidemark.settings import load

    settings, wanted = load(), Wanted(**which)
    if not yes:
        found = sum(row["records"] for row in summary(settings, wanted))
        click.confirm(
            f"{found} records will count as dropped, and can be retried no more; their payloads are deleted after "
            f"{settings.dropped_days} days (TIDEMARK_DROPPED_DAYS). Go on?",
            abort=True,
        )
    click.echo(f"{drop_records(settings, wanted)} are dropped")
