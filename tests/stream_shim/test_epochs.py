"""A log that is not the one that was read stops the processor; a person opens the next epoch, nothing vanishes."""

import json
from typing import Any

import msgspec
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.topics import ensure_topics
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client


def recreate(lane: Lane, topic: str = "market_tick") -> None:
    client = KafkaAdminClient(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR))
    try:
        client.delete_topics([topic])
        until(lambda: topic not in client.list_topics(), "the topic to be gone")
        until(lambda: _there(lane, topic, client), "the topic to be there again")
    finally:
        client.close()


def _there(lane: Lane, topic: str, client: KafkaAdminClient) -> bool:
    ensure_topics(lane.settings, read_topics(lane.settings.topics_file))
    return topic in client.list_topics()


def consume(lane: Lane, offsets: int) -> None:
    with lane.running("processor"):
        until(lambda: lane.consumed() == offsets, f"{offsets} offsets consumed")


def stopped(lane: Lane) -> str:
    """Run the processor until it stops by itself; what it said."""
    with lane.running("processor") as process:
        said, _ = process.communicate(timeout=90)
    assert process.returncode == 1, said
    return said


def balances(lane: Lane) -> list[dict[str, Any]]:
    found = json.loads(lane.stack.run("account", "--json").stdout)
    return [balance for balance in found if balance["topic"] == "market_tick"]


def test_a_topic_made_again_goes_on_in_a_new_epoch_and_its_rows_do_not_vanish_as_repeats(lane: Lane) -> None:
    lane.produce("market_tick", [tick(number) for number in range(10)])
    consume(lane, 10)
    recreate(lane)
    lane.produce("market_tick", [tick(100 + number) for number in range(10)])
    assert "made again" in stopped(lane)
    shown = lane.stack.run("stream", "epoch", "market_tick")
    assert "nothing was changed" in shown.stdout, shown.stderr
    opened = lane.stack.run("stream", "epoch", "market_tick", "--yes")
    assert "epoch 2 of market_tick is open" in opened.stdout, opened.stderr
    consume(lane, 20)
    assert lane.query("select log_epoch, count(*) from realtime.market_tick group by 1 order by 1") == [
        (1, 10),
        (2, 10),
    ]
    assert [(b["epoch"], b["lost"], b["balance"]) for b in balances(lane)] == [(1, 0, 0), (2, 0, 0)]


def test_a_topic_made_again_under_a_running_processor_stops_it_and_nothing_of_the_new_log_is_left_out(
    lane: Lane,
) -> None:
    lane.produce("market_tick", [tick(number) for number in range(10)])
    with lane.running("processor") as process:
        until(lambda: lane.consumed() == 10, "10 offsets consumed")
        recreate(lane)
        lane.produce("market_tick", [tick(100 + number) for number in range(8)])
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "made again" in said
    lane.stack.run("stream", "epoch", "market_tick", "--yes")
    consume(lane, 18)
    assert lane.query("select log_epoch, count(*) from realtime.market_tick group by 1 order by 1") == [
        (1, 10),
        (2, 8),
    ]
    assert [(b["epoch"], b["lost"], b["balance"]) for b in balances(lane)] == [(1, 0, 0), (2, 0, 0)]


def test_records_that_expired_unread_are_recorded_as_lost(lane: Lane) -> None:
    lane.produce("market_tick", [tick(number) for number in range(10)])
    consume(lane, 10)
    lane.produce("market_tick", [tick(number) for number in range(10, 30)])
    client = KafkaAdminClient(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR))
    client.delete_records({TopicPartition("market_tick", 0): 25})
    client.close()
    assert "expired unread" in stopped(lane)
    lane.stack.run("stream", "epoch", "market_tick", "--yes")
    consume(lane, 30)
    assert lane.count("market_tick") == 15
    assert [(b["epoch"], b["consumed"], b["lost"], b["balance"]) for b in balances(lane)] == [
        (1, 25, 15, 0),
        (2, 5, 0, 0),
    ]


def test_a_log_that_was_cut_short_goes_on_with_its_new_records_alone(lane: Lane) -> None:
    """The stored position is ahead of the log: 20 were read, then the log lost 8 of them, and 3 new ones came."""
    lane.produce("market_tick", [tick(number) for number in range(12)])
    consume(lane, 12)
    rows = (
        "insert into realtime.market_tick select source_system, symbol, timestamp, price, size, attributes, log_epoch, "
    )
    rows += "kafka_partition, kafka_offset + 12, received_at - interval '1 minute' from realtime.market_tick "
    lane.execute(rows + "where kafka_offset < 8")
    lane.execute("update realtime.consumer_offset set next_offset = 20 where topic = 'market_tick'")
    lane.produce("market_tick", [tick(200 + number) for number in range(3)])
    assert "cut short" in stopped(lane)
    opened = json.loads(lane.stack.run("stream", "epoch", "market_tick", "--yes", "--json").stdout)
    assert [(step["first_offset"], step["lost"]) for step in opened] == [(12, 0)]
    consume(lane, 23)
    assert lane.query("select count(*) from realtime.market_tick where log_epoch = 2") == [(3,)]
    assert lane.unbalanced() == []


def test_records_of_a_transaction_that_is_open_are_not_lost(lane: Lane) -> None:
    lane.produce("market_tick", [tick(number) for number in range(3)])
    client = kafka_client(lane.settings, KAFKA_ADMINISTRATOR)
    foreign = KafkaProducer(**client, transactional_id="foreign", transaction_timeout_ms=120_000)
    try:
        foreign.init_transactions()
        foreign.begin_transaction()
        for number in (3, 4):
            foreign.send("market_tick", msgspec.json.encode(tick(number)), b"key", partition=0).get(timeout=30)
        consume(lane, 3)
        seen = "select next_offset, log_end_offset from realtime.consumer_offset where topic = 'market_tick'"
        assert lane.query(seen) == [(3, 5)]
        refused = lane.stack.run("stream", "epoch", "market_tick", "--yes")
        assert (refused.returncode, "it is the one that was read" in refused.stderr) == (1, True), refused.stdout
        foreign.commit_transaction()
    finally:
        foreign.close()
    consume(lane, 6)  # with the transaction's marker
    assert (lane.count("market_tick"), lane.unbalanced()) == (5, [])
