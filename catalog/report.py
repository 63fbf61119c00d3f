"""What the commands of this room print: a table of checks, and progress."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from catalog.check import CheckResult
from tidemark.output import print_table

_STYLES = {"passed": "green", "failed": "bold red", "not evaluated": "yellow"}


def print_results(results: Sequence[CheckResult], everything: bool = False) -> None:
    """What did not pass, how many checks each table has by outcome, and a line of sums; `everything`: each check."""
    shown = [r for r in results if everything or r.outcome != "passed"]
    if shown:
        columns = ("contract", "check", "column", "outcome", "failing_rows", "detail")
        rows = [{name: getattr(result, name) for name in columns} for result in shown]
        for row in rows:
            row["detail"] = row["detail"] if row["outcome"] == "not evaluated" else None  # a failed one has a sentence
        print_table("Checks" if everything else "Checks that did not pass", rows, "", _STYLES)
    if not everything:
        found = {name: Counter[str](r.outcome for r in results if r.contract == name) for name in _names(results)}
        rows = [{"table": name} | {outcome: of[outcome] or None for outcome in _STYLES} for name, of in found.items()]
        print_table("Checks by table", rows, "no contract")
    sums = ", ".join(f"{sum(r.outcome == outcome for r in results)} {outcome}" for outcome in _STYLES)
    more = "" if everything else "; --all shows each"
    click.echo(f"{len(results)} checks of {len(_names(results))} tables: {sums}{more}")


def _names(results: Sequence[CheckResult]) -> list[str]:
    return list(dict.fromkeys(result.contract for result in results))


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
