"""From a topic to `realtime`: exactly once, whatever happens; a bad record costs itself alone."""

import json

import psycopg
import pytest
from kafka import KafkaProducer

from tests.stream_shim.conftest import Lane, tick, until
from tests.stream_shim.test_mapping import POISON
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client


def test_every_record_becomes_one_row_with_its_identity(lane: Lane) -> None:
    lane.produce("market_tick", [tick(number) for number in range(1000)])
    with lane.running("processor"):
        until(lambda: lane.consumed() == 1000, "1,000 offsets consumed")
    rows = lane.query("select kafka_offset, price, attributes ->> 'id' from realtime.market_tick order by kafka_offset")
    assert rows == [(number, 60000.5 + number, str(number)) for number in range(1000)]
    assert lane.query("select source_system, name from realtime.feed") == [("test", "BTC/USDT")]


def test_the_log_says_once_where_each_partition_is_read_on(lane: Lane) -> None:
    lane.produce("market_tick", [tick(0), tick(1)])
    log = lane.settings.home / "logs" / "processor-realtime.log"
    for offset in (0, 2):
        before = len(log.read_text()) if log.exists() else 0
        line = f"realtime: reads market_tick, partition 0, from offset {offset} of epoch 1"
        with lane.running("processor"):
            until(lambda: log.exists() and line in log.read_text()[before:], line)  # noqa: B023 - awaited at once
            until(lambda: lane.consumed() == 2, "both consumed")
        assert log.read_text()[before:].count(line) == 1


def test_poison_of_each_kind_goes_to_quarantine_and_the_rest_goes_on(lane: Lane) -> None:
    poison = [value for value, _ in POISON.values()]
    lane.produce("market_tick", [tick(1), *poison, tick(2)], max_request_size=4_000_000)
    with lane.running("processor"):
        until(lambda: lane.consumed() == len(poison) + 2, "everything consumed")
    assert lane.count("market_tick") == 2
    found = lane.query("select reason, payload from realtime.quarantine order by kafka_offset")
    assert [reason for reason, _ in found] == [reason for _, reason in POISON.values()]
    assert [payload for _, payload in found] == poison
    assert lane.unbalanced() == []


def test_a_row_that_only_postgres_refuses_is_found_and_its_neighbours_stay(lane: Lane) -> None:
    lone_surrogate = json.dumps(tick(attributes={"a": "\ud800"})).encode()
    too_big_a_number = b'{"n":1e200000}'
    huge = json.dumps(tick()).encode().replace(b'{"id": "0"}', too_big_a_number)
    lane.produce("market_tick", [*[tick(n) for n in range(50)], lone_surrogate, tick(50), huge, tick(51)])
    with lane.running("processor"):
        until(lambda: lane.consumed() == 54, "everything consumed")
    assert lane.count("market_tick") == 52
    found = lane.query("select kafka_offset, reason from realtime.quarantine order by 1")
    assert found == [(50, "not_json"), (52, "refused_by_database")]
    assert lane.unbalanced() == []


def test_characters_that_copy_escapes_arrive_as_they_were(lane: Lane) -> None:
    awkward = {"a": "tab\there \\ back", "b": "line\nbreak\r", "c": "\\N \\. snow ☃ 😀", "d": 'quote"'}
    pretty = json.dumps(tick(symbol="A\\B\tC", attributes=awkward), indent=1).encode()
    lane.produce("market_tick", [pretty, tick(1)])
    with lane.running("processor"):
        until(lambda: lane.consumed() == 2, "both consumed")
    ((symbol, attributes),) = lane.query("select symbol, attributes from realtime.market_tick where kafka_offset = 0")
    assert (symbol, attributes) == ("A\\B\tC", awkward)


@pytest.mark.faults
def test_a_killed_processor_leaves_nothing_out_and_nothing_twice(lane: Lane) -> None:
    lane.produce("market_tick", [tick(number) for number in range(30_000)])
    for share in (1, 10_000):
        with lane.running("processor") as process:
            lane.until_consumed(share)
            process.kill()
            process.wait()
    with lane.running("processor"):
        until(lambda: lane.consumed() == 30_000, "everything consumed", 90)
    assert lane.count("market_tick") == 30_000
    assert lane.doubled() == []
    assert lane.unbalanced() == []


def test_offsets_that_hold_no_record_are_counted_as_empty(lane: Lane) -> None:
    producer = KafkaProducer(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR), transactional_id="test")
    producer.init_transactions()
    for number, end in enumerate(
        [producer.commit_transaction, producer.abort_transaction, producer.commit_transaction]
    ):
        producer.begin_transaction()
        for _ in range(3):
            producer.send("market_tick", json.dumps(tick(number)).encode(), partition=0)
        producer.flush()
        end()
    producer.close()
    with lane.running("processor"):
        until(lambda: lane.consumed() == lane.end_offset("market_tick"), "the log's end reached")
    assert lane.count("market_tick") == 6
    assert lane.query("select empty_offsets from realtime.consumer_offset where topic = 'market_tick'") == [(6,)]
    assert lane.unbalanced() == []


def test_a_database_that_takes_no_rows_stops_the_processor_and_nothing_is_quarantined(lane: Lane) -> None:
    with psycopg.connect(lane.stack.dsn("realtime"), autocommit=True) as owner:
        owner.execute("revoke insert on realtime.market_tick from stream_writer")
        try:
            lane.produce("market_tick", [tick(number) for number in range(10)])
            with lane.running("processor"):
                log = lane.settings.home / "logs" / "processor-realtime.log"
                until(lambda: log.exists() and "permission denied" in log.read_text(), "the reason in the log")
                assert lane.consumed() == 0
                owner.execute("grant insert on realtime.market_tick to stream_writer")
                until(lambda: lane.consumed() == 10, "the rows, once the right is back")
        finally:
            owner.execute("grant insert on realtime.market_tick to stream_writer")
    assert (lane.count("market_tick"), lane.count("quarantine")) == (10, 0)


def test_a_stale_writer_is_fenced_and_reads_its_position_again(lane: Lane) -> None:
    with lane.running("processor"):
        lane.produce("market_tick", [tick(number) for number in range(10)])
        until(lambda: lane.consumed() == 10, "ten consumed")
        with psycopg.connect(lane.stack.dsn("realtime")) as other:  # another consumer goes on from where this one is
            other.execute(
                "update realtime.consumer_offset set next_offset = 12, empty_offsets = 2 where topic = 'market_tick'"
            )
        lane.produce("market_tick", [tick(number) for number in range(10, 20)])
        until(lambda: lane.consumed() == 20, "the rest consumed from the stored position")
    assert lane.count("market_tick") == 18  # offsets 10 and 11 were the other's
    assert lane.doubled() == []


def test_a_topic_made_again_stops_the_processor_with_a_sentence(lane: Lane) -> None:
    with psycopg.connect(lane.stack.dsn("realtime")) as owner:
        owner.execute(
            "insert into realtime.log_epoch (topic, log_epoch, topic_id) values ('market_tick', 1, 'another')"
        )
    lane.produce("market_tick", [tick()])
    with lane.running("processor") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "made again" in said and "tidemark stream epoch market_tick" in said
    assert lane.count("market_tick") == 0


def test_a_record_stamped_by_another_clock_than_the_state_folder_s_stops_the_processor(lane: Lane) -> None:
    mark = lane.settings.home / "mark"
    mark.write_text("replay")
    try:
        lane.produce("market_tick", [tick()])
        with lane.running("processor") as process:
            said, _ = process.communicate(timeout=60)
    finally:
        mark.unlink()
    assert process.returncode == 1
    assert "CreateTime" in said and "LogAppendTime" in said
    assert lane.consumed() == 0
