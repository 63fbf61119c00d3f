"""What `tidemark sources list` says that a source is doing."""

import os
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors.entries import SourceEntry, check_source
from stream_shim.reports import Found
from stream_shim.running.states import state_of
from tests.conftest import Stack

ENTRY = "{kind: ccxt, exchange: kraken, trades: [BTC/USD], silence_seconds: 30}"


def entry() -> SourceEntry:
    return check_source("kraken", ENTRY)


def ended() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "sending"),
        ({"last_message_at": 0.0}, "nothing sent yet"),
        ({"pid": None}, "ended since "),
        ({"degraded": {"BTC/USD": "no answer"}}, "degraded"),
        ({"last_message_at": -120.0, "started_at": -600.0}, "silent since "),
        ({"failing_since": -5.0, "degraded": {"BTC/USD": "no answer"}}, "failing since "),
        ({"written_at": -300.0, "failing_since": -400.0}, "hangs since "),
    ],
)
def test_the_worst_that_is_true_of_a_source_is_its_state(changes: dict[str, Any], state: str) -> None:
    now = time.time()
    report: dict[str, Any] = {
        "pid": os.getpid(), "written_at": now, "started_at": now - 10, "last_message_at": now, "failing_since": 0.0,
        "degraded": {},
    }  # fmt: skip
    for key, value in changes.items():
        report[key] = now + value if isinstance(value, float) and value else ended() if value is None else value
    written_at = report["written_at"]
    found = Found("kraken", report, now - written_at, written_at)
    assert str(state_of("kraken", entry(), found, ran=True, lane_runs=True)).startswith(state)


def test_a_source_that_never_ran_has_ended_or_whose_lane_is_down_are_told_apart() -> None:
    gone = Found("kraken", {"pid": ended()}, 5.0, time.time())

    def state(found: Found | None, ran: bool = True, lane_runs: bool = True) -> str:
        return str(state_of("kraken", entry(), found, ran, lane_runs)).partition(" since ")[0]

    assert state(None, ran=False, lane_runs=False) == state(None, ran=False) == "never ran"
    assert state(None) == state(gone) == "ended"
    assert state(None, lane_runs=False) == state(gone, lane_runs=False) == "the lane is down"
    assert state(gone._replace(report=None)) == "unreadable"


def test_a_source_that_cannot_write_its_report_says_so_and_does_not_hang() -> None:
    found = Found("kraken", {"pid": os.getpid()}, 300.0, time.time())
    state = str(state_of("kraken", entry(), found, ran=True, lane_runs=True))
    assert state.startswith("cannot write its report since ")


def test_a_source_s_report_has_its_rate_and_the_list_shows_it(stack: Stack) -> None:
    publisher = Publisher(stack.settings, "binance")  # the first of stream_shim/sources.yml
    try:
        assert publisher.report()["records_per_second"] == 0
        publisher.sent["market_tick"] += 1000
        assert publisher.report()["records_per_second"] > 0
        publisher.write_report()
        listed = msgspec.json.decode(stack.run("sources", "list", "--json").stdout)
    finally:
        publisher.close()
    assert (listed[0]["source"], listed[0]["state"], listed[0]["sent"]) == ("binance", "nothing sent yet", 1000)
    assert listed[0]["records_per_second"] > 0
