"""`tidemark stream`: run the lane, or one process of it, and mend what it left."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from tidemark.output import json_option, show

if TYPE_CHECKING:
    from tidemark.settings import Settings


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
    from stream_shim.claims import claim_lane
    from stream_shim.running.runner import refuse_live_sources_in_a_replay
    from tidemark.settings import load

    settings = load()
    refuse_live_sources_in_a_replay(settings)
    held = claim_lane(settings)
    with held:
        _run(settings)


def _run(settings: "Settings") -> None:
    from stream_shim.buffer.entries import read_topics
    from stream_shim.buffer.topics import MANAGER, ensure_topics
    from stream_shim.claims import end_orphans
    from stream_shim.running.ending import CUT_OFF, SUPERVISOR_SECONDS, leave, stop_on_signal
    from stream_shim.running.log_file import start_log
    from stream_shim.running.metrics import serve
    from stream_shim.running.supervisor import Supervisor
    from tidemark.kafka import reachable_kafka

    supervisor = Supervisor(settings)  # which reads the files: a wrong one is refused before anything is asked
    with reachable_kafka(settings, MANAGER):  # before anything is started; what goes away later is waited for
        ensure_topics(settings, read_topics(settings.topics_file))
    _require_database(settings)
    start_log(settings, "stream")
    end_orphans(settings)
    click.echo(
        f"the lane runs, until Ctrl-C; metrics: http://127.0.0.1:{settings.metrics_port}/metrics; logs: `tidemark logs`"
    )
    serve(settings)  # for as long as the process lasts
    supervisor.run(stop_on_signal(SUPERVISOR_SECONDS))
    if supervisor.hung:
        hung = ", ".join(supervisor.hung)
        click.echo(
            f"expected all to end well within 5 s, {hung} did not; `tidemark logs` says in what it hung", err=True
        )
    leave(CUT_OFF if supervisor.hung else 0)


def _require_database(settings: "Settings") -> None:
    """StackError where nobody has set the database up; one that takes nobody now is waited for by its processor."""
    from stream_shim.destinations.entries import read_destinations
    from tidemark.connections import connect
    from tidemark.errors import StackError
    from tidemark.refusals import what_to_do

    if not any(entry.kind == "postgres" for entry in read_destinations(settings.destinations_file).values()):
        return
    try:
        connect(settings, "realtime", "stream_writer").close()
    except StackError as error:
        if not what_to_do(str(error)):
            raise
        click.echo(f"tidemark: {error}; connectors run meanwhile, and the processor waits", err=True)


@stream.command()
@click.argument("name")
def connector(name: str) -> None:
    """Run the source NAME of sources.yml until SIGTERM.

    \b
    Example:
      tidemark stream connector binance
    """
    from stream_shim.running.ending import leave
    from stream_shim.running.runner import run_connector
    from tidemark.settings import load

    run_connector(load(), name)
    leave()


@stream.command()
@click.argument("destination", default="realtime")
def processor(destination: str) -> None:
    """Run the processor of one DESTINATION of destinations.yml (realtime by default) until SIGTERM.

    \b
    Example:
      tidemark stream processor realtime
    """
    from stream_shim.running.ending import leave
    from stream_shim.running.runner import run_processor
    from tidemark.settings import load

    run_processor(load(), destination)
    leave()


@stream.command()
@click.argument("topic")
@click.option("--yes", is_flag=True, help="Open the next epoch; without it, only show what that means.")
@json_option
def epoch(topic: str, yes: bool, as_json: bool) -> None:
    """Show what the next log epoch of TOPIC means for each partition, and open it with --yes.

    For a topic that was made again, or a log that was cut short or expired unread: the processor says so and stops.

    \b
    Examples:
      tidemark stream epoch market_tick
      tidemark stream epoch market_tick --yes
    """
    from stream_shim.repairs.next_epoch import next_epoch
    from stream_shim.repairs.rebuild import REPAIRER
    from tidemark.kafka import reachable_kafka
    from tidemark.settings import load

    settings = load()
    with reachable_kafka(settings, REPAIRER):
        opened, steps = next_epoch(settings, topic, yes)
    rows = [{**step._asdict(), "lost": step.lost} for step in steps]
    show("What the next epoch means", rows, as_json, "no partition was read yet")
    if not as_json:
        click.echo(f"epoch {opened} of {topic} is open" if opened else "nothing was changed: --yes opens the epoch")


@stream.command()
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY")
@click.option("--topic", "topics", multiple=True, help="Only this topic; may be given more than once.")
@json_option
def rebuild(day: datetime, topics: tuple[str, ...], as_json: bool) -> None:
    """Fill DAY of realtime again from the buffer: the same records, the same identities.

    \b
    Example:
      tidemark stream rebuild 2024-08-09 --topic market_tick
    """
    from stream_shim.repairs.rebuild import REPAIRER, rebuild_day
    from tidemark.categories import CATEGORIES
    from tidemark.errors import TidemarkError
    from tidemark.kafka import reachable_kafka
    from tidemark.settings import load

    settings = load()
    with reachable_kafka(settings, REPAIRER):
        rows = [report for topic in topics or CATEGORIES for report in rebuild_day(settings, topic, day.date())]
    show("Rebuilt", rows, as_json, "no partition was read yet")
    if not any(row["rows_before"] or row["rows_now"] for row in rows):
        raise TidemarkError(
            f"expected a day whose records the buffer holds, received {day.date()}: nothing was changed"
        )


@stream.command()
@click.argument("destination")
@click.confirmation_option(prompt="The destination will begin anew. Go on?")
def forget(destination: str) -> None:
    """Delete the offsets of a DESTINATION that was removed: if it is added again, it begins at the log's start.

    One of kind postgres keeps its offsets with its rows, and is not forgotten this way.

    \b
    Example:
      tidemark stream forget archive --yes
    """
    from stream_shim.buffer.topics import MANAGER, forget_group
    from stream_shim.destinations.entries import read_destinations
    from tidemark.errors import ConfigurationError
    from tidemark.kafka import reachable_kafka
    from tidemark.settings import load

    settings = load()
    entry = read_destinations(settings.destinations_file).get(destination)
    if entry is not None and entry.kind == "postgres":
        raise ConfigurationError(
            f"expected a destination of kind lake or kafka: {destination} keeps its offsets with its rows"
        )
    with reachable_kafka(settings, MANAGER):
        forget_group(settings, destination)
    click.echo(f"the offsets of {destination} are gone")
