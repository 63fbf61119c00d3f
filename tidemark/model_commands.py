"""`tidemark models`."""

import click


@click.group()
def models() -> None:
    """The warehouse's models."""


@models.command("rebuild")
@click.argument("names", nargs=-1, metavar="[MODEL]...")
def rebuild_tables(names: tuple[str, ...]) -> None:
    """Build the tables of these models, and what reads them, anew from all that was ever loaded.

    Without a name, of all that `tidemark up` finds as an older version made them.
    For a table that an older version made with other columns. The old table is read until the new one is whole, which
    takes as much disk again; a view that was not made by dbt and reads the table is dropped with it.

    \b
    Examples:
      tidemark models rebuild
      tidemark models rebuild fct_market_ticks
    """
    from rich.console import Console

    from tidemark.dbt.rebuild import rebuild
    from tidemark.settings import load

    with Console(stderr=True).status("rebuilding") as status:
        built = rebuild(load(), names, lambda model: status.update(f"rebuilding {model}"))
    click.echo(f"{', '.join(built)}: built anew, with all that reads them" if built else "no table is of another shape")
