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
    """Empty a source's ingestion tables and load them from the lake alone; the source is not asked.

    \b
    Example:
      tidemark ingest rebuild fred
    """
    from ingest import pipeline
    from tidemark import settings

    _print_report(pipeline.rebuild(settings.load(), name), as_json)


def _print_report(report: "IngestReport", as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(report)))
        return
    rows = [
        {
            "table": resource.table,
            "rows from the source": resource.rows_in,
            "rows loaded": resource.rows_loaded,
            "lake files loaded": len(resource.files),
        }
        for resource in report.resources
    ]
    print_table(f"{report.source}, {report.seconds} s", rows)
