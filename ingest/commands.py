"""`tidemark ingest`: run, list and rebuild the batch sources."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ingest import sources
from tidemark.output import json_option, print_table, show

if TYPE_CHECKING:
    from ingest.pipeline import IngestReport


@click.group()
def ingest() -> None:
    """Batch sources: source, lake, ingestion tables.

    \b
    Examples:
      tidemark ingest list
      tidemark ingest run ecb
      tidemark ingest status          the lake files that could not be loaded, and why
      tidemark ingest rebuild ecb     the tables again, from the lake alone
    """


@ingest.command("list")
@json_option
def list_sources(as_json: bool) -> None:
    """List the batch sources, their ingestion tables and categories."""
    found = [
        {"source": name, "resource": resource.name, "category": resource.category}
        for name in sources.names()
        for resource in sources.resources(name)
    ]
    show("Batch sources", found, as_json, "no batch source")


@ingest.command()
@json_option
def status(as_json: bool) -> None:
    """Show the lake files that could not be loaded and were set aside, with the reason of each; times UTC.

    The next run of the source tries each again. Exit code 1 where there is one.
    """
    from ingest import set_aside
    from tidemark import settings

    found = set_aside.noted(settings.load())
    show("Set aside", found, as_json, "no lake file is set aside")
    if found:
        raise click.exceptions.Exit(1)


@ingest.command()
@click.argument("name", type=click.Choice(sources.names()))
@json_option
def run(name: str, as_json: bool) -> None:
    """Ask a source, store what is new in the lake, and load it into its ingestion tables.

    \b
    Example:
      tidemark ingest run ecb --json
    """
    from rich.console import Console

    from ingest import pipeline
    from tidemark import settings

    with Console(stderr=True).status(f"{name}: asking") as status:
        report = pipeline.run(
            settings.load(), name, lambda resource, rows: status.update(f"{name}: {resource}, {rows:,} rows")
        )
    _print_report(report, as_json)


@ingest.command()
@click.argument("name", type=click.Choice(sources.names()))
@json_option
def rebuild(name: str, as_json: bool) -> None:
    """Load a source's ingestion tables anew from the lake alone; the source is not asked.

    The rows of before stay until the new ones are whole, and those of a file that cannot be loaded stay.

    \b
    Example:
      tidemark ingest rebuild fred
    """
    from rich.console import Console

    from ingest import pipeline
    from tidemark import settings

    with Console(stderr=True).status(f"{name}: loading all that the lake has"):
        report = pipeline.rebuild(settings.load(), name)
    _print_report(report, as_json)


def _print_report(report: "IngestReport", as_json: bool) -> None:
    """The report, and then NotLoaded where it has a gap."""
    if as_json:
        click.echo(json.dumps(asdict(report)))
    else:
        _print_table(report)
    report.refuse_gaps()


def _print_table(report: "IngestReport") -> None:
    rows = [
        {
            "table": resource.table,
            "rows from the source": resource.rows_in,
            "rows loaded": resource.rows_loaded,
            "lake files loaded": len(resource.files),
            "set aside": sum(file.table == resource.table for file in report.set_aside),
        }
        for resource in report.resources
    ]
    print_table(f"{report.source}, {report.seconds} s", rows)
