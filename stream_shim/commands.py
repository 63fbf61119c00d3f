"""`tidemark stream`, `sources`, `quarantine` and `logs`: the lane's commands."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from tidemark import output

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def _until_signal(run: Callable[[Any], None]) -> None:
    import signal
    import threading

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(stop)


@click.group()
def stream() -> None:
    """Run the streaming lane: connectors → topics → processor → destinations."""


@stream.command()
def run() -> None:
    """Run all that sources.yml and destinations.yml name, a process each, until SIGTERM or Ctrl-C.

    \b
    Metrics are at http://127.0.0.1:19400/metrics (TIDEMARK_METRICS_PORT), logs by `tidemark logs`.
    Example:
      tidemark stream run
    """
    from stream_shim.metrics import serve
    from stream_shim.runner import refuse_live_sources_in_a_replay, start_log
    from stream_shim.supervisor import Supervisor
    from tidemark.settings import load

    settings = load()
    refuse_live_sources_in_a_replay(settings)
    start_log(settings, "stream")
    server = serve(settings)
    try:
        _until_signal(Supervisor(settings).run)
    finally:
        server.shutdown()


@stream.command()
@click.argument("name")
def connector(name: str) -> None:
    """Run the source NAME of sources.yml until SIGTERM.

    \b
    Example:
      tidemark stream connector binance
    """
    from stream_shim.runner import run_connector
    from tidemark.settings import load

    run_connector(load(), name)


@stream.command()
@click.argument("destination", default="realtime")
def processor(destination: str) -> None:
    """Run the processor of one DESTINATION of destinations.yml (realtime by default) until SIGTERM.

    \b
    Example:
      tidemark stream processor realtime
    """
    from stream_shim.runner import run_processor
    from tidemark.settings import load

    run_processor(load(), destination)


@stream.command()
@click.argument("topic")
@click.option("--yes", is_flag=True, help="Open the next epoch; without it, only show what that means.")
@as_json
def epoch(topic: str, yes: bool, as_json: bool) -> None:
    """Show what the next log epoch of TOPIC means for each partition, and open it with --yes.

    For a topic that was made again, or a log that was cut short or expired unread: the processor says so and stops.

    \b
    Examples:
      tidemark stream epoch market_tick
      tidemark stream epoch market_tick --yes
    """
    from stream_shim.next_epoch import next_epoch
    from stream_shim.topics import reachable_kafka
    from tidemark.settings import load

    settings = load()
    with reachable_kafka(settings):
        opened, steps = next_epoch(settings, topic, yes)
    rows = [{**step._asdict(), "lost": step.lost} for step in steps]
    output.show("What the next epoch means", rows, as_json, "no partition was read yet")
    if not as_json:
        click.echo(f"epoch {opened} of {topic} is open" if opened else "nothing was changed: --yes opens the epoch")


@stream.command()
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--topic", "topics", multiple=True, help="Only this topic; may be given more than once.")
@as_json
def rebuild(day: datetime, topics: tuple[str, ...], as_json: bool) -> None:
    """Fill DAY of realtime again from the buffer: the same records, the same identities.

    \b
    Example:
      tidemark stream rebuild 2024-08-09 --topic market_tick
    """
    from stream_shim.rebuild import rebuild_day
    from stream_shim.topics import reachable_kafka
    from tidemark.categories import CATEGORIES
    from tidemark.settings import load

    settings = load()
    with reachable_kafka(settings):
        rows = [report for topic in topics or CATEGORIES for report in rebuild_day(settings, topic, day.date())]
    output.show("Rebuilt", rows, as_json, "no partition was read yet")


@stream.command()
@click.argument("destination")
@click.confirmation_option(prompt="The destination will begin anew. Go on?")
def forget(destination: str) -> None:
    """Delete the offsets of a DESTINATION that was removed: if it is added again, it begins at the log's start.

    realtime keeps its offsets with its rows, and is not forgotten this way.

    \b
    Example:
      tidemark stream forget archive --yes
    """
    from stream_shim.topics import forget_group, reachable_kafka
    from tidemark.settings import load

    settings = load()
    with reachable_kafka(settings):
        forget_group(settings, destination)
    click.echo(f"the offsets of {destination} are gone")


@click.group()
def sources() -> None:
    """List, check, add and remove streaming sources: entries of sources.yml."""


@sources.command("list")
@as_json
def sources_list(as_json: bool) -> None:
    """List the sources, and what each has sent."""
    from stream_shim.sources import list_sources
    from tidemark.settings import load

    output.show("Sources", list_sources(load()), as_json, "no source: `tidemark sources add` adds one")


@sources.command()
@click.argument("name")
@click.option("--records", default=5, show_default=True, help="How many records to show.")
@click.option("--seconds", default=30.0, show_default=True, help="How long to wait for them.")
@as_json
def check(name: str, records: int, seconds: float, as_json: bool) -> None:
    """Connect to the source NAME and print its first records as the topic would get them; write nothing.

    \b
    Example:
      tidemark sources check binance
    """
    import tempfile
    from pathlib import Path

    from stream_shim.config import read_sources
    from stream_shim.sources import preview
    from tidemark.errors import ConfigurationError, SourceError
    from tidemark.settings import load

    settings = load()
    found = read_sources(settings.sources_file)
    if name not in found:
        raise ConfigurationError(
            f"expected a source of {settings.sources_file} ({', '.join(found)}), received {name!r}"
        )
    with tempfile.TemporaryDirectory() as home:
        shown = preview(settings, found[name], records, seconds, Path(home))
    if not shown.data:
        raise SourceError(
            f"{name}: expected a record, received none; messages that were no datum: {dict(shown.rejected)}"
        )
    rows = [{"topic": d.topic, **d.fields, "attributes": d.attributes} for d in shown.data]
    if as_json:
        output.show("", rows, True, "")
    for row in () if as_json else rows:
        click.echo(row)


@sources.command()
@click.argument("name")
@click.argument("entry", type=click.File("r"), default="-")
def add(name: str, entry: Any) -> None:
    """Add the source NAME: its ENTRY is YAML from a file, or from standard input. A running lane takes it up.

    \b
    Example:
      echo '{kind: ccxt, exchange: kraken, trades: [BTC/USD]}' | tidemark sources add kraken
    """
    from stream_shim.sources import add_source
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
    from stream_shim.sources import remove_source
    from tidemark.settings import load

    remove_source(load(), name)
    click.echo(f"{name} is removed; what it sent stays")


def _wanted(command: Any) -> Any:
    command = click.option("--topic", help="Only of this topic.")(command)
    command = click.option("--reason", help="Only for this reason.")(command)
    return click.option("--identity", help="Only this record: TOPIC:EPOCH:PARTITION:OFFSET.")(command)


@click.group()
def quarantine() -> None:
    """Records that could not be rows: list, show, retry or drop them."""


@quarantine.command("list")
@_wanted
@as_json
def quarantine_list(as_json: bool, **which: str | None) -> None:
    """Count them by topic and reason."""
    from stream_shim.quarantine import Wanted, summary
    from tidemark.settings import load

    output.show("Quarantine", summary(load(), Wanted(**which)), as_json, "nothing is in quarantine")


@quarantine.command()
@_wanted
@click.option("--limit", default=20, show_default=True, help="How many at most.")
@as_json
def show(limit: int, as_json: bool, **which: str | None) -> None:
    """Show the records, with why each could not be a row, and its payload."""
    from stream_shim.quarantine import Wanted
    from stream_shim.quarantine import show as show_records
    from tidemark.settings import load

    output.show("Quarantine", show_records(load(), Wanted(**which), limit), as_json, "nothing is in quarantine")


@quarantine.command()
@_wanted
def retry(**which: str | None) -> None:
    """Try the records again, by the topic mapping as it is now; those that are rows now leave quarantine.

    \b
    Example:
      tidemark quarantine retry --topic market_tick --reason missing_field
    """
    from stream_shim.quarantine import Wanted
    from stream_shim.quarantine import retry as retry_records
    from tidemark.settings import load

    rows, stay = retry_records(load(), Wanted(**which))
    click.echo(f"{rows} are rows now, {stay} stay in quarantine")


@quarantine.command()
@_wanted
@click.confirmation_option(prompt="These records will count as dropped. Go on?")
def drop(**which: str | None) -> None:
    """Give the records up: they are kept, and count as dropped.

    \b
    Example:
      tidemark quarantine drop --identity market_tick:1:0:123 --yes
    """
    from stream_shim.quarantine import Wanted
    from stream_shim.quarantine import drop as drop_records
    from tidemark.settings import load

    click.echo(f"{drop_records(load(), Wanted(**which))} are dropped")


@click.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is written, until Ctrl-C.")
@click.option("-n", "--lines", default=50, show_default=True, help="How many of the last lines.")
def logs(name: str | None, follow: bool, lines: int) -> None:
    """Print the log NAME of the state folder; without a NAME, list the logs.

    \b
    Example:
      tidemark logs processor-realtime -f
    """
    from stream_shim.logs import list_logs, print_log
    from tidemark.settings import load

    settings = load()
    if name is None:
        output.show("Logs", list_logs(settings), False, "no log yet")
    else:
        print_log(settings, name, lines, follow)
