"""The lane's second processor: when it is begun and ended, who shares what, and that nothing is lost or doubled."""

import csv
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from kafka import KafkaProducer
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyAssignmentExecutor
from kafka.protocol.consumer.metadata import ConsumerProtocolSubscription

from stream_shim.destinations.entries import parse_destinations
from stream_shim.processor.assignor import EachTopicShared
from stream_shim.reports import fresh_reports, read_reports, report_path, write_process_report
from stream_shim.running.second import CHANGE_SECONDS, Decision, SecondProcessors, Seen
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.errors import ConfigurationError
from tidemark.kafka import kafka_client
from tidemark.settings import Settings
from tidemark.stack.ports import free_ports
from tidemark.state_file import StateFile
from watch import lane as watched

RECORDED = Path(__file__).parents[1] / "cases" / "second_processor.csv"
TOPICS = "[market_tick, order_book_l2, economic_event_numeric, economic_event_text]"
CALM = Seen(0.0, 100, 2)


def changes(decision: Decision, looks: Iterator[tuple[float, Seen]]) -> list[float]:
    """The moments at which it changed its mind, in seconds."""
    found = []
    for now, seen in looks:
        had = decision.has_second
        if decision.look(now, seen) != had:
            found.append(now)
    return found


def recorded() -> list[tuple[float, Seen]]:
    """What was seen of a processor that takes 100 rows a second where 150 come, of two later, and the true lag."""
    with RECORDED.open() as file:
        return [
            (float(row["seconds"]), Seen(float(row["lag_seconds"]), int(row["rows"]), int(row["processors"])))
            for row in csv.DictReader(file)
        ]
