"""Which columns a query's columns come from, by parsing the query: no database is asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemark.errors import TidemarkError

if TYPE_CHECKING:
    from sqlglot import exp

DIALECT = "postgres"
LISTED = "a list in the model's SQL"  # what a column of VALUES is made of, or of a series of constants

Table = tuple[str, str, str]  # database, schema, table
Columns = Mapping[Table, Mapping[str, str]]  # column to type, in the table's order


class UnreadableQuery(TidemarkError):
    """A query that cannot be parsed, or reads a column that is not there."""


@dataclass(frozen=True)
class Origin:
    """Where one column of a query comes from.

    `columns`: the tables' columns that its value is computed from; what only chooses, groups or orders rows is none of
    them, but of a count of rows, which has no other.
    `made_of`: the expressions that make it, or a part of a union, of no column, as SQL: constants, the clock.
    """

    columns: frozenset[tuple[Table, str]] = frozenset()
    made_of: frozenset[str] = frozenset()

    def __or__(self, other: "Origin") -> "Origin":
        return Origin(self.columns | other.columns, self.made_of | other.made_of)


def origins(query: str, known: Columns) -> dict[str, Origin]:
    """Of each column of a query, in their order, where it comes from.

    `known` holds the columns of the tables that the query reads: a star stands for them. UnreadableQuery where sqlglot
    cannot parse the query, or a column of it is in no table.
    """
    from sqlglot import parse_one
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope
    from sqlglot.schema import MappingSchema

    try:
        tree = _with_whole_rows(parse_one(query, dialect=DIALECT), known)
        schema = MappingSchema(_nested(known), dialect=DIALECT, normalize=False)  # names are as the database has them
        tree = qualify(tree, dialect=DIALECT, schema=schema, validate_qualify_columns=False)
        scope, walk = build_scope(tree), _Walk(known)
        return {name: walk.of(scope, name) for name in tree.named_selects}
    except SqlglotError as error:
        raise UnreadableQuery(f"received a query that sqlglot cannot read: {' '.join(str(error).split())}") from None


def tables_of(query: str) -> set[Table]:
    """The tables that a query reads, those of which no column is taken too."""
    from sqlglot import exp, parse_one

    found = parse_one(query, dialect=DIALECT).find_all(exp.Table)
    return {(table.catalog, table.db, table.name) for table in found if table.catalog}


class _Walk:
    """From a query's columns down to the tables', each step once."""

    def __init__(self, tables: Columns) -> None:
        self.tables = tables
        self.known: dict[tuple[int, str | int, str | None], Origin] = {}

    def of(self, scope: Any, column: str | int, key: str | None = None) -> Origin:
        """One column of a scope, by its name or, within a union, its place; of a JSON object one `key` alone."""
        at = (id(scope), column, key)
        if at not in self.known:
            self.known[at] = Origin()  # a recursive query ends here
            self.known[at] = self._find(scope, column, key)
        return self.known[at]

    def _find(self, scope: Any, column: str | int, key: str | None) -> Origin:
        from sqlglot import exp

        query = scope.expression
        if isinstance(query, exp.SetOperation):
            place = query.named_selects.index(column) if isinstance(column, str) else column
            return _together(self.of(part, place, key) for part in scope.union_scopes)
        if isinstance(query, exp.Values):
            return Origin(made_of=frozenset({LISTED}))
        if isinstance(query, exp.Lateral) and not isinstance(query.this, exp.Subquery):
            return self._expression(scope, query.this, None)  # a function that gives rows
        if not isinstance(query, exp.Select):
            (inner,) = [one for one in scope.traverse() if one.expression is query.this.unnest()]
            return self.of(inner, column, key)
        named = query.selects[column] if isinstance(column, int) else _select(query, column)
        return self._expression(scope, named.unalias(), key)

    def _expression(self, scope: Any, expression: "exp.Expression", key: str | None) -> Origin:
        from sqlglot import exp
        from sqlglot.optimizer.scope import find_all_in_scope

        parts = [
            part for part in find_all_in_scope(expression, (exp.Column, exp.TableColumn, exp.Query))
            if key is None or not isinstance(expression, exp.Anonymous) or part.name == key
        ]  # fmt: skip
        # A count of rows has no value but that some were chosen: it comes from what chose them.
        for chosen in ([part for part in parts if not _only_chooses(part, expression)], parts):
            found = _together(self._part(scope, expression, part, key) for part in chosen)
            if found.columns or found.made_of:
                return found
        return Origin(made_of=frozenset({expression.sql(dialect=DIALECT)}))

    def _part(self, scope: Any, whole: "exp.Expression", part: "exp.Expression", key: str | None) -> Origin:
        """A column within an expression, or a query there."""
        from sqlglot import exp

        if isinstance(part, exp.Column):
            return self._column(scope, part, _key(part) or (key if whole is part else None))
        if isinstance(part, exp.TableColumn):
            return self._whole_row(scope, part.name)
        for inner in scope.subquery_scopes:
            if inner.expression is part.unnest():
                return _together(self.of(inner, name) for name in part.unnest().named_selects)
        return Origin()

    def _column(self, scope: Any, column: "exp.Column", key: str | None) -> Origin:
        from sqlglot import exp

        around = scope
        while around and column.table not in around.sources:
            around = around.parent  # a lateral query sees what stands before it
        if around is None:
            raise UnreadableQuery(
                f"received a query that reads {column.sql(dialect=DIALECT)}, which no table there has"
            )
        source = around.sources[column.table]
        if isinstance(source, exp.Table):
            if isinstance(source.this, exp.Func):  # such as generate_series
                given = self._expression(around, source.this, None)
                return given if given.columns else Origin(made_of=frozenset({LISTED}))
            return Origin(frozenset({((source.catalog, source.db, source.name), column.name)}))
        return self.of(source, column.name, key)

    def _whole_row(self, scope: Any, name: str) -> Origin:
        """Every column of a table or query that an expression names as a whole: `to_jsonb(loaded)`."""
        from sqlglot import exp

        source = scope.sources[name]
        if isinstance(source, exp.Table):
            table = (source.catalog, source.db, source.name)
            return Origin(frozenset((table, column) for column in self.tables[table]))
        return _together(self.of(source, each) for each in source.expression.named_selects)


def _together(parts: Iterator[Origin]) -> Origin:
    whole = Origin()
    for part in parts:
        whole |= part
    return whole


def _select(query: "exp.Select", name: str) -> "exp.Expression":
    return next(select for select in query.selects if select.alias_or_name == name)


def _only_chooses(part: "exp.Expression", whole: "exp.Expression") -> bool:
    """Whether a part of an expression chooses, groups or orders rows, and gives none of the value."""
    from sqlglot import exp

    while part is not whole and part.parent is not None:
        above = part.parent
        if (
            (isinstance(above, exp.Filter) and part.arg_key == "expression")
            or (isinstance(above, exp.Window) and part.arg_key == "partition_by")
            or (isinstance(above, exp.Order) and part.arg_key == "expressions")
        ):
            return True
        part = above
    return False


def _key(column: "exp.Column") -> str | None:
    """The key that is read of a column of JSON: `record ->> 'Date'`."""
    from sqlglot import exp

    read = column.parent
    if isinstance(read, exp.JSONExtract | exp.JSONExtractScalar | exp.JSONBExtractScalar) and read.this is column:
        return read.output_name or None
    return None


def _nested(known: Columns) -> dict[str, Any]:
    """As sqlglot takes a schema: database, schema, table, column, type."""
    nested: dict[str, Any] = {}
    for (database, schema, table), columns in known.items():
        nested.setdefault(database, {}).setdefault(schema, {})[table] = dict(columns)
    return nested


def _with_whole_rows(tree: "exp.Expression", known: Columns) -> "exp.Expression":
    """The query with `f(t.*)` written as `f((t.a, t.b, ..))`: a star within a call says nothing to sqlglot."""
    from sqlglot import exp

    tables = {table.alias: (table.catalog, table.db, table.name) for table in tree.find_all(exp.Table) if table.alias}
    for star in list(tree.find_all(exp.Column)):
        if isinstance(star.this, exp.Star) and isinstance(star.parent, exp.Func) and star.table in tables:
            names = known.get(tables[star.table], {})
            columns = [exp.column(exp.to_identifier(name, quoted=True), table=star.table) for name in names]
            star.replace(exp.Tuple(expressions=columns))
    return tree
