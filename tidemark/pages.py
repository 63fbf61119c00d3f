"""What every page of Tidemark shares: one stylesheet, and templates in which whatever is put is text."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

STYLE = Path(__file__).with_suffix(".css")  # colours, letters, header, headings, tables; a page's own rules follow it


def environment(templates: Path) -> "Environment":
    """The templates of a folder; what is not given to one is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(templates), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
