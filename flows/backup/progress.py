"""How far a long step is: a bar on the terminal's error stream, nothing where that is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields what is told how many bytes more are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=total)
        yield lambda size: shown.update(task, advance=size)


@contextmanager
def tables(what: str, sizes: dict[str, int]) -> Iterator[Callable[[str], None]]:
    """The same for programs that say which table (schema.name) they begin: it counts as done when the next begins."""
    running: list[str] = []
    with bar(what, sum(sizes.values())) as advance:

        def begins(table: str) -> None:
            if running:
                advance(sizes.get(running.pop(), 0))
            running.append(table)

        yield begins
