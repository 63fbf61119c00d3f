"""One file here is one batch source; its `RESOURCES` say what it gives. CONTRIBUTING.md says what else one needs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """What a source answered about one key. What is `known_by` the same rows as the last time is not stored again.

    `reached` says how far a source that is asked for what is new alone has come with the key.
    """

    key: str
    rows: Sequence[Row]
    known_by: Sequence[Row] | None = None  # by default `rows`
    reached: str | None = None


@dataclass(frozen=True)
class Resource:
    """One ingestion table of a source. `category` is one of tidemark.categories, or `reference`.

    `read` is given what the last answer of each key that is in the lake has `reached`.
    """

    name: str
    category: str
    read: "Callable[[Settings, Mapping[str, str]], Iterator[Answer]]"


def names() -> list[str]:
    """The batch sources, which are the files of this folder."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def resources(source: str) -> tuple[Resource, ...]:
    """What a source gives; ConfigurationError for a name that has no file."""
    if source not in names():
        raise ConfigurationError(f"expected a batch source of {', '.join(names())}, received {source!r}")
    declared: tuple[Resource, ...] = import_module(f"ingest.sources.{source}").RESOURCES
    return declared
