"""`tidemark demo`: the main job, on recorded or generated sessions."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tidemark.output import json_option

if TYPE_CHECKING:
    from demo.run import Show


@click.command()
@json_option
def demo(as_json: bool) -> None:
    """Replay a session through both lanes, promote a day, check it all, and leave the stack up to look at.

    TIDEMARK_RECORDINGS names a folder of recorded sessions; without it a session is generated, and every row of it says
    `simulated`. The state folder is marked as a replay and made anew; one with live data is refused.

    \b
    Examples:
      tidemark demo
      TIDEMARK_RECORDINGS=~/recordings TIDEMARK_HOME=/tmp/replay tidemark demo
      tidemark demo --json | jq .balance

    Exit codes: 0 every record is accounted for; 1 a count is not what it must be, and a sentence names it.
    """
    from demo import run
    from demo.report import print_report
    from tidemark.settings import load

    with _bars() as (show, say):
        result = run.run(load(), show, say)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
    else:
        print_report(result)
    error = run.failed(result)
    if error is not None:
        raise error


@contextmanager
def _bars() -> Iterator[tuple["Show", Callable[[str], None]]]:
    """A bar on standard error for each step that was begun, and what prints a line above them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks = {}

        def show(step: str, done: int, of: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=of or None)
            progress.update(tasks[step], completed=done, total=of or None)

        def say(sentence: str) -> None:
            progress.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

        yield show, say
