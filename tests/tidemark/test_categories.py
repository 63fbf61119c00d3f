"""Categories: the specification's fields, exactly; what derives from them follows."""

import msgspec
import pytest

from tidemark.categories import CATEGORIES, json_schema, key_fields, required_fields, table_columns

SPECIFIED = {
    "market_tick": ("source_system", "symbol", "timestamp", "price", "size"),
    "order_book_l2": ("source_system", "symbol", "side", "level", "price", "size"),
    "economic_event_numeric": ("source_system", "event_publisher", "value", "unit", "description"),
    "economic_event_text": ("source_system", "event_publisher", "value", "unit", "description"),
}


@pytest.mark.parametrize("topic", SPECIFIED)
def test_a_category_has_the_specified_fields(topic: str) -> None:
    assert required_fields(topic) == SPECIFIED[topic]
    assert set(SPECIFIED) == set(CATEGORIES)


@pytest.mark.parametrize("topic", SPECIFIED)
def test_table_and_topic_schema_follow_the_category(topic: str) -> None:
    identity = ["log_epoch", "kafka_partition", "kafka_offset", "received_at"]
    assert list(table_columns(topic)) == [*SPECIFIED[topic], "attributes", *identity]
    assert json_schema(topic)["required"] == list(SPECIFIED[topic])
    assert key_fields(topic) == SPECIFIED[topic][:2]


def test_the_types_are_those_of_the_specification() -> None:
    columns = table_columns("market_tick") | table_columns("order_book_l2")
    assert columns["timestamp"] == "timestamptz"
    assert columns["price"] == columns["size"] == table_columns("economic_event_numeric")["value"] == "double precision"
    assert columns["level"] == "smallint"
    assert table_columns("economic_event_text")["value"] == "text"


@pytest.mark.parametrize(
    ("field", "value"), [("side", "buy"), ("level", 0), ("price", "1"), ("symbol", ""), ("symbol", 201 * "x")]
)
def test_a_wrong_value_is_no_record(field: str, value: object) -> None:
    good = {"source_system": "s", "symbol": "A/B", "side": "bid", "level": 1, "price": 1.5, "size": 2.0}
    decode = msgspec.json.Decoder(CATEGORIES["order_book_l2"]).decode
    decode(msgspec.json.encode(good))
    with pytest.raises(msgspec.ValidationError):
        decode(msgspec.json.encode(good | {field: value}))
