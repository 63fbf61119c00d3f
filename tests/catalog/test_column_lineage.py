"""Which columns a query's columns come from: queries as our models have them."""

import pytest

from catalog.column_lineage import UnreadableQuery, origins, tables_of

TICKS = ("warehouse", "ingestion", "ticks")
RATES = ("warehouse", "ingestion", "rates")
KNOWN = {
    TICKS: {"symbol": "text", "price": "text", "timestamp": "text", "loaded_at": "timestamptz"},
    RATES: {"Date": "text", "USD": "text", "load_id": "text"},
}

CASES = {
    "a star passes names on through every step": (
        "with a as (select * from warehouse.ingestion.ticks), b as (select * from a) select price, symbol from b",
        {"price": {"price"}, "symbol": {"symbol"}},
    ),
    "what only chooses rows is no origin": (
        "select price from warehouse.ingestion.ticks where symbol = 'x'",
        {"price": {"price"}},
    ),
    "a part of a union gives what it has in the place": (
        "select symbol as a from warehouse.ingestion.ticks union all select load_id from warehouse.ingestion.rates",
        {"a": {"symbol", "load_id"}},
    ),
    "a lateral query sees what stands before it, and gives no more than it selects": (
        "select made.twice from warehouse.ingestion.ticks as t "
        "cross join lateral (select t.price || t.price as twice from warehouse.ingestion.rates as r "
        "where r.load_id = t.symbol offset 0) as made",
        {"twice": {"price"}},
    ),
    "a key of a whole row is its column": (
        "with whole as (select to_jsonb(r.*) as record from warehouse.ingestion.rates as r) "
        "select whole.record ->> 'Date' as day, whole.record as everything from whole",
        {"day": {"Date"}, "everything": {"Date", "USD", "load_id"}},
    ),
    "the cells of a whole row come from every column": (
        "select cell.value from (select to_jsonb(r.*) as record from warehouse.ingestion.rates as r) as whole "
        "cross join lateral jsonb_each_text(whole.record) as cell",
        {"value": {"Date", "USD", "load_id"}},
    ),
    "what chooses, groups or orders the rows of an aggregate or a window is no origin": (
        "select max(price) filter (where symbol = 'x') as most, string_agg(price, ',' order by loaded_at) as listed, "
        "lag(price) over (partition by symbol order by timestamp) as before from warehouse.ingestion.ticks",
        {"most": {"price"}, "listed": {"price"}, "before": {"price"}},
    ),
    "what a list of values gives comes from no column": (
        "select named.name, t.price from warehouse.ingestion.ticks as t "
        "inner join (values ('x', 'Company X'), ('y', 'Company Y')) as named (symbol, name) using (symbol)",
        {"name": set(), "price": {"price"}},
    ),
    "a whole row that is named comes from every column": (
        "with staged as (select symbol, price from warehouse.ingestion.ticks) "
        "select to_jsonb(staged) as record, to_jsonb(r) as rate from staged cross join warehouse.ingestion.rates as r",
        {"record": {"symbol", "price"}, "rate": {"Date", "USD", "load_id"}},
    ),
    "what a function gives comes from what it is given": (
        "select days.day from generate_series(date '2024-01-01', date '2024-12-31', interval '1 day') as days (day)",
        {"day": set()},
    ),
    "a count is made of what it counts": (
        "select count(1) filter (where symbol = 'x') as n, now() as at, 'x' as said from warehouse.ingestion.ticks",
        {"n": {"symbol"}, "at": set(), "said": set()},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_column_comes_from_the_columns_that_its_value_is_made_of(case: str) -> None:
    query, expected = CASES[case]
    found = origins(query, KNOWN)
    assert {name: {column for _, column in origin.columns} for name, origin in found.items()} == expected


def test_a_column_without_an_origin_says_what_it_is_made_of() -> None:
    found = origins("select now() as at, 'x' as said, null::text as missing from warehouse.ingestion.ticks", KNOWN)
    made_of = {name: set(origin.made_of) for name, origin in found.items()}
    assert made_of == {"at": {"CURRENT_TIMESTAMP"}, "said": {"'x'"}, "missing": {"CAST(NULL AS TEXT)"}}


def test_a_table_of_which_no_column_is_taken_is_read_too() -> None:
    query = "select t.price from warehouse.ingestion.ticks as t cross join warehouse.ingestion.rates"
    assert tables_of(query) == {TICKS, RATES}


@pytest.mark.parametrize(
    ("query", "received"),
    [
        ("select from where (", "a query that sqlglot cannot read"),
        ("select t.no_such from warehouse.ingestion.ticks as t", "no_such"),
        ("select no_such from warehouse.ingestion.ticks", "which no table there has"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(query: str, received: str) -> None:
    with pytest.raises(UnreadableQuery, match=received):
        origins(query, KNOWN)
