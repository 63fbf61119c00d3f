"""The commands of this room: `tidemark check` and `tidemark catalog`."""

import json

import click

from tidemark.output import json_option, visible


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
@click.pass_context
def check(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Verify the contracts of ingestion, realtime and mart tables.

    NAME is schema.table; without one every contract is verified. The results are kept in the table
    quality.check_result of the warehouse. A table that does not exist yet is named, and fails nothing
    unless it was there before.

    \b
    Examples:
      tidemark check
      tidemark check realtime.market_tick ingestion.ecb__reference_rates
      tidemark check --json | jq '.[] | select(.outcome == "failed")'

    Exit codes: 0 no check failed; 1 one did, and a sentence names table, column and count; 2 an unknown NAME.
    """
    from dataclasses import asdict

    from catalog.check import failures, run, sentence
    from catalog.report import print_results, progress
    from tidemark.settings import load

    if as_json:
        results = run(load(), names)
        click.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        with progress("contracts") as step:
            results = run(load(), names, step)
        print_results(results)
    failed = failures(results)
    for result in failed:
        click.echo(f"tidemark: {visible(sentence(result))}", err=True)
    context.exit(1 if failed else 0)


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
