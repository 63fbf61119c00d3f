"""Numeric and text events of both lanes: revisions, repeats, what is no number, and what is no release."""

from datetime import date
from typing import Any

from tests.dbt_project.conftest import Databases, at
from tidemark import dbt

EVENTS = ("fct_numeric_events", "fct_text_events")


def observation(value: str, vintage: str, day: str = "2024-07-01") -> dict[str, str]:
    """An observation as FRED gives it."""
    return {"series_id": "GDP", "realtime_start": vintage, "realtime_end": vintage, "date": day, "value": value}


def rates(**cells: str | None) -> dict[str, Any]:
    """One day of the ECB's table."""
    return {"Date": "2024-06-26", **cells}


SERIES = {
    "id": "GDP",
    "title": "Gross Domestic Product",
    "units": "Billions of Dollars",
    "last_updated": "2024-10-30 07:53:01-05",
}


def test_a_history_given_whole_again_adds_only_what_changed(warehouse: Databases) -> None:
    """Three loads of the ECB: a rate revised, a currency that is new, one that is no number, and N/A."""
    warehouse.ingest("ecb__reference_rates", [rates(USD="1.0688", JPY="171.31", RUB="N/A", BGN=None)], "a")
    warehouse.build(*EVENTS)
    warehouse.ingest("ecb__reference_rates", [rates(USD="1.0688", JPY="171.31", RUB="N/A", BGN=None, XYZ="4.2")], "b")
    warehouse.ingest("ecb__reference_rates", [rates(USD="1.0690", JPY="171.31", RUB="N/A", BGN="soon", XYZ="4.2")], "c")
    warehouse.build(*EVENTS)
    found = "select event_key, value, is_repeat, is_latest, load_id from marts.fct_numeric_events order by event_key"
    incremental = warehouse.query("warehouse", found)
    assert incremental == [
        ("ecb:JPY:2024-06-26:1", 171.31, False, True, "a"),
        ("ecb:USD:2024-06-26:1", 1.0688, False, False, "a"),
        ("ecb:USD:2024-06-26:2", 1.069, False, True, "c"),
        ("ecb:XYZ:2024-06-26:1", 4.2, False, True, "b"),
    ]
    assert warehouse.query("warehouse", "select event_key, value from marts.fct_text_events") == [
        ("ecb:BGN:2024-06-26:1", "soon")
    ]
    # The loads alone give the same history.
    dbt.run(warehouse.stack.settings, ["run", "--full-refresh"])
    assert warehouse.query("warehouse", found) == incremental


def test_a_value_that_came_by_both_lanes_is_one_observation(warehouse: Databases) -> None:
    """The poll's row and the batch's, a revision, and a value that is no number."""
    warehouse.ingest("fred__series", [SERIES], "s")
    warehouse.ingest(
        "fred__observations",
        [observation("29349.924", "2024-10-30"), observation(".", "2024-10-30", "1946-01-01")],
        "a",
    )
    warehouse.build(*EVENTS)
    streamed = {
        "source_system": "fred", "event_publisher": "BEA", "value": 29349.924, "unit": "dollars", "description": "GDP",
        "attributes": {"series_id": "GDP", "date": "2024-07-01", "realtime_start": "2024-10-30"},
        "log_epoch": 1, "kafka_partition": 0, "kafka_offset": 7, "received_at": at("08 10:00:00"),
    }  # fmt: skip
    warehouse.promote("economic_event_numeric", [streamed], "b")
    warehouse.ingest("fred__observations", [observation("29374.914", "2024-12-19")], "c")
    warehouse.build(*EVENTS)
    gdp = "fred:GDP:2024-07-01"
    assert warehouse.query(
        "warehouse",
        "select event_key, observation_key, is_repeat, is_latest, unit, vintage_date "
        "from marts.fct_numeric_events order by loaded_at",
    ) == [
        ("fred:GDP:2024-07-01:2024-10-30:1", gdp, False, False, "Billions of Dollars", date(2024, 10, 30)),
        ("economic_event_numeric:1:0:7", gdp, True, False, "dollars", date(2024, 10, 30)),
        ("fred:GDP:2024-07-01:2024-12-19:1", gdp, False, True, "Billions of Dollars", date(2024, 12, 19)),
    ]  # fmt: skip
    assert warehouse.query("warehouse", "select value, reference_date from marts.fct_text_events") == [
        (".", date(1946, 1, 1))
    ]
