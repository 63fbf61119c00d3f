"""Numeric and text events of both lanes: revisions, repeats, what is no number, and what is no release."""

import random
import string
from datetime import date
from typing import Any

import pytest

from tests.dbt_project.conftest import Databases, at
from tidemark import dbt
from tidemark.dbt import DbtError

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
    warehouse.build(*EVENTS, full_refresh=True)
    assert warehouse.query("warehouse", found) == incremental


def test_days_that_cannot_be_read_are_counted_and_cost_nothing_else(warehouse: Databases) -> None:
    """However many there are: the build fails at the end, after all else is built."""
    unread = [rates(USD="9") | {"Date": day} for day in ("", "2024-13-45", "")]
    warehouse.ingest("ecb__reference_rates", [rates(USD="1.0688"), *unread], "a")
    with pytest.raises(DbtError, match="no_text_was_lost_in_a_cast") as failed:
        dbt.run(warehouse.stack.settings, ["build", "--exclude-resource-type", "unit_test"])
    assert not failed.value.skipped
    found = warehouse.query("warehouse", "select event_key, value from marts.fct_numeric_events")
    assert found == [("ecb:USD:2024-06-26:1", 1.0688)]


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


def test_events_whose_id_is_blank_are_two_and_an_event_keeps_the_words_of_its_time(warehouse: Databases) -> None:
    """A blank id or series says as little as none; a series that is named anew renames nothing that is there."""
    blank = {
        "source_system": "wire", "event_publisher": "BEA", "value": 1.5, "unit": "", "description": "",
        "log_epoch": 1, "kafka_partition": 0, "received_at": at("08 10:00:00"),
    }  # fmt: skip
    ids = [{"id": ""}, {"id": ""}, {"series_id": " ", "date": "2024-07-01"}, {"series_id": "", "date": "2024-07-01"}]
    rows = [{**blank, "attributes": attributes, "kafka_offset": n} for n, attributes in enumerate(ids)]
    warehouse.promote("economic_event_numeric", rows, "a")
    warehouse.ingest("fred__series", [SERIES], "s")
    warehouse.ingest("fred__observations", [observation("1", "2024-10-30")], "b")
    warehouse.build(*EVENTS)
    warehouse.ingest("fred__series", [SERIES | {"title": "Output"}], "t")
    warehouse.ingest("fred__observations", [observation("2", "2024-12-19")], "c")
    warehouse.build(*EVENTS)
    found = "select event_key, description, is_repeat, is_latest from marts.fct_numeric_events order by 1"
    incremental = warehouse.query("warehouse", found)
    assert incremental == [
        *((f"economic_event_numeric:1:0:{n}", None, False, True) for n in range(4)),
        ("fred:GDP:2024-07-01:2024-10-30:1", "Gross Domestic Product", False, False),
        ("fred:GDP:2024-07-01:2024-12-19:1", "Output", False, True),
    ]
    warehouse.build(*EVENTS, full_refresh=True)
    assert warehouse.query("warehouse", found) == incremental


LATEST = (
    "select value::text, is_latest from marts.fct_numeric_events where series_id = '{0}' union all "
    "select value, is_latest from marts.fct_text_events where series_id = '{0}' order by 2, 1"
)


def test_a_rate_that_a_later_history_lacks_is_withdrawn_and_may_come_back(warehouse: Databases) -> None:
    """By a word, by an empty cell, by a day that is gone; not by a file whose dates cannot be read."""
    other = {"Date": "2024-06-25", "USD": "1.07", "JPY": "170", "CHF": "0.95"}
    warehouse.ingest("ecb__reference_rates", [rates(USD="24.237", JPY="171.31", CHF="0.96"), other], "a")
    warehouse.build(*EVENTS)
    warehouse.ingest("ecb__reference_rates", [rates(USD="N/A", JPY=None, CHF="0.96"), other], "b")
    warehouse.build(*EVENTS)
    day = "reference_date = '2024-06-26'"
    query = f"select series_id, value, is_latest from marts.fct_{{}}_events where {day} order by 1"
    assert warehouse.query("warehouse", query.format("numeric")) == [
        ("CHF", 0.96, True), ("JPY", 171.31, False), ("USD", 24.237, False)
    ]  # fmt: skip
    assert warehouse.query("warehouse", query.format("text")) == [("JPY", None, True), ("USD", "N/A", True)]

    # A history that is not whole says nothing by what it lacks; then the day is gone; then it is back.
    warehouse.ingest("ecb__reference_rates", [{**other, "Date": "26 June"}, other], "c")
    warehouse.build(*EVENTS)
    assert warehouse.query("warehouse", query.format("numeric"))[0] == ("CHF", 0.96, True)
    warehouse.ingest("ecb__reference_rates", [other], "d")
    warehouse.build(*EVENTS)
    assert warehouse.query("warehouse", query.format("numeric"))[0] == ("CHF", 0.96, False)
    assert warehouse.query("warehouse", query.format("text"))[0] == ("CHF", None, True)
    warehouse.ingest("ecb__reference_rates", [rates(USD="24.237", JPY="N/A", CHF="0.96"), other], "e")
    warehouse.build(*EVENTS)
    events = (
        "select event_key, is_repeat, is_latest from marts.fct_{}_events "
        f"where {day} order by loaded_at, event_key"
    )  # fmt: skip
    history = [warehouse.query("warehouse", events.format(kind)) for kind in ("numeric", "text")]
    assert history == [
        [
            ("ecb:CHF:2024-06-26:1", False, False), ("ecb:JPY:2024-06-26:1", False, False),
            ("ecb:USD:2024-06-26:1", False, False), ("ecb:CHF:2024-06-26:3", False, True),
            ("ecb:USD:2024-06-26:3", False, True),
        ],
        [
            ("ecb:JPY:2024-06-26:2", False, True), ("ecb:USD:2024-06-26:2", False, False),
            ("ecb:CHF:2024-06-26:2", False, False),
        ],
    ]  # fmt: skip
    # The loads alone give the same history.
    warehouse.build(*EVENTS, full_refresh=True)
    assert [warehouse.query("warehouse", events.format(kind)) for kind in ("numeric", "text")] == history


def test_a_number_that_becomes_a_point_is_the_latest_of_neither_value(warehouse: Databases) -> None:
    """FRED's 100.4, a point, 101, a point again: each is news, and one is the latest over both marts."""
    warehouse.ingest("fred__series", [SERIES], "s")
    for number, value in enumerate(("100.4", ".", "101", "."), start=1):
        warehouse.ingest("fred__observations", [observation(value, f"2024-10-0{number}")], f"v{number}")
        warehouse.build(*EVENTS)
    assert warehouse.query("warehouse", LATEST.format("GDP")) == [
        (".", False), ("100.4", False), ("101", False), (".", True)
    ]  # fmt: skip
    assert warehouse.query("warehouse", "select count(*) from marts.fct_text_events where is_repeat") == [(0,)]


def test_an_entry_whose_id_is_longer_than_an_index_takes_is_a_row(warehouse: Databases) -> None:
    """4,000 letters, twice the same, and once another at the end."""
    letters = "".join(random.Random(7).choices(string.ascii_letters, k=4_000))
    event = {
        "source_system": "s", "event_publisher": "p", "value": "v", "unit": "u", "description": "d",
        "log_epoch": 1, "kafka_partition": 0, "received_at": at("08 10:00:00"),
    }  # fmt: skip
    ids = (letters, letters, letters[:-1] + "0")
    warehouse.promote(
        "economic_event_text", [event | {"kafka_offset": n, "attributes": {"id": i}} for n, i in enumerate(ids)], "a"
    )
    warehouse.build("fct_text_events")
    assert warehouse.query("warehouse", "select is_repeat, is_latest from marts.fct_text_events order by kafka_offset") == [
        (False, True), (True, False), (False, True)
    ]  # fmt: skip
