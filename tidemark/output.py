"""What commands print: rows of equal keys as a table for people, or as JSON for programs."""

import json
from collections.abc import Sequence
from typing import Any

import click

PIPED_WIDTH = 200  # a file has no edge

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def show(title: str, rows: Sequence[dict[str, Any]], as_json: bool, empty: str) -> None:
    """The rows as one JSON list, or as a table; `empty` instead of a table without rows."""
    if as_json:
        click.echo(json.dumps(rows))
    else:
        print_table(title, rows, empty)


def print_table(title: str, rows: Sequence[dict[str, Any]], empty: str = "") -> None:
    """The rows as a table, numbers to the right; `empty` where there is none."""
    if not rows:
        click.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(name.replace("_", " "), justify="right" if _is_number(value) else "left")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    console.print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    return f"{value:,}" if _is_number(value) else escape(str(value))  # a payload's brackets are no markup
