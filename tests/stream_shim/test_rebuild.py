"""A day of `realtime` is filled again from the buffer: the same records, the same identities."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.conftest import Stack
from tests.stream_shim.conftest import Lane, tick, until

IDENTITIES = "select log_epoch, kafka_partition, kafka_offset, received_at, price from realtime.market_tick order by 3"


def test_a_damaged_day_is_filled_again_with_the_same_identities(lane: Lane) -> None:
    lane.produce("market_tick", [*[tick(number) for number in range(100)], b"{", tick(101)])
    with lane.running("processor"):
        until(lambda: lane.consumed() == 102, "everything consumed")
    before = lane.query(IDENTITIES)
    lane.execute("delete from realtime.market_tick where kafka_offset between 10 and 19")
    lane.execute("update realtime.market_tick set price = 0 where kafka_offset = 50")
    day = datetime.now(UTC).date().isoformat()
    done = lane.stack.run("stream", "rebuild", day, "--topic", "market_tick", "--json")
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    assert (report["rows_before"], report["rows_now"]) == (91, 101)
    assert lane.query(IDENTITIES) == before
    assert (lane.count("quarantine"), lane.unbalanced()) == (1, [])


def test_rebuilds_at_once_while_rows_arrive_lose_and_double_nothing(lane: Lane) -> None:
    lane.produce("market_tick", [tick(number) for number in range(2_000)])
    with lane.running("processor"):
        until(lambda: lane.consumed() > 0, "some consumed")
        day = datetime.now(UTC).date().isoformat()
        with ThreadPoolExecutor(2) as together:
            rebuilds = [
                together.submit(lane.stack.run, "stream", "rebuild", day, "--topic", "market_tick") for _ in range(2)
            ]
            lane.produce("market_tick", [tick(number) for number in range(2_000, 4_000)])
        assert [done.result().returncode for done in rebuilds] == [0, 0], [done.result().stderr for done in rebuilds]
        until(lambda: lane.consumed() == 4_000, "everything consumed")
    assert (lane.count("market_tick"), lane.doubled(), lane.unbalanced()) == (4_000, [], [])


def test_a_day_without_records_leaves_no_trace(lane: Lane) -> None:
    lane.produce("market_tick", [tick()])
    with lane.running("processor"):
        until(lambda: lane.consumed() == 1, "the record consumed")
    done = lane.stack.run("stream", "rebuild", "2020-01-01", "--topic", "market_tick")
    assert (done.returncode, "expected a day whose records the buffer holds" in done.stderr) == (1, True), done.stderr
    assert lane.query("select to_regclass('realtime.market_tick_20200101')") == [(None,)]


def test_a_promoted_day_is_not_filled_again(lane: Lane) -> None:
    lane.execute(
        "insert into realtime.trimmed (promotion_id, topic, day, row_count) "
        "values (gen_random_uuid(), 'market_tick', '2024-08-08', 1)"
    )
    done = lane.stack.run("stream", "rebuild", "2024-08-08", "--topic", "market_tick")
    assert done.returncode == 1
    assert "it was promoted" in done.stderr


@pytest.mark.parametrize("day", [str(date.max), str(datetime.now(UTC).date() + timedelta(days=2))])
def test_a_day_that_is_to_come_is_wrong_usage(stack: Stack, day: str) -> None:
    done = stack.run("stream", "rebuild", day)
    assert done.returncode == 2
    assert "expected a day up to today" in done.stderr and f"received {day}" in done.stderr
