"""A query of PostgREST's grammar over one relation, as SQL: names are composed, values bound, and cast by Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.sql import SQL, Composable, Composed

from serve import cursors
from serve.formats import Output, Statement, named
from serve.grammar import COMPARISONS, IS, Comparison, Condition, Group, Membership, Ordered, Query, Selected, Truth
from serve.problems import bad_request
from serve.relations import Column, Relation

TEXT, BOOLEAN = "S", "B"  # pg_type.typcategory


@dataclass(frozen=True)
class Page:
    """What an answer holds: its statement and columns; and, where the relation declares a key, that of its last row.

    `last_key` gives the key of the last row as text and a second row where there is a next one.
    """

    rows: Statement
    outputs: tuple[Output, ...]
    count: Statement
    last_key: Statement | None


def page(relation: Relation, query: Query, most_rows: int) -> Page:
    """The statements for at most so many rows; Problem 400 where the query does not fit the relation."""
    selected = query.select or tuple(Selected(name, name) for name in relation.columns)
    outputs = tuple(Output(each.name, _column(relation, each.column).type) for each in selected)
    where, values = _where(relation, query.conditions)
    by_key = _key_order(relation, query)
    counted = SQL("select count(1) from {}{}").format(_source(relation), where)
    count = Statement(counted, values)
    if query.after is not None:
        where, values = _after(relation, query, by_key, where, values)
    tail = _order(relation, query, by_key)
    columns = SQL(", ").join(SQL("{} as {}").format(_name(each.column), named(each.name)) for each in selected)
    rows = SQL("select {} from {}{}{} limit %s offset %s").format(columns, _source(relation), where, tail)
    last_key = None
    if by_key:
        keys = SQL(", ").join(SQL("{}::text").format(_name(name)) for name in relation.key)
        last = SQL("select {} from {}{}{} limit 2 offset %s").format(keys, _source(relation), where, tail)
        last_key = Statement(last, (*values, query.offset + most_rows - 1))
    return Page(Statement(rows, (*values, most_rows, query.offset)), outputs, count, last_key)


def _source(relation: Relation) -> Composable:
    return SQL("{} as here").format(relation.identifier)


def _name(column: str) -> Composable:
    """Of the relation itself: a name of the answer may be another column's."""
    return named("here", column)


def _column(relation: Relation, name: str) -> Column:
    if name not in relation.columns:
        raise bad_request(
            "no such column", f"a column of {relation.schema}.{relation.name} ({', '.join(relation.columns)})", name
        )
    return relation.columns[name]


def _where(relation: Relation, conditions: Sequence[Condition]) -> tuple[Composed, tuple[Any, ...]]:
    if not conditions:
        return Composed([]), ()
    statement = _group(relation, Group("and", tuple(conditions)))
    return SQL(" where {}").format(statement.sql), statement.values


def _condition(relation: Relation, condition: Condition) -> Statement:
    match condition:
        case Group():
            found = _group(relation, condition)
        case Comparison():
            found = _comparison(_column(relation, condition.column), condition)
        case Membership():
            column = _column(relation, condition.column)
            sql = SQL("{} = any(%s::{}[])").format(_name(column.name), SQL(column.type))
            found = Statement(sql, (list(condition.values),))
        case Truth():
            column = _column(relation, condition.column)
            if "null" not in condition.what and column.category != BOOLEAN:
                raise bad_request("not a query", f"{column.name} to be boolean for is.{condition.what}", column.type)
            found = Statement(SQL("{} is {}").format(_name(column.name), SQL(IS[condition.what])), ())
    return Statement(SQL("not ({})").format(found.sql), found.values) if condition.negated else found


def _comparison(column: Column, condition: Comparison) -> Statement:
    value, name = condition.value, _name(column.name)
    if condition.operator in ("like", "ilike"):
        if column.category != TEXT:
            raise bad_request(
                "not a query", f"a column of text for {condition.operator}", f"{column.name} {column.type}"
            )
        value = value.replace("*", "%")
    # The type's name is Postgres's own; a value is never part of the statement.
    sql = SQL("{} {} %s::{}").format(name, SQL(COMPARISONS[condition.operator]), SQL(column.type))
    return Statement(sql, (value,))


def _group(relation: Relation, group: Group) -> Statement:
    parts = [_condition(relation, each) for each in group.conditions]
    joined = SQL(f" {group.joiner} ").join(SQL("({})").format(part.sql) for part in parts)
    return Statement(joined, tuple(value for part in parts for value in part.values))


def _key_order(relation: Relation, query: Query) -> tuple[Ordered, ...]:
    """The order of pages by the declared key: the key, up or down as a whole; empty where it is another or none."""
    ascending = tuple(Ordered(name, False) for name in relation.key)
    descending = tuple(Ordered(name, True) for name in relation.key)
    asked = tuple(Ordered(each.column, each.is_descending) for each in query.order)
    return asked if asked == descending else ascending if asked in ((), ascending) else ()


def _after(
    relation: Relation, query: Query, by_key: tuple[Ordered, ...], where: Composed, values: tuple[Any, ...]
) -> tuple[Composed, tuple[Any, ...]]:
    """The condition that what follows the cursor's row meets."""
    if not by_key:
        expected = (
            "a relation that declares a key" if not relation.key else f"order to be {', '.join(relation.key)} or none"
        )
        raise bad_request(
            "no pages", f"{expected} for after", f"{relation.schema}.{relation.name}", "use offset instead"
        )
    if query.offset:
        raise bad_request("no pages", "either after or offset", "both")
    key = _key_of(relation, query.after or "")
    names = SQL(", ").join(map(_name, relation.key))
    marks = SQL(", ").join(SQL("%s::{}").format(SQL(relation.columns[name].type)) for name in relation.key)
    further = SQL("({}) {} ({})").format(names, SQL("<" if by_key[0].is_descending else ">"), marks)
    joined = (
        SQL("{} and {}").format(where, further) if values or where.as_string() else SQL(" where {}").format(further)
    )
    return joined, (*values, *key)


def _order(relation: Relation, query: Query, by_key: tuple[Ordered, ...]) -> Composable:
    """`order by`, or nothing. A tie of what was asked for is decided by the key, so that an offset means something."""
    order = by_key or query.order
    named = {each.column for each in order}
    order += tuple(Ordered(name, False) for name in relation.key if name not in named)
    return (
        SQL(" order by {}").format(SQL(", ").join(_direction(relation, each) for each in order)) if order else SQL("")
    )


def _direction(relation: Relation, each: Ordered) -> Composable:
    direction = SQL(" desc" if each.is_descending else " asc")
    nulls = SQL("" if each.nulls_first is None else f" nulls {'first' if each.nulls_first else 'last'}")
    return SQL("{}{}{}").format(_name(_column(relation, each.column).name), direction, nulls)


def cursor_after(relation: Relation, key: Sequence[str]) -> str:
    """The cursor of what follows the row of a key."""
    return cursors.encode([relation.name, *key])


def _key_of(relation: Relation, cursor: str) -> list[str]:
    """The key in a cursor. Problem 400 of one that no answer of this relation gave."""
    name, *key = cursors.decode(cursor) or [None]
    if name != relation.name or len(key) != len(relation.key) or not all(isinstance(each, str) for each in key):
        raise cursors.refused(cursor)
    return key
