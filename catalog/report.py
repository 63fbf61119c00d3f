"""What the commands of this room print: a table of checks, and progress."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from catalog.advice import Downstream, what_to_do
from catalog.kept import owner, sentence
from tidemark.output import print_table, utc
from tidemark.quality_results import OUTCOMES, CheckResult
from tidemark.settings import Settings

_STYLES = {"passed": "green", "failed": "bold red", "warned": "yellow", "not evaluated": "yellow", "error": "bold red"}
_SHOWN_DOWNSTREAM = 8


def print_results(results: Sequence[CheckResult], everything: bool = False) -> None:
    """What did not pass, how many checks each table has by outcome, and a line of sums; `everything`: each check."""
    shown = [r for r in results if everything or r.outcome != "passed"]
    if shown:
        columns = ("table", "check", "column", "outcome", "failing_rows", "detail")
        rows = [{name: getattr(result, name) for name in columns} for result in shown]
        for row in rows:
            row["detail"] = row["detail"] if row["outcome"] == "not evaluated" else None  # a failed one has a sentence
        print_table("Checks" if everything else "Checks that did not pass", rows, "", _STYLES)
    if not everything:
        found = {name: Counter[str](r.outcome for r in results if r.table == name) for name in _names(results)}
        rows = [{"table": name} | {outcome: of[outcome] or None for outcome in _STYLES} for name, of in found.items()]
        print_table("Checks by table", rows, "no contract")
    counts = Counter[str](r.outcome for r in results)
    always = ("passed", "failed", "not evaluated")
    sums = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome] or outcome in always)
    more = "" if everything else "; --all shows each"
    click.echo(f"{len(results)} checks of {len(_names(results))} tables: {sums}{more}")


def explain(settings: Settings, results: Sequence[CheckResult]) -> Iterator[str]:
    """Of each check that failed or could not be carried out, and of each that warns: what, whose, and what then."""
    shown = [result for result in results if result.outcome in ("failed", "error", "warned")]
    downstream = Downstream(settings) if shown else None
    for result in shown:
        yield f"tidemark: {sentence(result)}"
        at = f", found {utc(result.checked_at)}" if result.checked_at else ""
        yield f"  {result.outcome} ({result.tool}, severity {result.severity}{at}); owner: {result.owner or owner()}"
        yield f"  to do: {what_to_do(result)}"
        names = downstream.of(result.dataset) if downstream else []
        more = f" and {len(names) - _SHOWN_DOWNSTREAM} more" if len(names) > _SHOWN_DOWNSTREAM else ""
        yield f"  downstream: {', '.join(names[:_SHOWN_DOWNSTREAM]) or 'nothing that was built'}{more}"


def as_json(settings: Settings, results: Sequence[CheckResult]) -> list[dict[str, Any]]:
    """Every result with owner, and what did not pass with what to do and all that is downstream."""
    downstream = Downstream(settings) if any(result.outcome != "passed" for result in results) else None
    found = []
    for result in results:
        at = result.checked_at.isoformat() if result.checked_at else None
        said = {**asdict(result), "owner": result.owner or owner(), "checked_at": at}
        if downstream and result.outcome not in ("passed", "not evaluated"):
            said |= {"to_do": what_to_do(result), "downstream": downstream.of(result.dataset)}
        found.append(said)
    return found


def _names(results: Sequence[CheckResult]) -> list[str]:
    return list(dict.fromkeys(result.table for result in results))


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
