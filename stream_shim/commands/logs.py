"""`tidemark logs`: what the lane's processes wrote."""

import click

from tidemark.output import show


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
    from stream_shim.running.logs import list_logs, print_log
    from tidemark.settings import load

    settings = load()
    if name is None:
        show("Logs", list_logs(settings), False, "no log yet")
    else:
        print_log(settings, name, lines, follow)
