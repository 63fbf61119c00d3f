"""What the commands of this room print: a table of checks, and progress."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from catalog.check import CheckResult
from tidemark.output import visible

_STYLES = {"passed": "green", "failed": "bold red", "not evaluated": "yellow"}
PIPED_WIDTH = 160  # a file or a log has no width of its own; no cell of the table is cut at this one


def print_results(results: Sequence[CheckResult]) -> None:
    """One row a check, in the order they ran, and a line of sums."""
    table = Table("contract", "check", "column", "outcome", "failing rows", box=SIMPLE_HEAD, highlight=False)
    table.columns[-1].justify = "right"
    for result in results:
        count = "" if result.failing_rows is None else f"{result.failing_rows:,}"
        outcome = f"[{_STYLES[result.outcome]}]{result.outcome}[/]"
        table.add_row(result.contract, escape(visible(result.check)), result.column or "", outcome, count)
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)
    sums = ", ".join(f"{sum(r.outcome == outcome for r in results)} {outcome}" for outcome in _STYLES)
    contracts = len({r.contract for r in results})
    console.print(f"{len(results)} checks of {contracts} contracts: {sums}", highlight=False)
    for r in results:
        if r.outcome == "not evaluated":
            reason = visible(f"not evaluated: {r.contract}, {r.check}: {r.detail}")
            console.print(escape(reason), highlight=False, soft_wrap=True)


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
