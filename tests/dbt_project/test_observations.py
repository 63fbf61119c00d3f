"""What was known of a series, and when; exchange rates of every day; what is no event."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.dbt_project.conftest import QUIET, Databases, at
from tidemark import dbt
from tidemark.dbt import DbtError

KEY = "0123456789abcdef0123456789abcdef"
MARTS = (
    "fct_economic_events", "fct_economic_observations", "fct_fx_rates", "dim_economic_series", "dim_currencies",
    "rpt_rejected_rows", "dim_sources",
)  # fmt: skip
BUILT = ", ".join(f"'{name}'" for name in ("built_at", "events_built_at", "known_at"))


def contents(databases: Databases) -> dict[str, list[tuple[Any, ...]]]:
    """The marts' rows, but when they were written."""
    return {
        mart: databases.query("warehouse", f"select to_jsonb(m) - array[{BUILT}] from marts.{mart} as m order by 1")
        for mart in MARTS
    }


def build(databases: Databases, *more: str) -> None:
    marts = [f"+{mart}" for mart in (*MARTS, "fct_fx_crosses")]
    dbt.run(databases.stack.settings, [*QUIET, "run", "--select", *marts, *more])


def vintage(day: str, start: str, end: str, value: str | None, series: str = "GDP") -> dict[str, Any]:
    return {"series_id": series, "realtime_start": start, "realtime_end": end, "date": day, "value": value}


NUMBER = {
    "source_system": "fred", "event_publisher": "BEA", "value": "1", "unit": "u", "description": "d", "log_epoch": "1",
    "kafka_partition": "0", "received_at": at("08 10:00:00"),
}  # fmt: skip


def streamed(offset: int, **attributes: str) -> dict[str, Any]:
    return {**NUMBER, "kafka_offset": str(offset), "attributes": {"series_id": "GDP", **attributes}}


def test_what_is_no_event_is_rejected_by_its_identity_and_holds_up_nothing(warehouse: Databases) -> None:
    """Each kind of bad row and what comes of it; every row is in the mart or rejected; a full build says the same."""
    tomorrow = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    good = {"date": "2024-07-01", "realtime_start": "2024-08-08", "realtime_end": "2024-08-08"}
    rows = [
        streamed(0, **good),
        streamed(1, **good | {"date": "soon"}),
        streamed(2, **good | {"realtime_end": "2024-08-01"}),
        streamed(3, **good | {"realtime_start": tomorrow, "realtime_end": tomorrow}),
        streamed(4, **good) | {"value": "many"},
        {**NUMBER, "kafka_offset": "5", "attributes": {}},
    ]
    warehouse.promote("economic_event_numeric", rows, "a")
    warehouse.ingest(
        "fred__observations",
        [
            vintage("2020-01-01", "2020-05-01", "2020-05-31", "1"),
            vintage("2020-01-01", "2020-06-01", "9999-12-31", "2"),
            vintage("2020-04-01", "2020-06-30", "2020-06-01", "3"),  # ends before it starts
            vintage("2020-07-01", tomorrow, "9999-12-31", "4"),  # not yet
            vintage("2020-10-01", "2020-12-01", "9999-12-31", None),
            vintage("2020-1O-01", "2020-12-01", "9999-12-31", "5"),
            vintage("2021-01-01", "2021-02-01", "9999-12-31", "6"),  # one key, two values
            vintage("2021-01-01", "2021-02-01", "9999-12-31", "7"),
            vintage("2020-01-01", "2020-05-01", "9999-12-31", "8", "NOBODY"),  # a series that nobody described
        ],
        "b",
    )
    described = {"id": "GDP", "title": "GDP", "realtime_start": "2024-10-30"}
    warehouse.ingest("fred__series", [{**described, "units": "Dollars"}], "c")
    warehouse.ingest(
        "ecb__reference_rates", [{"Date": "2024-06-26", "USD": "1.1"}, {"Date": tomorrow, "USD": "9"}], "d"
    )
    build(warehouse)
    rejected = "select source_table, kafka_offset, reason from marts.rpt_rejected_rows order by 1, 2, 3"
    streamed_rows, batch_rows = "realtime__economic_event_numeric", "fred__observations"
    assert warehouse.query("warehouse", rejected) == [
        ("ecb__reference_rates", None, "reference_date after the load"),
        (batch_rows, None, "text that cannot be cast: reference_date"),
        (batch_rows, None, "vintage_date after the load"),
        (batch_rows, None, "vintage_end_date before vintage_date"),
        (batch_rows, None, "without value_text"),
        (streamed_rows, 1, "text that cannot be cast: reference_date"),
        (streamed_rows, 2, "vintage_end_date before vintage_date"),
        (streamed_rows, 3, "vintage_date after the load"),
        (streamed_rows, 4, "text that cannot be cast: value"),
    ]
    counted = "select kafka_offset from marts.fct_economic_events where kafka_offset is not null order by 1"
    assert warehouse.query("warehouse", counted) == [(0,), (5,)]
    vintages = (
        "select series_key, reference_date::text, vintage_date::text, value, is_latest, availability_precision "
        "from marts.fct_economic_observations order by 1, 2, 3"
    )
    before = [
        ("ecb:USD", "2024-06-26", "2024-06-26", 1.1, True, "scheduled"),
        ("fred:GDP", "2020-01-01", "2020-05-01", 1, False, "date"),
        ("fred:GDP", "2020-01-01", "2020-06-01", 2, True, "date"),
        ("fred:GDP", "2021-01-01", "2021-02-01", 7, True, "date"),
        ("fred:GDP", "2024-07-01", "2024-08-08", 1, True, "exact"),
        ("fred:NOBODY", "2020-01-01", "2020-05-01", 8, True, "date"),
    ]
    assert warehouse.query("warehouse", vintages) == before

    # The unit changes; a source sends nothing; a later question, cut at its first day, brings one value that is new.
    warehouse.ingest("fred__series", [{**described, "units": "Euros"}], "e")
    warehouse.ingest(
        "fred__observations",
        [
            vintage("2020-01-01", "2021-02-01", "9999-12-31", "2"),
            vintage("2021-01-01", "2021-03-01", "9999-12-31", "9"),
        ],
        "f",
    )
    build(warehouse)
    after = [row if row[3] != 7 else (*row[:4], False, "date") for row in before]
    assert warehouse.query("warehouse", vintages) == sorted(
        [*after, ("fred:GDP", "2021-01-01", "2021-03-01", 9, True, "date")], key=lambda row: row[:3]
    )
    series = "select series_key, unit, unit_change_count, is_described from marts.dim_economic_series order by 1"
    assert warehouse.query("warehouse", series) == [
        ("ecb:USD", "USD per EUR", 0, False), ("fred:GDP", "Euros", 1, True), ("fred:NOBODY", None, 0, False)
    ]  # fmt: skip
    sources = "select source_system, topics, is_streamed, is_batch from marts.dim_sources order by 1"
    assert warehouse.query("warehouse", sources) == [
        ("ecb", "economic_event_numeric", False, True), ("fred", "economic_event_numeric", True, True)
    ]  # fmt: skip
    with pytest.raises(DbtError, match="stg_fred__observations_file_name") as failed:
        selected = ["--select", "+fct_economic_observations"]
        dbt.run(warehouse.stack.settings, ["build", "--exclude-resource-type", "unit_test", *selected])
    assert {"fct_economic_events", "fct_economic_observations"} <= failed.value.skipped  # the last good ones stay
    incremental = contents(warehouse)
    build(warehouse, "--full-refresh")
    assert contents(warehouse) == incremental


def test_an_exchange_rate_is_filled_until_the_next_and_ends_with_the_last(warehouse: Databases) -> None:
    """A revision and a withdrawal change the days that they fill, and no other."""

    def day(number: int, usd: str, jpy: str = "N/A") -> dict[str, Any]:
        return {"Date": f"2024-06-{number}", "USD": usd, "JPY": jpy}

    rates = (
        "select currency, extract(day from rate_date)::int, rate::float, age_days from marts.fct_fx_rates order by 1, 2"
    )
    warehouse.ingest("ecb__reference_rates", [day(21, "1.0", "160"), day(24, "1.2"), day(26, "1.3")], "a")
    build(warehouse)
    before = [("JPY", 21, 160.0, 0), ("USD", 21, 1.0, 0), ("USD", 22, 1.0, 1), ("USD", 23, 1.0, 2)]
    filled = [("USD", 24, 1.2, 0), ("USD", 25, 1.2, 1), ("USD", 26, 1.3, 0)]
    assert warehouse.query("warehouse", rates) == before + filled
    warehouse.ingest("ecb__reference_rates", [day(21, "1.0", "160"), day(24, "1.1"), day(26, "N/A", "170")], "b")
    build(warehouse)
    yen = [("JPY", number, 160.0, number - 21) for number in range(22, 26)]
    revised = [before[0], *yen, ("JPY", 26, 170.0, 0), *before[1:], ("USD", 24, 1.1, 0)]
    assert warehouse.query("warehouse", rates) == revised
    crosses = "select rate::float, age_days from marts.fct_fx_crosses where rate_date = '2024-06-24' "
    assert warehouse.query("warehouse", crosses + "and base_currency = 'USD' and quote_currency = 'JPY'") == [
        (pytest.approx(160 / 1.1), 3)
    ]
    incremental = contents(warehouse)
    build(warehouse, "--full-refresh")
    assert contents(warehouse) == incremental
