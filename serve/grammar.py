"""PostgREST's grammar of a query: its text, read into what is asked for. It knows no SQL and no database.

https://postgrest.org/en/stable/references/api/tables_views.html; what is not read here is refused, never ignored.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from serve.problems import bad_request, shown

COMPARISONS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike"}
IS = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}
OPERATORS = (*COMPARISONS, "in", "is", "not")
RESERVED = ("select", "order", "limit", "offset", "after", "format")
MOST_CONDITIONS = 200
MOST_DEPTH = 10
_DIRECTIONS = ("asc", "desc")
_NULLS = ("nullsfirst", "nullslast")


@dataclass(frozen=True)
class Comparison:
    """A column, an operator of COMPARISONS and a value."""

    column: str
    operator: str
    value: str
    negated: bool = False


@dataclass(frozen=True)
class Membership:
    """A column and the values of `in.(..)`."""

    column: str
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True)
class Truth:
    """A column and what it is, one of IS."""

    column: str
    what: str
    negated: bool = False


@dataclass(frozen=True)
class Group:
    """Conditions joined by `and` or `or`."""

    joiner: str
    conditions: "tuple[Condition, ...]"
    negated: bool = False


Condition = Comparison | Membership | Truth | Group


@dataclass(frozen=True)
class Selected:
    """A column and its name in the answer."""

    column: str
    name: str


@dataclass(frozen=True)
class Ordered:
    """A column of `order`; `nulls_first` is None where it is not said."""

    column: str
    is_descending: bool
    nulls_first: bool | None = None


@dataclass(frozen=True)
class Query:
    """What is asked for. `select` is empty for every column, `order` where none is asked for."""

    select: tuple[Selected, ...]
    conditions: tuple[Condition, ...]
    order: tuple[Ordered, ...]
    limit: int | None
    offset: int
    after: str | None


def parse(pairs: Iterable[tuple[str, str]]) -> Query:
    """The parameters of a request, in their order; Problem 400 for what is not of the grammar."""
    asked: dict[str, str] = {}
    conditions: list[Condition] = []
    for name, value in pairs:
        if name in RESERVED:
            if name in asked:
                raise bad_request("not a query", f"{name} once", f"{asked[name]} and {value}")
            asked[name] = value
        else:
            conditions.append(_condition(name, value))
    if sum(_count(each) for each in conditions) > MOST_CONDITIONS:
        raise bad_request("not a query", f"at most {MOST_CONDITIONS} conditions", "more")
    return Query(
        _select(asked.get("select", "*")),
        tuple(conditions),
        tuple(_ordered(each) for each in _split(asked["order"])) if asked.get("order") else (),
        _number("limit", asked["limit"]) if "limit" in asked else None,
        _number("offset", asked.get("offset", "0")),
        asked.get("after"),
    )


def _count(condition: Condition) -> int:
    return sum(map(_count, condition.conditions)) if isinstance(condition, Group) else 1


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise bad_request("not a query", f"{name} to be a whole number of at most 18 digits, 0 or more", text)
    return int(text)


def _condition(name: str, value: str) -> Condition:
    """`column=operator.value`, `or=(..)`, `not.and=(..)`."""
    joiner = name.removeprefix("not.")
    if joiner in ("and", "or") and value.startswith("("):
        return _group(joiner, value, negated=joiner != name, depth=1)
    return _filter(_name(name), value, is_nested=False)


def _group(joiner: str, text: str, negated: bool, depth: int) -> Group:
    if depth > MOST_DEPTH:
        raise bad_request("not a query", f"conditions at most {MOST_DEPTH} deep", "deeper ones")
    if not (text.startswith("(") and text.endswith(")") and len(text) > 2):
        raise bad_request("not a query", f"{joiner}=(condition,condition,..)", text)
    return Group(joiner, tuple(_nested(each, depth) for each in _split(text[1:-1])), negated)


def _nested(text: str, depth: int) -> Condition:
    """A condition within a group: `column.operator.value`, or a group again."""
    found = re.match(r"(not\.)?(and|or)(?=\()", text)
    if found:
        return _group(found[2], text[found.end() :], negated=bool(found[1]), depth=depth + 1)
    column, rest = _leading_name(text)
    if not rest.startswith("."):
        raise bad_request("not a query", "a condition like column.eq.value", text)
    return _filter(column, rest[1:], is_nested=True)


def _filter(column: str, text: str, is_nested: bool) -> Condition:
    operator, dot, value = text.partition(".")
    negated = operator == "not"
    if negated:
        operator, dot, value = value.partition(".")
    if not dot or operator not in OPERATORS or operator == "not":
        known = ", ".join(OPERATORS)
        raise bad_request("no such operator", f"{column} to be compared as operator.value with one of {known}", text)
    if operator == "in":
        return Membership(column, tuple(_members(column, value)), negated)
    if operator == "is":
        if value.lower() not in IS:
            raise bad_request("not a query", f"{column}=is.{'|'.join(IS)}", value)
        return Truth(column, value.lower(), negated)
    return Comparison(column, operator, _unquoted(value) if is_nested else value, negated)


def _members(column: str, text: str) -> Iterator[str]:
    if not (text.startswith("(") and text.endswith(")")):
        raise bad_request("not a query", f"{column}=in.(value,value,..)", text)
    return map(_unquoted, _split(text[1:-1], ",")) if text != "()" else iter(())


def _select(text: str) -> tuple[Selected, ...]:
    """Columns, each once; none for all of them."""
    if text.strip() in ("", "*"):
        return ()
    found = [_selected(each) for each in _split(text)]
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise bad_request("not a query", "each name of select once", text)
    return tuple(found)


def _selected(text: str) -> Selected:
    first, rest = _leading_name(text)
    if not rest:
        return Selected(first, first)
    column, end = _leading_name(rest[1:]) if rest.startswith(":") and not rest.startswith("::") else ("", rest)
    if not column or end:
        raise bad_request("not a query", "select=column,alias:column,.. without casts, paths, functions or joins", text)
    return Selected(column, first)


def _ordered(text: str) -> Ordered:
    column, rest = _leading_name(text)
    words = rest[1:].split(".") if rest.startswith(".") else [rest] * bool(rest)
    direction = words.pop(0) if words and words[0] in _DIRECTIONS else "asc"
    nulls = words.pop(0) if words and words[0] in _NULLS else None
    if words:
        raise bad_request("not a query", "order=column.asc|desc.nullsfirst|nullslast,..", text)
    return Ordered(column, direction == "desc", None if nulls is None else nulls == "nullsfirst")


def _leading_name(text: str) -> tuple[str, str]:
    """A column's name, in double quotes or without, and what follows."""
    text = text.strip()
    found = re.match(r'"((?:[^"\\]|\\.)+)"|([^.:,()"]+)', text)
    if found is None:
        raise bad_request("not a query", "the name of a column", text)
    name = re.sub(r"\\(.)", r"\1", found[1]) if found[1] else found[2].strip()
    return name, text[found.end() :]


def _name(text: str) -> str:
    name, rest = _leading_name(text)
    if rest:
        raise bad_request("not a query", "the name of a column, without paths", text)
    return name


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _split(text: str, before_quotes: str = ",(.:") -> Sequence[str]:
    """At the commas that stand in no parentheses and no quotes; one that begins no name and no value is a character."""
    parts, depth, quoted, escaped, begin = [], 0, False, False, 0
    last = ","
    for at, character in enumerate(text):
        before, last = last, last if character == " " else character
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = character == "\\", character != '"'
        elif character == '"' and before in before_quotes:
            quoted = True
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "," and depth == 0:
            parts.append(text[begin:at])
            begin = at + 1
        if depth < 0:
            break
    if depth or quoted:
        raise bad_request("not a query", "quotes and parentheses that close", shown(text))
    return [*parts, text[begin:]]
