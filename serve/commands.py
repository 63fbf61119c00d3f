"""`tidemark serve`."""

import click


@click.command()
def serve() -> None:
    """Serve the read API on loopback until Ctrl-C, in the foreground. `tidemark up` runs it too.

    \b
    Example:
      TIDEMARK_API_PORT=28080 tidemark serve
    """
    from serve.__main__ import run
    from tidemark.settings import load

    run(load())
