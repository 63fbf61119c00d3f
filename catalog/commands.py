"""The command of this room: `tidemark catalog`."""

import click


@click.group()
def catalog() -> None:
    """Publish what is in the databases, in dbt and in the buffer to people: OpenMetadata, or static pages."""


@catalog.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def publish(names: tuple[str, ...]) -> None:
    """Publish to the OpenMetadata server that TIDEMARK_OPENMETADATA_URL names, and compare what it holds then.

    NAME is a step, without one all run in this order: postgres_realtime, postgres_warehouse (schemas, tables, columns),
    prefect (flows), places (topics with their fields, the lake, sources), governance (owners, domains, glossary, tags),
    lineage, results (of contracts and dbt's tests). Each fails alone; a second publication changes nothing.

    \b
    Examples:
      export TIDEMARK_OPENMETADATA_URL=http://127.0.0.1:8585/api TIDEMARK_OPENMETADATA_TOKEN=eyJraWQ..
      tidemark catalog publish
      tidemark catalog publish lineage results

    Exit codes: 0 published; 1 a step failed, the server lacks an edge or does not answer; 2 no server is named.
    """
    from catalog.publish import publish as run
    from catalog.report import progress
    from tidemark.settings import load

    settings = load()
    with progress("publishing") as step:
        done = run(settings, names, step)
    click.echo(f"published {', '.join(done)} to {settings.openmetadata_url}")


@catalog.command()
@click.argument("folder", required=False, metavar="[FOLDER]")
@click.option(
    "--from-files", is_flag=True, help="Ask no database: models as files declare them, no result of a contract."
)
def site(folder: str | None, from_files: bool) -> None:
    """Build the catalog as one folder of static pages, and name the first.

    Both databases' models with the lineage of every column, topics with their mapping, the lake, contracts with their
    last results, and dbt's own page. To look at them takes no server and no network. Without FOLDER they are built in
    the state folder; FOLDER must be empty, or hold an earlier build.

    \b
    Examples:
      tidemark catalog site
      tidemark catalog site --from-files public/
    """
    from pathlib import Path

    from catalog.site.build import build
    from tidemark.settings import load

    click.echo(str(build(load(), Path(folder) if folder else None, asked=not from_files)))


@catalog.command()
@click.option("--json", "as_json", is_flag=True, help="Print every place, edge and column as one JSON object.")
def lineage(as_json: bool) -> None:
    """Show what is upstream of what, by the compiled SQL of the models and by our own files; no server is asked.

    Without --json: how many columns of the marts come from a field of a source or topic, how many from what
    is written on the way, and why the others come from neither. A column comes from the columns that give its
    value, not from those of conditions, groups and orders. What weighs (in JSON: `counts`) is missing from the
    95 % that `tidemark catalog publish` asks for; what the build itself writes does not weigh.

    \b
    Examples:
      tidemark catalog lineage
      tidemark catalog lineage --json | jq '.edges[] | select(.downstream.name == "warehouse.marts.fct_bars_1m")'
    """
    import json

    from catalog.lineage import lineage as find
    from tidemark.output import print_table
    from tidemark.settings import load

    found = find(load())
    if as_json:
        click.echo(json.dumps(found.as_json()))
        return
    why: dict[tuple[str, bool], list[str]] = {}
    for one in found.unreached:
        why.setdefault((one.reason, one.counts), []).append(f"{one.table.rpartition('.')[2]}.{one.column}")
    rows = [
        {"columns": ", ".join(columns), "why": reason, "weighs": "yes" if counts else "no"}
        for (reason, counts), columns in sorted(why.items(), key=lambda each: (not each[0][1], each[0]))
    ]
    print_table(
        "Columns of marts that are not followed to where they came in",
        rows,
        "every column of a mart is followed to where it came in",
    )
    columns = sum(len(edge.columns) for edge in found.edges)
    click.echo(
        f"{len(found.edges)} edges, {columns} of columns; of {found.mart_columns} columns of marts {found.of_sources} "
        f"come from a field of a source or topic, {found.on_the_way} from what is written on the way there (a record's "
        f"place in Kafka, its load), {len(found.unreached)} from neither"
    )
