"""An answer's text as records, by the format and the path of its entry: what both the lane and `sources check` read.

A record is a dict of the source's own names. What stands where one should and is none is a `NoRecord`: it costs itself
and not the answer. ValueError where there is no list of records at all, with what was expected and what was found.
"""

import csv
import io
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from stream_shim.connectors import decoding, markup
from stream_shim.connectors.entries import PollSource
from tidemark.bounded import BYTES_A_VALUE, VARIABLE, BeyondBounds, csv_text, json_value
from tidemark.numbers import Digits

_DELIMITERS = (";", "\t", "|", ",")
_MOST_LINES_ABOVE, _MOST_OF_A_LINE = 100, 100_000  # of a header, where a sentence looks for it


class NoRecord(NamedTuple):
    """Why something is no record, one of few texts; as it came; and its line (from 1) or its place in the answer."""

    reason: str
    raw: Any
    at: int | str


class Above(NamedTuple):
    """A field of an element above a record: its own name, one that no record's field has, and its value."""

    name: str
    qualified: str
    value: Any


class Found(NamedTuple):
    """A record as it stands in the answer, and the fields of what it stands in, the nearest first."""

    record: dict[str, Any] | NoRecord
    above: list[Above]


def find(source: PollSource, body: bytes, content_type: str, most: int) -> list[Found]:
    """The records of an answer. ValueError, of which BeyondBounds and Undecodable are, where there is no list."""
    text = decoding.text(body, source.format, content_type, source.encoding)
    found = _FORMATS[source.format](source, text, most)
    if sum(len(one.above) for one in found) > most // BYTES_A_VALUE:
        raise BeyondBounds(f"more values than {VARIABLE} allows, with those of the elements above each record")
    return found


# JSON: a step is a key, an index, or `*` for every element of a list.


class _Place(NamedTuple):
    """A value of the answer: `path` leads to it, `of` is the list that it is an element of, if it is."""

    value: Any
    path: str
    of: str
    above: list[Above]


def _from_json(source: PollSource, text: str, most: int) -> list[Found]:
    places = [_Place(json_value(text.encode(), most, float_hook=Digits), "the root", "", [])]
    odd: list[Found] = []
    for step in source.records.split(".") if source.records else []:
        places = [inner for place in places for inner in _step(place, step, odd)]
    found = [*odd]
    for place in places:
        if isinstance(place.value, dict) and source.records.endswith("*"):
            found.append(Found(place.value, place.above))
            continue
        for at, record in enumerate(_listed(place)):
            is_record = isinstance(record, dict)
            found.append(Found(record if is_record else NoRecord("not an object", record, at), place.above))
    if found and all(isinstance(one.record, NoRecord) for one in found):
        raise ValueError(f"a list of {len(found)}, none of which is an object")
    return found


def _listed(place: _Place) -> list[Any]:
    if not isinstance(place.value, list):
        raise ValueError(f"no list at {place.path} but {_kind(place.value)}")
    return place.value


def _step(place: _Place, step: str, odd: list[Found]) -> Iterator[_Place]:
    """Where a step leads. An element of a list that has no such key is noted in `odd`; else that is a ValueError."""
    value, path = place.value, step if place.path == "the root" else f"{place.path}.{step}"
    if step == "*":
        for element in _listed(place):
            yield _Place(element, path, place.path.rpartition(".")[2], place.above)
    elif isinstance(value, list):
        if not step.isdecimal() or int(step) >= len(value):
            indexes = f"an index from 0 to {len(value) - 1}, or * for each" if value else "an element"
            raise ValueError(f"a list of {len(value)} at {place.path}, in which {step!r} is not {indexes}")
        yield _Place(value[int(step)], path, place.path.rpartition(".")[2], place.above)
    elif isinstance(value, dict) and step in value:
        yield _Place(value[step], path, "", [*_scalars(place), *place.above])
    elif place.of and place.path.endswith("*"):
        odd.append(Found(NoRecord(f"no {step} in an element of {place.of}", value, place.path), place.above))
    else:
        raise ValueError(f"no {step!r} at {place.path} but {_kind(value)}")


def _scalars(place: _Place) -> list[Above]:
    """The fields of an element of a list that hold no others: they tell its records from those of other elements."""
    if not place.of:
        return []
    return [
        Above(name, f"{place.of}.{name}", value)
        for name, value in place.value.items()
        if value is not None and not isinstance(value, dict | list)
    ]


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object of {', '.join(map(repr, list(value)[:10])) or 'nothing'}"
    return f"a list of {len(value)}" if isinstance(value, list) else "one value"


# CSV: the dialect says what parts the cells.


class _Lines:
    """The lines of a text one after the other, and those since the last record."""

    def __init__(self, text: str) -> None:
        self._lines, self.taken = io.StringIO(text, newline=""), list[str]()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        self.taken.append(next(self._lines))
        return self.taken[-1]

    def raw(self) -> str:
        """What stood in the text since this was last asked."""
        found, self.taken = "".join(self.taken).rstrip("\r\n"), []
        return found


def _from_csv(source: PollSource, text: str, most: int) -> list[Found]:
    dialect = source.dialect
    lines = _Lines(csv_text(text.encode(), most, dialect.delimiter))
    for _ in range(dialect.skip_lines):
        next(lines, None)
    lines.raw()
    rows = csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True)
    try:
        header = next((row for row in rows if row), [])
    except csv.Error as error:
        raise ValueError(f"a header that is none ({error}){_advice(source, text)}") from None
    lines.raw()
    names, named = _columns(source, header, text)
    found = []
    while (row := _row(rows, lines, names, named, dialect.skip_lines)) is not None:
        if row:
            found.append(Found(row, []))
    return found


def _row(rows: Any, lines: _Lines, names: list[str], named: int, skipped: int) -> dict[str, Any] | NoRecord | None:
    """The next one, empty where its line is; None after the last. A cell that is empty is no value.

    Of the columns `named` have a name; the others are the delimiters at the header's end, or hold something too.
    """
    try:
        cells = next(rows)
    except StopIteration:
        return None
    except csv.Error as error:
        return NoRecord(f"a CSV row that is none, {error}", lines.raw(), rows.line_num + skipped)
    raw = lines.raw()
    longer = len(cells) > len(names)
    while len(cells) > named and not cells[-1].strip():  # a delimiter at the line's end
        cells.pop()
    most = named if longer else len(names)
    if not named <= len(cells) <= most and any(cell.strip() for cell in cells):
        return NoRecord("a CSV row of another length than its header", raw, rows.line_num + skipped)
    return {name: cell for name, cell in zip(names, cells, strict=False) if cell.strip()}


def _columns(source: PollSource, header: list[str], text: str) -> tuple[list[str], int]:
    """The names of the columns, once the value is among them, and how many the header names.

    Of those that share a name the last one has it; the others, and those after the last name, are column_N.
    """
    named = max((at for at, name in enumerate(header, start=1) if name.strip()), default=0)
    if "value" not in {source.rename.get(name, name) for name in header[:named]}:  # a page of HTML is CSV too
        shown = _columns_shown(header[:named])
        raise ValueError(f"{shown}, none of which is `value`, also by `rename`{_advice(source, text)}")
    last = {name: at for at, name in enumerate(header)}
    found = [name if last[name] == at and name.strip() else f"column_{at + 1}" for at, name in enumerate(header)]
    if len(set(found)) < len(found):
        raise ValueError("columns that cannot be told apart by their names")
    return found, named


def _columns_shown(header: list[str]) -> str:
    return f"the columns {', '.join(repr(name[:40]) for name in header[:20])}" if header else "no header"


def _advice(source: PollSource, text: str) -> str:
    """What to set where a later line is the header, or one by another delimiter."""
    own, skipped = source.dialect.delimiter, source.dialect.skip_lines
    lines = [line[:_MOST_OF_A_LINE].rstrip() for line in itertools.islice(io.StringIO(text), _MOST_LINES_ABOVE)]
    for at, line in enumerate(lines[skipped:], start=skipped):
        for delimiter in (own, *_DELIMITERS):
            names = next(csv.reader([line], delimiter=delimiter, quotechar=source.dialect.quote), [])
            if "value" not in {source.rename.get(name, name) for name in names}:
                continue
            keys = [f"delimiter: {json.dumps(delimiter)}"] if delimiter != own else []
            keys += [f"skip_lines: {at}"] if any(lines[skipped:at]) else []
            signs = ', and its `decimal` where numbers have another sign than a point (`decimal: ","`)'
            return f": set `dialect: {{{', '.join(keys)}}}` of the entry{signs if delimiter != own else ''}"
    return ""


# XML: the elements at a path.


def _from_xml(source: PollSource, text: str, most: int) -> list[Found]:
    found = markup.parse("elements", text.encode(), most=most, path=source.records)
    above = [
        [Above(name, qualified, _as_it_stands(value)) for name, qualified, value in fields] for fields in found["above"]
    ]
    return [Found(_unmixed(source, record, at), above[of]) for at, (of, record) in enumerate(found["records"])]


def _unmixed(source: PollSource, fields: dict[str, Any], at: int) -> dict[str, Any] | NoRecord:
    """A record whose texts with elements between them are as they stand; none where its value is one."""
    record = {name: _as_it_stands(value) for name, value in fields.items()}
    named = next((name for name, new in source.rename.items() if new == "value" and name in fields), "value")
    if record.get(named) != fields.get(named):
        return NoRecord("a value with elements between its texts", record, at)
    return record


def _as_it_stands(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_it_stands(one) for one in value]
    return value["mixed"] if isinstance(value, dict) else value


_FORMATS = {"json": _from_json, "csv": _from_csv, "xml": _from_xml}
