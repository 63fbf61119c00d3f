"""The command of this room: `tidemark catalog`."""

import click


@click.group()
def catalog() -> None:
    """Publish what is in the databases, in dbt and in the buffer to people: OpenMetadata, or static pages."""


@catalog.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def publish(names: tuple[str, ...]) -> None:
    """Run the OpenMetadata workflows against the server that TIDEMARK_OPENMETADATA_URL names.

    NAME is a file of catalog/openmetadata without its ending; without one all run, in their order.

    \b
    Examples:
      export TIDEMARK_OPENMETADATA_URL=http://127.0.0.1:8585/api TIDEMARK_OPENMETADATA_TOKEN=eyJraWQ..
      tidemark catalog publish
      tidemark catalog publish postgres_warehouse dbt_warehouse

    Exit codes: 0 published; 1 a workflow failed or the server does not answer; 2 no server is named.
    """
    from catalog.publish import publish as run
    from catalog.report import progress
    from tidemark.settings import load

    settings = load()
    with progress("workflows") as step:
        done = run(settings, names, step)
    click.echo(f"published {', '.join(done)} to {settings.openmetadata_url}")


@catalog.command()
def docs() -> None:
    """Build dbt's pages of both databases as one static file, and name it.

    To build it takes both databases, to look at it no server.

    \b
    Example:
      tidemark catalog docs
    """
    from tidemark.dbt import build_docs
    from tidemark.settings import load

    click.echo(str(build_docs(load())))
