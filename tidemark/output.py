"""What commands print: rows of equal keys as a table for people, or as JSON for programs.

Text from outside may hold characters that a terminal obeys, or that make one line look like two or a word read
backwards. Whatever is printed or logged goes through `visible`, which shows them.
"""

import json
import logging
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

PIPED_WIDTH = 200  # a file has no edge
MOST_WIDTH = 100_000  # of a table in a file that one long name makes wider
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d(:?\d\d)?)")
_NO_STYLES: Mapping[Any, str] = {}

Command = TypeVar("Command", bound=Callable[..., Any])

# C0 and C1 controls, marks and overrides of writing direction, separators of lines, halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def json_option(command: Command) -> Command:
    """The option --json of a command, which takes it as `as_json`."""
    import click  # here, as what prints nothing needs it not

    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def utc(at: float | datetime) -> str:
    """A moment (seconds since 1970, or aware) as people read it: UTC, to the second."""
    moment = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"


def iso(at: float | datetime) -> str:
    """The same as JSON has it: ISO 8601 with Z."""
    moment = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def visible(text: str, lines: bool = False) -> str:
    """The text with control characters shown as escapes, such as \\x1b; letters of any script stay.

    With `lines`, line ends and tabs stay too: for text that is meant to have more than one line.
    """
    return _CONTROL.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


class VisibleFormatter(logging.Formatter):
    """A record is one line and, indented, its traceback, whatever their text holds."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        """The line."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's own name)
        """The traceback."""
        return textwrap.indent(visible(super().formatException(ei), lines=True), "  ")


def show(title: str, rows: Sequence[dict[str, Any]], as_json: bool, empty: str) -> None:
    """The rows as one JSON list, or as a table; `empty` instead of a table without rows."""
    import click

    if as_json:
        click.echo(json.dumps(rows))
    else:
        print_table(title, rows, empty)


def print_table(
    title: str,
    rows: Sequence[dict[str, Any]],
    empty: str = "",
    styles: Mapping[Any, str] = _NO_STYLES,
    grouped: bool = False,
) -> None:
    """The rows as a table, numbers to the right, times in UTC; `empty` where there is none.

    A column without a value is left out; on a terminal that is too narrow also one that is alike in all rows, which is
    said once above the table.

    `styles`: how a value looks, as rich names it. `grouped`: what rows have alike in their first column is said once.
    """
    if not rows:
        import click

        click.echo(empty)
        return
    from rich.console import Console

    console = Console()
    rows = _without(rows, [name for name in rows[0] if all(row[name] in (None, "") for row in rows)])
    cells = _cells(rows, styles)
    widths = _widths(cells, console.width if console.is_terminal else PIPED_WIDTH)
    if widths is None and console.is_terminal and len(rows) > 1:
        alike = [name for name in rows[0] if all(row[name] == rows[0][name] for row in rows)]
        if 0 < len(alike) < len(rows[0]):
            said = ", ".join(f"{name.replace('_', ' ')} {rows[0][name]}" for name in alike)
            title, rows = f"{title} (in every row: {visible(said)})", _without(rows, alike)
            cells = _cells(rows, styles)
            widths = _widths(cells, console.width)
    if widths is None and console.is_terminal:  # a name would be cut: every value has a line of its own
        _print_records(title, rows, styles)
        return
    if not console.is_terminal:
        console.width = MOST_WIDTH
    console.print(_table(title, rows, cells, widths, grouped))


def _without(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def _cells(rows: Sequence[dict[str, Any]], styles: Mapping[Any, str]) -> list[list[str]]:
    """The head, then each row."""
    head = [name.replace("_", " ") for name in rows[0]]
    return [head, *([_cell(each, styles) for each in row.values()] for row in rows)]


def _widths(cells: list[list[str]], most: int) -> list[int] | None:
    """How wide each column is for the table to be at most so wide, every word whole; None where that cannot be."""
    from rich.cells import cell_len
    from rich.text import Text

    columns = [[Text.from_markup(cell).plain for cell in column] for column in zip(*cells, strict=True)]
    least = [max((cell_len(word) for cell in column for word in cell.split()), default=1) for column in columns]
    wanted = [max(map(cell_len, column)) for column in columns]
    room = most - sum(least) - 3 * len(columns) - 1  # a column's edges take three, the last one a fourth
    if room < 0:
        return None
    for index in sorted(range(len(columns)), key=lambda index: wanted[index]):  # a short column is whole first
        more = min(room, wanted[index] - least[index])
        least[index], room = least[index] + more, room - more
    return least


def _table(
    title: str, rows: Sequence[dict[str, Any]], cells: list[list[str]], widths: list[int] | None, grouped: bool
) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for index, (name, head) in enumerate(zip(rows[0], cells[0], strict=True)):
        numbers = any(_is_number(row[name]) for row in rows)
        table.add_column(head, justify="right" if numbers else "left", width=widths[index] if widths else None)
    last = None
    for first, *others in cells[1:]:
        if grouped and last not in (None, first):
            table.add_section()
        table.add_row("" if grouped and first == last else first, *others)
        last = first
    return table


def _print_records(title: str, rows: Sequence[dict[str, Any]], styles: Mapping[Any, str]) -> None:
    """A block a row, a line a value, whole whatever the terminal's width: what is longer goes on in its next line."""
    from rich.console import Console
    from rich.text import Text

    console, names = Console(), max(len(name) for name in rows[0])
    console.print(Text(title, style="italic"))
    for row in rows:
        console.print("─" * min(console.width, names + 20))
        for name, value in row.items():
            if value is not None and value != "":
                line = Text.assemble(
                    (f"{name.replace('_', ' '):{names}}  ", "bold"), Text.from_markup(_cell(value, styles))
                )
                console.print(line, overflow="fold", soft_wrap=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _time(value: Any) -> str:
    """A time as all tables have it, whatever its row writes; any other value as it is."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        with suppress(ValueError):  # the 31st of June
            value = datetime.fromisoformat(value)
    if not isinstance(value, datetime) or value.tzinfo is None:
        return str(value)
    return utc(value)


def _cell(value: Any, styles: Mapping[Any, str]) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    text = f"{value:,}" if _is_number(value) else escape(visible(_time(value)))  # a payload's brackets are no markup
    return f"[{styles[value]}]{text}[/]" if isinstance(value, str) and value in styles else text
