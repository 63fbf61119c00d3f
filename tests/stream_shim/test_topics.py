"""The buffer's settings are data: a change that adds is applied, one that breaks a reader is refused."""

import copy
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient

from stream_shim.buffer.entries import TopicEntry, read_topics
from stream_shim.buffer.topic_schema import apply_schemas, breaking_changes
from stream_shim.buffer.topics import ensure_topics, partitions_of
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.errors import ConfigurationError
from tidemark.kafka import kafka_client
from tidemark.settings import Settings

TOPICS = read_topics(Settings().topics_file)


def changed(**changes: object) -> dict[str, TopicEntry]:
    return {**TOPICS, "market_tick": msgspec.structs.replace(TOPICS["market_tick"], **changes)}


def altered(old: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the value at the path, or without what is there."""
    schema = copy.deepcopy(old)
    *steps, last = path.split(".")
    place = schema
    for step in steps:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return schema


def test_a_field_that_comes_is_applied_and_one_that_goes_or_changes_is_refused(lane: Lane) -> None:
    lane.execute("truncate realtime.topic_schema")
    assert set(apply_schemas(lane.settings, TOPICS)) == set(TOPICS)
    assert apply_schemas(lane.settings, TOPICS) == []
    more = changed(attributes={**TOPICS["market_tick"].attributes, "fee": {"type": "number"}})
    assert apply_schemas(lane.settings, more) == ["market_tick"]
    with pytest.raises(ConfigurationError, match=r"attributes\.fee is gone"):
        apply_schemas(lane.settings, TOPICS)
    lane.execute("truncate realtime.topic_schema")


def test_what_breaks_a_reader_is_named() -> None:
    old = TOPICS["market_tick"].schema
    for path, value, said in (
        ("properties.attributes.properties.id", None, "attributes.id is gone"),
        ("properties.attributes.properties.side", {"type": "integer"}, "attributes.side: type was 'string'"),
        ("required", [*old["required"], "fee"], "fee is required now"),
    ):
        assert said in "; ".join(breaking_changes(old, altered(old, path, value)))


ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "level": {"type": "integer", "maximum": 10, "description": "1 is the best"},
        "conditions": {"type": "array", "items": {"type": "number"}},
        "legs": {"type": "array", "items": {"type": "object", "properties": {"symbol": {"type": "string"}}}},
    },
}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("properties.level.maximum", 20, ["level: maximum was 10, is 20"]),
        ("properties.level.minimum", 1, ["level: minimum was None, is 1"]),
        ("properties.conditions.items.type", "string", ["conditions[]: type was 'number', is 'string'"]),
        ("properties.conditions.items", None, ["conditions[]: type was 'number', is None"]),
        ("properties.legs.items.properties.symbol", None, ["legs[].symbol is gone"]),
        ("additionalProperties", False, ["the record: additionalProperties was None, is False"]),
        ("properties.legs.items", False, [f"legs[]: was {ORDER['properties']['legs']['items']!r}, is False"]),
        ("properties.level.description", "the best is 1", []),
        ("title", "An order", []),
        ("properties.fee", {"type": "number"}, []),
        ("properties.legs.items.properties.ratio", {"type": "number"}, []),
    ],
)
def test_every_keyword_counts_but_texts_and_a_field_that_comes(path: str, value: object, said: list[str]) -> None:
    assert breaking_changes(ORDER, altered(ORDER, path, value)) == said


def test_partitions_grow_and_retention_follows_the_file(lane: Lane) -> None:
    ensure_topics(lane.settings, changed(partitions=3, grace_days=9))
    until(lambda: len(partitions_of(lane.settings, "market_tick", "promoter")) == 3, "three partitions")
    client = KafkaAdminClient(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR))
    try:
        from kafka.admin import ConfigResource

        found = client.describe_configs([ConfigResource("topic", "market_tick")])["topic"]["market_tick"]
    finally:
        client.close()
    assert found["retention.ms"]["value"] == str((lane.settings.keep_days + 1 + 9) * 86_400_000)
    with pytest.raises(ConfigurationError, match="never shrink"):
        ensure_topics(lane.settings, TOPICS)


def test_a_foreign_producer_s_record_that_fits_the_category_lands_like_ours(lane: Lane) -> None:
    foreign = {**tick(1), "venue": "elsewhere"}
    del foreign["attributes"]
    lane.produce("market_tick", [foreign])
    with lane.running("processor"):
        until(lambda: lane.count("market_tick") == 1, "the row")
    assert lane.query("select attributes from realtime.market_tick") == [({"venue": "elsewhere"},)]
