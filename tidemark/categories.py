"""The four categories: the typed shape that the topic schema, the table, the contract and the catalog derive from.

A category is a topic. Required fields come from the specification; every other field of a source goes along in
`attributes` and ends in the row's `attributes jsonb`.
"""

from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Raw, Struct

# Two of them, of four bytes a character, fit in a row of an index (2,704 bytes); a longer one cannot be a row.
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Level = Annotated[int, Meta(ge=1, le=32767)]


class Category(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base: one record on the wire is one object of a subclass; `attributes` is one JSON object, kept as its bytes."""


class MarketTick(Category, frozen=True, forbid_unknown_fields=True, gc=False):
    """One trade on a venue. `timestamp` is the venue's clock, `price` in quote currency, `size` in units traded."""

    source_system: Name
    symbol: Name
    timestamp: datetime
    price: float
    size: float
    attributes: Raw = Raw(b"{}")


class OrderBookL2(Category, frozen=True, forbid_unknown_fields=True, gc=False):
    """One level of one side of one order-book snapshot; level 1 is the best. A snapshot shares `snapshot_id`."""

    source_system: Name
    symbol: Name
    side: Literal["bid", "ask"]
    level: Level
    price: float
    size: float
    attributes: Raw = Raw(b"{}")


class EconomicEventNumeric(Category, frozen=True, forbid_unknown_fields=True, gc=False):
    """One published number, with its unit."""

    source_system: Name
    event_publisher: Name
    value: float
    unit: str
    description: str
    attributes: Raw = Raw(b"{}")


class EconomicEventText(Category, frozen=True, forbid_unknown_fields=True, gc=False):
    """One publication whose value is text: a headline, a filing, a release that is not a number."""

    source_system: Name
    event_publisher: Name
    value: str
    unit: str
    description: str
    attributes: Raw = Raw(b"{}")


CATEGORIES: dict[str, type[Category]] = {
    "market_tick": MarketTick,
    "order_book_l2": OrderBookL2,
    "economic_event_numeric": EconomicEventNumeric,
    "economic_event_text": EconomicEventText,
}

# A row's identity is (topic, log_epoch, kafka_partition, kafka_offset); received_at is the record's time in Kafka.
IDENTITY_COLUMNS: dict[str, str] = {
    "log_epoch": "smallint",
    "kafka_partition": "smallint",
    "kafka_offset": "bigint",
    "received_at": "timestamptz",
}
_POSTGRES_TYPES: dict[type, str] = {
    str: "text",
    float: "double precision",
    int: "smallint",
    datetime: "timestamptz",
}


@cache
def required_fields(topic: str) -> tuple[str, ...]:
    """The category's fields in the specification's order, without `attributes`."""
    return tuple(name for name in CATEGORIES[topic].__struct_fields__ if name != "attributes")


@cache
def key_fields(topic: str) -> tuple[str, str]:
    """The two fields that make the record's key: source_system with symbol, or with event_publisher."""
    return required_fields(topic)[:2]  # type: ignore[return-value]


def _base_type(hint: Any) -> type:
    if get_origin(hint) is Annotated:
        return _base_type(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return str
    return hint  # type: ignore[no-any-return]


def table_columns(topic: str) -> dict[str, str]:
    """Column name to Postgres type of the topic's table: the category's fields, attributes, then the identity."""
    hints = get_type_hints(CATEGORIES[topic], include_extras=True)
    columns = {name: _POSTGRES_TYPES[_base_type(hints[name])] for name in required_fields(topic)}
    return {**columns, "attributes": "jsonb", **IDENTITY_COLUMNS}


def json_schema(topic: str) -> dict[str, Any]:
    """The topic schema (JSON Schema) of the category: its fields required, more fields welcome."""
    hints = get_type_hints(CATEGORIES[topic], include_extras=True)
    properties = {name: msgspec.json.schema(hints[name]) for name in required_fields(topic)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": topic,
        "type": "object",
        "properties": {**properties, "attributes": {"type": "object"}},
        "required": list(required_fields(topic)),
        "additionalProperties": True,
    }
