"""The topic mapping: what becomes of a record, and why one is no row."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_shim.buffer.entries import read_topics
from stream_shim.processor.mapping import MAX_VALUE_BYTES, Mapped, build_mapper
from stream_shim.processor.records import Record
from tests.stream_shim.conftest import tick
from tidemark.categories import required_fields, table_columns
from tidemark.settings import Settings

TOPICS = read_topics(Settings().topics_file)
MAPPERS = {topic: build_mapper(topic, entry.mapping) for topic, entry in TOPICS.items()}
BOOK = {"source_system": "s", "symbol": "X", "side": "bid", "level": 1, "price": 1.5, "size": 2.0}


def mapped(value: bytes | None, topic: str = "market_tick") -> Mapped:
    return MAPPERS[topic]([Record(7, 1_723_161_255_208, b"k", value)], 1, 0)


def encoded(**changes: Any) -> bytes:
    return json.dumps(tick(**changes)).encode()


def test_a_row_has_the_columns_of_the_table_in_their_order() -> None:
    (row,) = mapped(encoded()).rows
    by_column = dict(zip(table_columns("market_tick"), row, strict=True))
    assert by_column["price"] == 60000.5
    assert by_column["attributes"] == '{"id": "0"}'
    assert (by_column["log_epoch"], by_column["kafka_partition"], by_column["kafka_offset"]) == (1, 0, 7)
    assert by_column["received_at"] == "2024-08-08T23:54:15.208+00:00"


def test_a_flat_record_of_a_foreign_producer_keeps_its_extra_fields_to_the_last_digit() -> None:
    value = b'{"venue":"X",' + encoded(attributes={})[1:-1].replace(b', "attributes": {}', b"") + b',"fee":1.10}'
    (row,) = mapped(value).rows
    assert row[5] == '{"venue":"X","fee":1.10}'


POISON = {
    "empty value": (None, "empty_value"),
    "no bytes": (b"", "empty_value"),
    "truncated JSON": (encoded()[:-5], "not_json"),
    "not JSON": (b"price=1", "not_json"),
    "an array": (b"[1]", "wrong_type"),
    "text for a number": (encoded(price="1"), "wrong_type"),
    "a null": (encoded(symbol=None), "wrong_type"),
    "missing field": (b'{"source_system": "s", "symbol": "A"}', "missing_field"),
    "NUL in a name": (encoded(symbol="A\0B"), "nul_character"),
    "NUL in attributes": (encoded(attributes={"a": "\0"}), "nul_character"),
    "NaN": (encoded(price=float("nan")), "not_json"),
    "infinite": (encoded().replace(b"60000.5", b"1e999"), "not_finite"),
    "year 10000": (encoded(timestamp="10000-01-01T00:00:00Z"), "invalid_timestamp"),
    "a time before year 1": (encoded(timestamp="0001-01-01T00:00:00+12:00"), "invalid_timestamp"),
    "a time after year 9999": (encoded(timestamp="9999-12-31T23:59:59-01:00"), "invalid_timestamp"),
    "a venue's clock that is days ahead": (encoded(timestamp="9999-12-31T23:59:59.999999Z"), "invalid_timestamp"),
    "a time without a zone": (encoded(timestamp="2024-08-08T00:00:00"), "invalid_timestamp"),
    "2 MB": (encoded(attributes={"a": "x" * 2 * MAX_VALUE_BYTES}), "too_large"),
    "invalid UTF-8": (encoded(symbol="@").replace(b"@", b"\xff"), "invalid_utf8"),
    "invalid UTF-8 in attributes": (encoded(attributes={"a": "@"}).replace(b"@", b"\xff"), "invalid_utf8"),
    "nested too deep": (b'{"attributes":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
    "nested too deep beside the fields": (b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "too_deep"),
    "numbers of a gigabyte": (
        encoded(attributes={"a": 0}).replace(b'"a": 0', b'"a": [' + b"1e131000," * 1000 + b"0]"),
        "too_large",
    ),
    "small numbers of a gigabyte": (
        encoded(attributes={"a": 0}).replace(b'"a": 0', b'"a": [' + b"1e-16000," * 1000 + b"0]"),
        "too_large",
    ),
    "attributes that are no object": (encoded(attributes=[1]), "wrong_type"),
    "a name without end": (encoded(symbol="x" * 600), "invalid_value"),
}


@pytest.mark.parametrize("kind", POISON)
def test_a_record_that_cannot_be_a_row_is_rejected_with_its_reason(kind: str) -> None:
    value, reason = POISON[kind]
    found = mapped(value)
    assert found.rows == []
    assert [reject.reason for reject in found.rejects] == [reason], found.rejects[0].detail


@pytest.mark.parametrize("changes", [{"side": "buy"}, {"level": 0}, {"level": -1}, {"level": 40_000}])
def test_an_unknown_side_and_a_level_below_one_are_rejected(changes: dict[str, Any]) -> None:
    found = mapped(json.dumps({**BOOK, **changes}).encode(), "order_book_l2")
    assert [reject.reason for reject in found.rejects] == ["invalid_value"]


UUIDS = " ".join(f"9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6{digit} 3e1234" for digit in range(5))


@pytest.mark.parametrize("text", [UUIDS, UUIDS + ' and a quote " 1e9999 and a backslash \\', "1e9999"])
def test_letters_of_a_long_text_that_look_like_an_exponent_are_no_number(text: str) -> None:
    event = {"source_system": "s", "event_publisher": "p", "value": text + "x" * 9000, "unit": "u", "description": "d"}
    value = json.dumps({**event, "attributes": {text: [text, 1.5e3]}}).encode()
    assert mapped(value, "economic_event_text").rejects == []


def test_attributes_that_are_null_are_none_also_beside_extra_fields() -> None:
    assert mapped(encoded(attributes=None)).rows[0][5] == "{}"
    assert mapped(encoded(attributes=None, venue="X")).rows[0][5] == '{"venue":"X"}'


def test_a_time_of_any_zone_is_the_same_moment_in_utc() -> None:
    (row,) = mapped(encoded(timestamp="2024-08-08T00:00:00-23:59")).rows
    assert row[2] == datetime(2024, 8, 8, 23, 59, tzinfo=UTC)
    (flat,) = mapped(encoded(timestamp="2024-08-08T00:00:00+15:30", venue="X")).rows
    assert flat[2] == datetime(2024, 8, 7, 8, 30, tzinfo=UTC)
    assert flat[2].tzinfo is UTC


def test_a_venue_that_is_ahead_by_hours_is_a_row_and_one_ahead_by_days_costs_its_own_record_alone() -> None:
    stamps = ["2024-08-09T23:00:00Z", "2024-08-10T00:00:00Z", "2024-08-08T23:54:15Z"]
    records = [Record(i, 1_723_161_255_208, None, encoded(timestamp=stamp)) for i, stamp in enumerate(stamps)]
    found = MAPPERS["market_tick"](records, 1, 0)
    assert [row[8] for row in found.rows] == [0, 2]
    assert [(reject.record.offset, reject.reason) for reject in found.rejects] == [(1, "invalid_timestamp")]


def test_two_hundred_levels_of_nesting_are_a_row() -> None:
    assert len(mapped(encoded(attributes={"a": json.loads("[" * 200 + "]" * 200)})).rows) == 1


def test_one_bad_record_leaves_its_neighbours_alone_and_in_order() -> None:
    values = [encoded(number=0), b"{", encoded(number=2)]
    found = MAPPERS["market_tick"]([Record(i, 1_723_161_255_208, None, v) for i, v in enumerate(values)], 1, 0)
    assert [row[8] for row in found.rows] == [0, 2]
    assert [record.offset for record in found.records] == [0, 2]
    assert [reject.record.offset for reject in found.rejects] == [1]


def test_a_record_stamped_in_microseconds_is_a_reject_and_its_neighbours_are_rows() -> None:
    stamps = [1_723_161_255_208, 1_723_161_255_208_000, 1_723_161_255_209]
    found = MAPPERS["market_tick"]([Record(i, stamp, None, encoded()) for i, stamp in enumerate(stamps)], 1, 0)
    assert [row[8] for row in found.rows] == [0, 2]
    assert [(reject.record.offset, reject.reason) for reject in found.rejects] == [(1, "invalid_timestamp")]


def test_a_renaming_in_the_topic_mapping_is_what_the_wire_says() -> None:
    mapping = {**TOPICS["market_tick"].mapping, "size": "quantity"}
    value = encoded().replace(b'"size"', b'"quantity"')
    found = build_mapper("market_tick", mapping)([Record(0, 1_723_161_255_208, None, value)], 1, 0)
    assert found.rows[0][4] == 0.25


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=5))
def test_whatever_stands_in_attributes_is_a_row_with_the_same_bytes_or_a_counted_reject(attributes: Any) -> None:
    found = mapped(json.dumps(tick(attributes=attributes)).encode("utf-8", "surrogatepass"))
    assert len(found.rows) + len(found.rejects) == 1
    for row in found.rows:
        assert row[5] == json.dumps(attributes)


def test_every_topic_maps_all_columns_of_its_category() -> None:
    for topic, entry in TOPICS.items():
        assert tuple(entry.mapping) == required_fields(topic)
