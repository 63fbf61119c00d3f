"""`tidemark stream ..`: the lane's commands."""

import click


@click.group()
def stream() -> None:
    """Run the streaming lane: connectors → topics → processor → destinations."""


@stream.command()
def run() -> None:
    """Run all that sources.yml and destinations.yml name, a process each, until SIGTERM or Ctrl-C.

    \b
    Example:
      tidemark stream run
    """
    import signal
    import threading

    from stream_shim.runner import start_log
    from stream_shim.supervisor import Supervisor
    from tidemark.settings import load

    settings = load()
    start_log(settings, "stream")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Supervisor(settings).run(stop)


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
