"""One file here is one batch source; its `RESOURCES` say what it gives. CONTRIBUTING.md says what else one needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.errors import ConfigurationError

if TYPE_CHECKING:
    from tidemark.settings import Settings

# A row as the source gave it: every value is the text that was sent, None is JSON's null.
Row = dict[str, str | None]


@dataclass(frozen=True)
class Answer:
    """What a source answered about one key. The same rows as the last time are not stored again."""

    key: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Resource:
    """One ingestion table of a source. `category` is one of tidemark.categories, or `reference`."""

    name: str
    category: str
    read: "Callable[[Settings], Iterator[Answer]]"


def names() -> list[str]:
    """The batch sources, which are the files of this folder."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def resources(source: str) -> tuple[Resource, ...]:
    """What a source gives; ConfigurationError for a name that has no file."""
    if source not in names():
        raise ConfigurationError(f"expected a batch source of {', '.join(names())}, received {source!r}")
    declared: tuple[Resource, ...] = import_module(f"ingest.sources.{source}").RESOURCES
    return declared
