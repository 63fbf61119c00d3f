"""What is no record: shown by `sources check` before the lane rejects it, kept whole where the lane did."""

import json
from pathlib import Path
from typing import Any

import pytest

from stream_shim.buffer import rejects
from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher
from stream_shim.buffer.rejects import Rejects, read_rejects
from tests.conftest import Stack
from tests.stream_shim.conftest import Lane
from tests.stream_shim.connecting import Wire, entry_of
from tests.stream_shim.polled import Source
from tidemark.secrets import fill

SECRET = "0123456789abcdef"
TICK = {"source_system": "s", "symbol": "BTC/USD", "timestamp": "2026-11-01T00:00:00Z", "price": 1.0, "size": 1.0}


def check(lane: Lane, folder: Path, source: Source, *arguments: str, **changes: Any) -> tuple[int, str, str]:
    """Exit code, standard output and error of `tidemark sources check` of a poll."""
    entry = {
        "kind": "poll", "url": source.url, "identity": ["date"],
        "requests": [{"event_publisher": "P", "unit": "u", "description": "d"}], **changes,
    }  # fmt: skip
    path = folder / "sources.yml"
    path.write_text(json.dumps({"polled": entry}))
    done = lane.stack.run("sources", "check", "polled", *arguments, TIDEMARK_SOURCES_FILE=str(path))
    return done.returncode, done.stdout, done.stderr


def test_check_shows_each_record_as_its_topic_would_get_it_and_why_another_would_not_be_one(
    lane: Lane, tmp_path: Path
) -> None:
    body = [
        {"date": "monday", "value": 1.5, "more": "m"},
        {"value": 2, "note": "n" * 3000},
        {"date": "tuesday", "value": 3, "unit": None},
        {"date": "wednesday", "value": 4, "more": "\0"},
        {"date": "thursday", "value": 5, "unit": 6},
    ]
    with Source(json.dumps(body).encode()).serving() as source:
        code, said, error = check(lane, tmp_path, source, "--json")
        plain = check(lane, tmp_path, source)
    assert code == plain[0] == 1
    assert "expected every message to become a row, received 1 that would and 4 that would not" in error
    row, *rejected = json.loads(said)
    assert row == {
        "topic": "economic_event_numeric", "source_system": "polled", "event_publisher": "P", "value": 1.5, "unit": "u",
        "description": "d", "attributes": {"date": "monday", "more": "m", "value_as_sent": "1.5"},
    }  # fmt: skip
    reasons = [one["rejected"].partition(",")[0] for one in rejected]
    assert reasons == ["missing one of date", "missing unit", "nul_character", "wrong_type"]
    assert rejected[0]["raw"]["note"] == "n" * 3000
    assert [json.loads(line) for line in plain[1].splitlines()] == [row, *rejected]


def test_check_of_a_source_whose_every_message_becomes_a_row_says_so_by_its_exit_code(
    lane: Lane, tmp_path: Path
) -> None:
    body = json.dumps([{"date": str(number), "value": number} for number in range(9)]).encode()
    with Source(body).serving() as source:
        code, said, error = check(lane, tmp_path, source, "--records", "3", "--json")
    assert (code, len(json.loads(said)), error) == (0, 3, "")


def test_check_of_a_source_that_gives_no_record_is_an_error(lane: Lane, tmp_path: Path) -> None:
    with Source(b"[]").serving() as source:
        code, said, error = check(lane, tmp_path, source, "--json")
    assert (code, json.loads(said)) == (1, [])
    assert "received 0 that would and 0 that would not" in error


def test_a_record_without_a_value_is_counted_and_no_error_to_check(lane: Lane, tmp_path: Path) -> None:
    body = b"date,value,status\r\n2026-11-01,4.1,A\r\n2026-11-02,,M\r\n2026-11-03, ,M\r\n"
    with Source(body).serving() as source:
        code, said, error = check(lane, tmp_path, source, format="csv")
        assert (code, error.strip()) == (0, "2 records have no value, and would not be sent")
        assert [json.loads(line)["value"] for line in said.splitlines()] == [4.1]
        source.body = b'[{"date": "monday", "values": 1}]'  # the entry lacks a `rename`
        code, said, error = check(lane, tmp_path, source, "--json")
    assert code == 1
    assert [one["rejected"] for one in json.loads(said)] == ["missing value"]


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ({"format": "csv"}, "date,value\r\na,{}\r\nb,2\r\n"),
        ({}, '[{{"date": "a", "value": "{}"}}, {{"date": "b", "value": "2"}}]'),
        ({"format": "xml", "records": "r.o"}, '<r><o date="a">{}</o><o date="b">2</o></r>'),
    ],
    ids=["csv", "json", "xml"],
)
def test_a_record_without_a_value_is_counted_once_and_one_that_has_lost_its_value_is_a_reject_once(
    stack: Stack, shape: dict[str, Any], body: str
) -> None:
    with Source(body.format("").encode()).serving() as source:
        entry = {
            "kind": "poll", "url": source.url, "identity": ["date"], "every_seconds": 0.05, **shape,
            "requests": [{"event_publisher": "P", "unit": "u", "description": "d"}],
        }  # fmt: skip
        name = f"without_value_{shape.get('format', 'json')}"
        with Wire(stack.settings).connected(entry_of(stack.settings, json.dumps({name: entry}))) as publisher:
            source.wait_for_polls()
            assert (publisher.without_value, publisher.sent.total(), publisher.rejected.total()) == (1, 1, 0)
            for value in ("1.0", " ", "1.0", "3"):
                source.body = body.format(value).encode()
                source.wait_for_polls()
    assert (publisher.without_value, publisher.sent.total()) == (1, 3)
    assert publisher.rejected == {"no value, and one was sent before": 1}
    assert not publisher.degraded
    assert publisher.report()["without_value"] == 1


def test_a_csv_with_more_cells_than_names_is_the_same_in_check_as_in_the_lane(lane: Lane, tmp_path: Path) -> None:
    body = b"date,value\r\n2026-11-01,4.1,\r\n2026-11-02,4.2,,x\r\n2026-11-03,4.3\r\n"
    with Source(body).serving() as source:
        code, said, error = check(lane, tmp_path, source, "--json", format="csv")
    assert code == 1, error
    *rows, rejected = json.loads(said)
    assert [(one["value"], one["attributes"]) for one in rows] == [
        (4.1, {"date": "2026-11-01", "value_as_sent": "4.1"}),
        (4.3, {"date": "2026-11-03", "value_as_sent": "4.3"}),
    ]
    assert rejected["rejected"] == "a CSV row of another length than its header"
    assert rejected["raw"] == {"at": 3, "raw": "2026-11-02,4.2,,x"}


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"text": "x" * 5_000_000}, "too large for the topic"),
        ({"text": "\ud800", "more": "m"}, "not encodable, UnicodeEncodeError"),
        ({"more": {1: 2j}}, "not encodable, TypeError"),
    ],
    ids=["too large", "half a character", "no JSON"],
)
def test_a_message_that_is_no_record_is_kept_whole(
    stack: Stack, request: pytest.FixtureRequest, attributes: dict[str, Any], reason: str
) -> None:
    name = request.node.callspec.id.replace(" ", "_")
    publisher = Publisher(stack.settings, name)
    assert not publisher.send(Datum("market_tick", TICK, attributes, 0))
    publisher.close()
    assert publisher.report()["rejected"] == {reason: 1}
    (kept,) = read_rejects(stack.settings, name, 10)
    assert kept["reason"] == reason
    assert kept["raw"] == {**TICK, "attributes": json.loads(json.dumps(attributes, default=str))}
    shown = stack.run("sources", "rejects", name, "--json")
    assert json.loads(shown.stdout) == [kept]


def test_a_reject_holds_no_credential_in_whatever_form_it_came(stack: Stack) -> None:
    quoted = f'{SECRET}"\\ é/'
    fill("${THE_BEGINNING}", {"THE_BEGINNING": SECRET})  # of the other: what is left of that would be shown
    fill("${TIDEMARK_TEST_SECRET}", {"TIDEMARK_TEST_SECRET": quoted})
    kept = Rejects(stack.settings, "secret")
    kept.keep("reason", {"a": [quoted, {quoted: 1}], "b": quoted.encode(), "c": f"https://x/?k={quoted}"})
    kept.close()
    assert SECRET not in (stack.settings.home / "rejects" / "secret.jsonl").read_text()
    (found,) = read_rejects(stack.settings, "secret", 1)
    assert found["raw"]["a"] == ["${TIDEMARK_TEST_SECRET}", {"${TIDEMARK_TEST_SECRET}": 1}]
    assert found["raw"]["b"] == "${TIDEMARK_TEST_SECRET}"


def test_what_its_files_no_longer_hold_is_counted(stack: Stack) -> None:
    kept = Rejects(stack.settings, "many")
    quarter = "x" * (rejects.FILE_BYTES // 4)
    for number in range(4 * (rejects.FILES + 3)):
        kept.keep("reason", {"number": number, "text": quarter})
    kept.close()
    found = read_rejects(stack.settings, "many", 1000)
    assert kept.dropped > 0
    assert len(found) + kept.dropped == 4 * (rejects.FILES + 3)
    assert [one["raw"]["number"] for one in found] == list(range(kept.dropped, 4 * (rejects.FILES + 3)))
    (newest,) = read_rejects(stack.settings, "many", 1)
    assert newest["raw"]["text"] == quarter


def test_rejects_of_a_source_that_is_none_are_an_error_and_those_of_one_without_any_are_none(stack: Stack) -> None:
    unknown = stack.run("sources", "rejects", "no_such_source")
    assert unknown.returncode == 2
    assert "received 'no_such_source'" in unknown.stderr
    known = json.loads(stack.run("sources", "list", "--json").stdout)[0]["source"]
    none = stack.run("sources", "rejects", known)
    assert (none.returncode, none.stdout.strip()) == (0, f"no message of {known} was rejected")
