"""What was known of a mart at a moment: functions, views of a setting, and `tidemark asof`."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.errors import InvalidParameterValue

from tests.conftest import Stack, empty_warehouse
from tests.dbt_project.conftest import Databases
from tests.dbt_project.test_observations import build, vintage

OBSERVATIONS = "asof.fct_economic_observations"
MARTS = ("fct_economic_observations", "fct_economic_events", "fct_fx_rates", "dim_economic_series_history")
FIRST_DAY = date(2020, 1, 1)


def random_vintages(seed: int) -> list[dict[str, Any]]:
    """Vintages of five series, each with its end; now and then a value is withdrawn."""
    chance = random.Random(seed)
    rows = []
    for series in "ABCDE":
        for period in ("2020-01-01", "2020-04-01", "2020-07-01"):
            days = sorted(chance.sample(range(1, 300), chance.randint(1, 6)))
            for number, day in enumerate(days):
                start = FIRST_DAY + timedelta(days=day)
                last = number + 1 == len(days)
                end = date(9999, 12, 31) if last else FIRST_DAY + timedelta(days=days[number + 1] - 1)
                value = "." if chance.random() < 0.1 else str(1000 * day + number)
                rows.append(vintage(period, str(start), str(end), value, series))
    return rows


@pytest.fixture(scope="module")
def known(stack: Stack) -> Iterator[tuple[Databases, list[dict[str, Any]]]]:
    """The marts of random vintages, and the rows as they were loaded."""
    empty_warehouse(stack)
    databases = Databases(stack)
    rows = random_vintages(seed=18)
    databases.ingest("fred__observations", rows, "a")
    series = {"id": "A", "title": "A", "units": "u", "realtime_start": "2020-05-01"}
    databases.ingest("fred__series", [series], "b")
    databases.ingest("fred__series", [{**series, "title": "B", "realtime_start": "2020-08-01"}], "c")
    rates = [{"Date": f"2020-06-{day:02}", "USD": f"1.{day}"} for day in range(1, 30) if day % 7]
    databases.ingest("ecb__reference_rates", rates, "d")
    build(databases, "+dim_economic_series_history")
    with psycopg.connect(stack.dsn("warehouse"), autocommit=True) as owner:
        owner.execute("analyze")  # else a plan of tables that were empty may take a hundred times as long
    yield databases, rows


def expected(rows: list[dict[str, Any]], moment: datetime) -> set[tuple[str, str, float]]:
    """Series, period and value of what could be known: a vintage from the end of its first day on."""
    said: dict[tuple[str, str], str] = {}
    for row in sorted(rows, key=lambda row: row["realtime_start"]):
        if datetime.fromisoformat(row["realtime_start"]).replace(tzinfo=UTC) + timedelta(days=1) <= moment:
            said[row["series_id"], row["date"]] = row["value"]
    return {(*key, float(value)) for key, value in said.items() if value != "."}


def test_at_random_moments_all_is_known_that_was_and_nothing_that_came_later(
    known: tuple[Databases, list[dict[str, Any]]],
) -> None:
    """Compared with the loaded rows; the function, the view and the rows of every mart; no mark tells of what came."""
    databases, rows = known
    chance = random.Random(19)
    begin = datetime(2019, 12, 31, tzinfo=UTC)
    found = (
        f"select series_id, reference_date::text, value from {OBSERVATIONS} where source_system = 'fred' and value > 0"
    )
    with psycopg.connect(databases.stack.dsn("warehouse", "bi_reader"), autocommit=True) as reader:
        for _ in range(60):
            moment = begin + timedelta(seconds=chance.randint(0, 330 * 86_400))
            reader.execute("select set_config('tidemark.as_of', %s, false)", (moment.isoformat(),))
            assert set(reader.execute(found.encode()).fetchall()) == expected(rows, moment)
            later = " union all ".join(
                f"select to_jsonb(m) from asof.{mart} as m where greatest({clock}) > (select asof.moment())"
                for mart, clock in (
                    ("fct_economic_observations", "available_at, superseded_at"),
                    ("fct_economic_events", "available_at, asof.end_of(vintage_end_date)"),
                    ("fct_fx_rates", "(source_date + time '16:00') at time zone 'Europe/Berlin'"),
                    ("dim_economic_series_history", "effective_at, effective_end_at, superseded_at"),
                )
            )
            assert reader.execute(later.encode()).fetchall() == []
            for mart in MARTS:
                rows_of = f"select md5(string_agg(m::text, '' order by m::text)) from asof.{mart}"
                of_view = reader.execute(f"{rows_of} as m".encode()).fetchall()
                assert reader.execute(f"{rows_of}(%s::timestamptz) as m".encode(), (moment,)).fetchall() == of_view


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("2020-06-05", "2020-06-06 00:00:00+00"),
        ("2020-06-05T10:00:00Z", "2020-06-05 10:00:00+00"),
        ("2020-06-05 10:00:00.5+02:00", "2020-06-05 08:00:00.5+00"),
        (" 2020-06-05 10:00 -05 ", "2020-06-05 15:00:00+00"),
    ],
)
def test_the_setting_is_a_moment_with_its_offset_or_a_date_which_is_its_end(
    stack: Stack, said: str, moment: str
) -> None:
    databases = Databases(stack)
    options = f"-c tidemark.as_of={said.replace(' ', chr(92) + ' ')} -c timezone=UTC"
    assert databases.query("warehouse", "select asof.moment()::text", options=options) == [(moment,)]


@pytest.mark.parametrize(
    "said",
    ["2020-06-05 10:00:00", "2020-06-05T10:00", "now", "today", "infinity", "5 June 2020", "06/05/2020", "20200605"],
)
def test_a_text_without_its_offset_is_refused_with_a_sentence(
    known: tuple[Databases, list[dict[str, Any]]], said: str
) -> None:
    databases, _ = known
    with (
        psycopg.connect(databases.stack.dsn("warehouse", "bi_reader")) as reader,
        pytest.raises(
            InvalidParameterValue, match="expected a moment with its offset, such as .*, or a date, received"
        ),
    ):
        reader.execute("select set_config('tidemark.as_of', %s, false)", (said,))
        reader.execute(f"select * from {OBSERVATIONS}".encode())


def test_unset_or_empty_is_now_and_a_role_may_have_a_moment_of_its_own(
    known: tuple[Databases, list[dict[str, Any]]],
) -> None:
    """Also after a reset, which leaves the empty text; what a session sets goes before its role's.

    A role of people's own: of `bi_reader`, which people share, the guard puts back every setting.
    """
    databases, _ = known
    counted = f"select count(*), count(*) filter (where is_latest) from {OBSERVATIONS}"
    [now] = databases.query("warehouse", counted)
    [latest] = databases.query("warehouse", "select count(*) from marts.fct_economic_observations where is_latest")
    assert now == (*latest, *latest)
    with psycopg.connect(databases.stack.dsn("warehouse", "bi_reader"), autocommit=True) as reader:
        reader.execute("set tidemark.as_of = '2020-03-01'")
        [then] = reader.execute(counted.encode()).fetchall()
        reader.execute("reset tidemark.as_of")
        assert reader.execute(counted.encode()).fetchall() == [now]
    assert 0 < then[0] < now[0]
    own = make_conninfo(databases.stack.dsn("warehouse", "bi_reader"), user="reader_of_2020", password="of 2020")
    with psycopg.connect(databases.stack.dsn("warehouse"), autocommit=True) as owner:
        owner.execute("create role reader_of_2020 login password 'of 2020' in role bi_reader")
        try:
            owner.execute("alter role reader_of_2020 set tidemark.as_of = '2020-03-01'")
            for options, found in (("", then), ("-c tidemark.as_of=", now)):
                with psycopg.connect(own, options=options) as reader:
                    assert reader.execute(counted.encode()).fetchall() == [found]
        finally:
            owner.execute("drop role reader_of_2020")


def test_a_function_is_inlined_its_moment_reaches_the_index_and_the_setting_is_asked_once(
    known: tuple[Databases, list[dict[str, Any]]],
) -> None:
    """As EXPLAIN says; with seq scans off, as there are few rows here."""
    databases, _ = known
    series = "where series_key = 'fred:A' and reference_date > '2020-01-01'"
    for relation in (f"{OBSERVATIONS}('2020-06-05 10:00Z')", f"{OBSERVATIONS}('2020-06-05'::date)", OBSERVATIONS):
        plan = "\n".join(
            line
            for (line,) in databases.query(
                "warehouse",
                f"explain (verbose, costs off) select * from {relation} {series}",
                options="-c enable_seqscan=off -c enable_bitmapscan=off",
            )
        )
        assert "Function Scan" not in plan
        conditions = [line for line in plan.splitlines() if "Index Cond" in line]
        assert len(conditions) == 1
        assert "available_at <=" in conditions[0]
        if relation == OBSERVATIONS:
            assert "InitPlan" in plan
            assert all("asof.moment()" not in line for line in plan.splitlines() if "Cond" in line or "Filter" in line)
    secured = (
        "select proname from pg_proc where pronamespace = 'asof'::regnamespace and (prosecdef or provolatile = 'v')"
    )
    assert databases.query("warehouse", secured) == []


def test_the_command_runs_a_query_as_of_a_moment_and_refuses_what_is_none(
    known: tuple[Databases, list[dict[str, Any]]],
) -> None:
    databases, _ = known
    counted = f"select count(*) from {OBSERVATIONS}"
    [(then,)] = databases.query("warehouse", f"{counted}('2020-03-01'::date)")
    done = databases.stack.run("asof", "2020-03-01", counted)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[2] == str(then)
    assert done.stderr == "as of 2020-03-02 00:00:00Z\n"
    wrong = databases.stack.run("asof", "2020-03-01 10:00")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("tidemark: tidemark.as_of: expected a moment with its offset")
    none = databases.stack.run("asof", "2020-02-30", counted)
    assert (none.returncode, none.stdout) == (2, "")
    assert "expected a day of the calendar, such as 2024-11-03" in none.stderr and "received '2020-02-30'" in none.stderr
    assert databases.stack.run("asof", "2020-03-01", "select * from asof.nothing").returncode == 1
