"""What the commands of this room print: a table of checks, and progress."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from catalog.check import CheckResult
from tidemark.output import print_table, visible

_STYLES = {"passed": "green", "failed": "bold red", "not evaluated": "yellow"}


def print_results(results: Sequence[CheckResult]) -> None:
    """One row a check, in the order they ran, and a line of sums."""
    columns = ("contract", "check", "column", "outcome", "failing_rows")
    rows = [{name: getattr(result, name) for name in columns} for result in results]
    print_table("Contracts", rows, "no contract", _STYLES)
    sums = ", ".join(f"{sum(r.outcome == outcome for r in results)} {outcome}" for outcome in _STYLES)
    click.echo(f"{len(results)} checks of {len({r.contract for r in results})} contracts: {sums}")
    for r in results:
        if r.outcome == "not evaluated":
            click.echo(visible(f"not evaluated: {r.contract}, {r.check}: {r.detail}"))


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[str], None]]:
    """A line on the terminal's error stream that says which one runs; nothing where that is no terminal.

    `total`: how many there are, where that is known, for a bar.
    """
    bar = (BarColumn(), MofNCompleteColumn()) if total else ()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *bar, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total, completed=-1)
        yield lambda name: shown.update(task, description=f"{what}: {name}", advance=1)
