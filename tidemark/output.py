"""What commands print: rows of equal keys as a table for people, or as JSON for programs.

Text from outside may hold characters that a terminal obeys, or that make one line look like two or a word read
backwards. Whatever is printed or logged goes through `visible`, which shows them.
"""

import json
import logging
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import click

PIPED_WIDTH = 200  # a file has no edge
_NO_STYLES: Mapping[Any, str] = {}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

# C0 and C1 controls, marks and overrides of writing direction, separators of lines, halves of surrogate pairs.
_CONTROLS = (
    (0x00, 0x1F), (0x7F, 0x9F), (0x061C, 0x061C), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069),
    (0xD800, 0xDFFF), (0xFEFF, 0xFEFF),
)  # fmt: skip
_CODES = [code for first, last in _CONTROLS for code in range(first, last + 1)]
_VISIBLE = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CODES}
_VISIBLE |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_VISIBLE_LINES = {code: shown for code, shown in _VISIBLE.items() if chr(code) not in "\n\t"}


def visible(text: str, lines: bool = False) -> str:
    """The text with control characters shown as escapes, such as \\x1b; letters of any script stay.

    With `lines`, line ends and tabs stay too: for text that is meant to have more than one line.
    """
    return text.translate(_VISIBLE_LINES if lines else _VISIBLE)


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
    """The rows as a table, numbers to the right; `empty` where there is none.

    `styles`: how a value looks, as rich names it. `grouped`: what rows have alike in their first column is said once.
    """
    if not rows:
        click.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        numbers = any(_is_number(row[name]) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numbers else "left")
    last = None
    for row in rows:
        first, *others = (_cell(value, styles) for value in row.values())
        if grouped and last not in (None, first):
            table.add_section()
        table.add_row("" if grouped and first == last else first, *others)
        last = first
    console.print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any, styles: Mapping[Any, str]) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    text = f"{value:,}" if _is_number(value) else escape(visible(str(value)))  # a payload's brackets are no markup
    return f"[{styles[value]}]{text}[/]" if isinstance(value, str) and value in styles else text
