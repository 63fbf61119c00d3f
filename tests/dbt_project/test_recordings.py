"""The marts of the recordings: golden cells, what was known when, and the queries of docs/queries.md."""

import csv
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from ingest.pipeline import run
from loopback.serving import serving
from loopback.session import Session
from tests.conftest import Stack, empty_warehouse
from tests.dbt_project.conftest import Databases
from tests.dbt_project.test_observations import KEY, build
from tests.dbt_project.test_recorded_market import levels, trades
from tidemark.dbt import DBT_PROJECT
from tidemark.settings import PROJECT

OF_MARKET = ("rpt_returns_daily", "fct_book_spreads", "rpt_source_health", "dim_instruments")
MOST_LINES = 12
pytestmark = pytest.mark.recordings
COUNTED = (
    "select series_id, count(*) from marts.fct_economic_observations where source_system = 'fred' group by 1 order by 1"
)
# Not a row's content: when it was loaded and written.
SHOWN = (
    "select to_jsonb(known) - array['loaded_at', 'built_at'] from {} as known where source_system = 'fred' order by 1"
)


@dataclass(frozen=True)
class Recorded:
    """The warehouse after both recordings; of the first alone, its counts and all its vintages."""

    databases: Databases
    first_counts: list[tuple[Any, ...]]
    first: list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def recorded_marts(stack: Stack, recordings: Path, recorded: Session) -> Iterator[Recorded]:
    """Both recordings of FRED, one after the other, the ECB's history, trades and order books."""
    empty_warehouse(stack)
    databases = Databases(stack)
    databases.promote("market_tick", list(trades(recordings)), "trades")
    databases.promote("order_book_l2", list(levels(recorded)), "levels")
    with serving(recordings) as servers:
        settings = stack.settings.model_copy(
            update={"ecb_url": servers.ecb.url, "fred_url": servers.fred.url, "fred_api_key": SecretStr(KEY)}
        )
        run(settings, "ecb")
        run(settings, "fred")
        build(databases)
        first_counts = databases.query("warehouse", COUNTED)
        first = databases.query("warehouse", SHOWN.format("asof.fct_economic_observations"))
        servers.fred.next()
        run(settings, "fred")
        build(databases, *(f"+{mart}" for mart in OF_MARKET))
    yield Recorded(databases, first_counts, first)


def test_the_marts_of_the_recordings_have_their_rows_and_their_golden_cells(recorded_marts: Recorded) -> None:
    databases = recorded_marts.databases
    assert recorded_marts.first_counts == [("CPILFESL", 813), ("GDP", 3_199), ("WGS10YR", 3_278)]
    assert databases.query("warehouse", COUNTED) == [("CPILFESL", 816), ("GDP", 3_201), ("WGS10YR", 3_289)]
    assert databases.query("warehouse", "select count(*), max(rate_date)::text from marts.fct_fx_rates") == [
        (319_489, "2026-10-30")
    ]
    assert databases.query("warehouse", "select count(*) from marts.rpt_rejected_rows") == [(0,)]
    with (DBT_PROJECT / "tests" / "golden" / "economic.csv").open(encoding="utf-8") as cells:
        wrong = [
            (cell, found)
            for cell in csv.DictReader(cells)
            if [(cell["value"] or None,)]
            != (
                found := databases.query(
                    "warehouse",
                    f"select ({cell['column']})::text from marts.{cell['mart']} "
                    f"where {cell['key_column']} = '{cell['key']}' and {source_of(cell['mart'])}",
                )
            )
        ]
    assert wrong == []


def source_of(mart: str) -> str:
    """A condition that lets a cross be asked of one day."""
    return "rate_date = '2024-06-26'" if mart == "fct_fx_crosses" else "true"


def test_as_of_the_first_recordings_day_the_second_gives_exactly_the_first(
    recorded_marts: Recorded, recordings: Path
) -> None:
    """Every column of every row; by the function of a moment, of a day and by the view; and as the file itself has it."""
    query = recorded_marts.databases.query
    for asked in ("('2024-11-04 00:00:00Z'::timestamptz)", "('2024-11-03'::date)"):
        relation = f"asof.fct_economic_observations{asked}"
        assert query("warehouse", SHOWN.format(relation)) == recorded_marts.first
    view = SHOWN.format("asof.fct_economic_observations")
    assert query("warehouse", view, options="-c tidemark.as_of=2024-11-03") == recorded_marts.first
    assert query("warehouse", view) != recorded_marts.first
    packed = recordings / "fred_api" / "series_observations_GDP_allvintages_recorded20241103.json.gz"
    rows = json.loads(gzip.decompress(packed.read_bytes()))["observations"]
    open_rows = {(row["date"], row["value"]) for row in rows if row["realtime_end"] >= "2024-11-03"}
    gdp = (
        "select reference_date::text, value from asof.fct_economic_observations('2024-11-03'::date) "
        "where series_key = 'fred:GDP' and not is_withdrawn"
    )
    assert set(query("warehouse", gdp)) == {(day, float(value)) for day, value in open_rows if value != "."}


def test_as_of_now_the_exchange_rates_are_those_of_their_mart(recorded_marts: Recorded) -> None:
    """They are filled from the vintages there, and from the statements here."""
    both = (
        "select fx_rate_key, rate, age_days, is_filled, rate_date, source_date from {} where currency in ('USD', 'ISK')"
    )
    here, there = both.format("marts.fct_fx_rates"), both.format("asof.fct_fx_rates")
    query = f"(({here}) except ({there})) union all (({there}) except ({here}))"
    assert recorded_marts.databases.query("warehouse", query) == []
    known = "select max(rate_date)::text from asof.fct_fx_rates('2024-06-26 {}Z') where currency = 'USD'"
    assert recorded_marts.databases.query("warehouse", known.format("13:59:59")) == [("2024-06-25",)]
    assert recorded_marts.databases.query("warehouse", known.format("14:00:00")) == [("2024-06-26",)]


def queries() -> dict[str, str]:
    """The queries of docs/queries.md, by their headings."""
    page = (PROJECT / "docs" / "queries.md").read_text()
    found = re.findall(r"\n## ([^\n]+)\n[^#]*?```sql\n(.*?)```", page, re.DOTALL)
    return {heading: sql for heading, sql in found if heading != "Whose rows are these"}


def shown(value: Any) -> Any:
    """As the golden cells have it: a number, or a text."""
    try:
        return pytest.approx(float(value), rel=1e-12)
    except (TypeError, ValueError):
        return value.isoformat() if hasattr(value, "isoformat") else value


def test_the_queries_of_the_page_are_short_and_give_the_golden_cells(recorded_marts: Recorded) -> None:
    with (DBT_PROJECT / "tests" / "golden" / "queries.csv").open(encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    dsn = recorded_marts.databases.stack.dsn("warehouse", "bi_reader")
    assert len(queries()) == 5
    with psycopg.connect(dsn, row_factory=dict_row, options="-c timezone=UTC") as reader:
        for heading, sql in queries().items():
            assert len(sql.splitlines()) <= MOST_LINES, heading
            rows = reader.execute(sql.encode()).fetchall()
            expected = [cell for cell in cells if cell["query"] == heading]
            found = [(row["row"], row["column"], shown(rows[int(row["row"])][row["column"]])) for row in expected]
            assert [(cell["row"], cell["column"], _typed(cell["value"])) for cell in expected] == found
            if expected:
                assert len(rows) == len({cell["row"] for cell in expected})


def _typed(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def test_what_is_stale_is_what_brought_nothing_new_for_longer_than_it_promises(recorded_marts: Recorded) -> None:
    """A source that is made 30 days older, in a transaction that is rolled back."""
    with psycopg.connect(recorded_marts.databases.stack.dsn("warehouse"), row_factory=dict_row) as owner:
        before = [row["source_table"] for row in owner.execute(queries()["What is stale"].encode()).fetchall()]
        owner.execute(
            "update intermediate.int_sources_seen set loaded_at = loaded_at - interval '30 days' "
            "where source_table = 'fred__observations'"
        )
        rows = owner.execute(queries()["What is stale"].encode()).fetchall()
        owner.rollback()
    assert "fred__observations" not in before
    [stale] = [row for row in rows if row["source_table"] not in before]
    assert (stale["source_system"], stale["source_table"]) == ("fred", "fred__observations")
    assert stale["age"].days == 30
