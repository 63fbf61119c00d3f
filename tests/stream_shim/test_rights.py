"""A part that lacks a right says which, on what, and what to do: it neither hangs nor reads nothing for ever."""

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)
from kafka.errors import TopicAuthorizationFailedError

from flows.closing import log_ends
from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher
from tests.stream_shim.conftest import Lane, tick, until
from tidemark.access import kafka as access
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.errors import StackError
from tidemark.kafka import admin, reachable_kafka, require_rights

FEED = (
    "feed: {kind: feed, url: 'http://127.0.0.1:9/', unit: filing, event_publisher: edgar, every_seconds: 1}\n"  # nobody
)


def right(role: str, operation: str, name: str) -> ACL:
    """One line of the table, as Kafka has it."""
    pattern = (
        ResourcePattern(ResourceType.GROUP, name, ACLResourcePatternType.PREFIXED)
        if name == "tidemark-"
        else ResourcePattern(ResourceType.TOPIC, name)
    )
    return ACL(f"User:{role}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, pattern)


@contextmanager
def rights_changed(lane: Lane, *, without: ACL, instead: ACL | None = None) -> Iterator[None]:
    """A role with one right less, and maybe another one; `up` gives and takes them back."""
    with closing(admin(lane.settings, KAFKA_ADMINISTRATOR)) as client:
        if instead is not None:
            client.create_acls([instead])
        fields = (without.principal, without.host, without.operation, without.permission_type, without.resource_pattern)
        ((_, removed, _),) = client.delete_acls([ACLFilter(*fields)])
    assert removed == [without]
    try:
        yield
    finally:
        access.apply(lane.settings)


def sentence(role: str, operation: str, name: str) -> str:
    what = "the consumer groups tidemark-*" if name == "tidemark-" else f"the topic {name}"
    return f"refused {role}, who lacks the right {operation} on {what}: `tidemark up` gives it back"


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        (("connector", "WRITE", "market_tick"), "connector feed"),
        (("stream_writer", "READ", "market_tick"), "processor"),
        (("stream_writer", "READ", "tidemark-"), "processor"),
        (("stream_manager", "CREATE", "market_tick"), "run"),
        (("stream_manager", "ALTER", "market_tick"), "run"),
        (("stream_manager", "ALTER_CONFIGS", "market_tick"), "run"),
        (("stream_manager", "DELETE", "tidemark-"), "forget archive --yes"),
        (("promoter", "READ", "market_tick"), "rebuild 2024-08-09 --topic market_tick"),
        (("promoter", "READ", "market_tick"), "epoch market_tick"),
    ],
)
def test_a_command_without_a_right_ends_with_the_sentence_about_it(
    lane: Lane, tmp_path: Path, missing: tuple[str, str, str], command: str
) -> None:
    (tmp_path / "sources.yml").write_text(FEED)
    environ = {"TIDEMARK_SOURCES_FILE": str(tmp_path / "sources.yml")}
    lane.execute("insert into realtime.log_epoch (topic, log_epoch, topic_id) values ('market_tick', 1, 'an id')")
    with rights_changed(lane, without=right(*missing)):
        done = lane.stack.run("stream", *command.split(), **environ)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert sentence(*missing) in done.stderr


def test_a_topic_that_may_not_be_made_is_said(lane: Lane, tmp_path: Path) -> None:
    (tmp_path / "sources.yml").write_text(FEED)
    with closing(admin(lane.settings, KAFKA_ADMINISTRATOR)) as client:
        client.delete_topics(["order_book_l2"])
        until(lambda: "order_book_l2" not in client.list_topics(), "the topic to be gone")
    with rights_changed(lane, without=right("stream_manager", "CREATE", "order_book_l2")):
        done = lane.stack.run("stream", "run")
    assert sentence("stream_manager", "CREATE", "order_book_l2") in done.stderr
    for part in (("processor",), ("connector", "feed")):
        missing = lane.stack.run("stream", *part, TIDEMARK_SOURCES_FILE=str(tmp_path / "sources.yml"))
        assert "expected the topics order_book_l2 in Kafka, found none: `tidemark stream run` makes them" in (
            missing.stderr
        )


@pytest.mark.parametrize("operation", ["DESCRIBE", "DESCRIBE_CONFIGS"])
def test_the_catalog_without_a_right_says_so(lane: Lane, operation: str) -> None:
    with (
        rights_changed(lane, without=right("catalog_reader", operation, "market_tick")),
        pytest.raises(StackError, match=r"catalog_reader, who lacks the right .*on the topic market_tick"),
        reachable_kafka(lane.settings, "catalog_reader"),
    ):
        require_rights(lane.settings, "catalog_reader")


def test_no_day_is_closed_by_a_part_that_may_not_see_its_topic(lane: Lane) -> None:
    with (
        rights_changed(lane, without=right("promoter", "READ", "market_tick")),
        pytest.raises(StackError, match="promoter, who lacks the right READ on the topic market_tick"),
    ):
        log_ends(lane.settings, ["market_tick"])


def test_a_connector_that_loses_the_right_to_write_sends_no_more_and_says_so(lane: Lane) -> None:
    values = tick(1)
    datum = Datum("market_tick", values, values.pop("attributes"), 0)
    publisher = Publisher(lane.settings, "venue")
    try:
        publisher.send(datum)
        publisher.flush()
        with (
            rights_changed(lane, without=right("connector", "WRITE", "market_tick")),
            pytest.raises(StackError, match="connector, who lacks the right WRITE on the topic market_tick"),
            reachable_kafka(lane.settings, "connector"),
        ):
            publisher.send(datum)
            publisher.flush()
        assert (publisher.sent["market_tick"], publisher.errors) == (1, 1)
        with pytest.raises(TopicAuthorizationFailedError):
            publisher.send(datum)
    finally:
        publisher.close()


@pytest.mark.parametrize("instead", [None, "DESCRIBE"])
def test_a_processor_that_loses_the_right_to_read_ends_and_says_so(lane: Lane, instead: str | None) -> None:
    lane.produce("market_tick", [tick(1)])
    with lane.running("processor") as process:
        until(lambda: lane.count("market_tick") == 1, "the first row", 120)
        may = None if instead is None else right("stream_writer", instead, "market_tick")
        with rights_changed(lane, without=right("stream_writer", "READ", "market_tick"), instead=may):
            until(lambda: _ended(lane, process), "the processor to end", 120)
            said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert sentence("stream_writer", "READ", "market_tick") in said
    assert lane.count("market_tick") < lane.end_offset("market_tick")


def _ended(lane: Lane, process: subprocess.Popen[str]) -> bool:
    lane.produce("market_tick", [tick(2)])
    return process.poll() is not None
