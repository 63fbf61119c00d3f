"""`tidemark sources`: list, check, add and remove entries of sources.yml."""

from typing import Any

import click

from tidemark.output import json_option, show, visible


@click.group()
def sources() -> None:
    """List, check, add and remove streaming sources: entries of sources.yml."""


@sources.command("list")
@json_option
def sources_list(as_json: bool) -> None:
    """List the sources: the state of each, its rate during the last minute, and what it has sent."""
    from stream_shim.commands.sources_file import list_sources
    from tidemark.settings import load

    show("Sources", list_sources(load()), as_json, "no source: `tidemark sources add` adds one")


@sources.command()
@click.argument("name")
@click.option("--records", default=5, show_default=True, help="How many records to show.")
@click.option("--seconds", default=30.0, show_default=True, help="How long to wait for them.")
@json_option
def check(name: str, records: int, seconds: float, as_json: bool) -> None:
    """Connect to the source NAME and print its first records as the topic would get them; write nothing.

    Every message that would not become a row is printed with its reason, and makes the exit code 1. A record whose
    value is empty is counted alone.

    \b
    Example:
      tidemark sources check binance
    """
    import json
    import tempfile
    from pathlib import Path

    from stream_shim.commands.preview import preview
    from stream_shim.connectors import check_in
    from stream_shim.connectors.entries import read_sources
    from tidemark.errors import ConfigurationError, SourceError
    from tidemark.settings import load

    settings = load()
    found = read_sources(settings.sources_file)
    if name not in found:
        raise ConfigurationError(
            f"expected a source of {settings.sources_file} ({', '.join(found)}), received {name!r}"
        )
    check_in(found[name], settings.sources_file)
    with tempfile.TemporaryDirectory() as home:
        shown = preview(settings, found[name], records, seconds, Path(home))
    for part, why in shown.degraded.items():
        click.echo(f"{part} gives nothing: {why}", err=True)
    rejected = [{"rejected": one["reason"], "raw": one["raw"]} for one in shown.rejects]
    if as_json:
        show("", [*shown.rows, *rejected], True, "")
    else:
        for one in [*shown.rows, *rejected]:
            click.echo(visible(json.dumps(one, ensure_ascii=False)))
    if shown.without_value:
        click.echo(f"{shown.without_value} records have no value, and would not be sent", err=True)
    if shown.refused or not shown.taken:
        raise SourceError(
            f"{name}: expected every message to become a row, received {shown.taken} that would and "
            f"{shown.refused} that would not"
        )


@sources.command()
@click.argument("name")
@click.option("--limit", default=20, show_default=True, help="How many of the newest.")
@json_option
def rejects(name: str, limit: int, as_json: bool) -> None:
    """Print the messages of the source NAME that were no records: each whole, with its reason.

    \b
    Example:
      tidemark sources rejects fred --limit 1
    """
    from stream_shim.commands.sources_file import list_rejects
    from tidemark.settings import load

    found = list_rejects(load(), name, limit)
    if as_json or not found:
        show("", found, as_json, f"no message of {name} was rejected")
    for one in [] if as_json else found:
        click.echo(visible(f"{one['rejected_at'] or ''} {one['reason']}: {one['raw']}".lstrip()))


@sources.command()
@click.argument("name")
@click.argument("entry", type=click.File("rb"), default="-")
def add(name: str, entry: Any) -> None:
    """Add the source NAME: its ENTRY is YAML from a file, or from standard input. A running lane takes it up.

    \b
    Example:
      echo '{kind: ccxt, exchange: kraken, trades: [BTC/USD]}' | tidemark sources add kraken
    """
    from stream_shim.commands.sources_file import add_source
    from tidemark.settings import load

    add_source(load(), name, entry.read())
    click.echo(f"{name} is added; `tidemark sources check {name}` tries it")


@sources.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the source NAME. What it sent stays; a running lane ends its process.

    \b
    Example:
      tidemark sources remove kraken
    """
    from stream_shim.commands.sources_file import remove_source
    from tidemark.settings import load

    remove_source(load(), name)
    click.echo(f"{name} is removed; what it sent stays")
