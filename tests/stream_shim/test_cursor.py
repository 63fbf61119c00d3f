"""What a polling source remembers: what was sent is sent once, what was rejected again once its entry is mended."""

import hashlib
import json
from typing import Any

import pytest

from stream_shim.buffer.rejects import read_rejects
from stream_shim.connectors.cursor import Cursor, short
from stream_shim.connectors.entries import PollSource
from stream_shim.running import runner
from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire, entry_of
from tests.stream_shim.polled import Source
from tidemark.errors import TidemarkError

PAGE = 4096  # bytes of an SQLite page
MORE_THAN_WERE_KEPT = 210_000
FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>t</title><link>u</link><description>d</description>
<item><title>whole</title><guid>1</guid></item><item><author>no text</author><guid>2</guid></item>
</channel></rss>"""


@pytest.fixture
def wire(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setattr(runner, "RECONNECT_SECONDS", (0.05, 0.1, 0.2))
    return Wire(stack.settings)


def observations(*pairs: tuple[str, Any], **more: Any) -> bytes:
    return json.dumps([{"date": date, "value": value, **more} for date, value in pairs]).encode()


def poll(wire: Wire, source: Source, name: str, **changes: Any) -> PollSource:
    body = {
        "kind": "poll", "url": source.url, "every_seconds": 0.05, "identity": ["date"],
        "requests": [{"event_publisher": "P", "unit": "u", "description": "d"}], **changes,
    }  # fmt: skip
    entry = entry_of(wire.settings, json.dumps({name: body}))
    assert isinstance(entry, PollSource)
    return entry


@pytest.mark.faults
def test_of_more_observations_than_were_once_kept_each_is_sent_once_and_a_new_one_costs_little(wire: Wire) -> None:
    many = [(f"day {number}", number) for number in range(MORE_THAN_WERE_KEPT)]
    path = wire.settings.home / "cursors" / "many.sqlite"
    with Source(observations(*many)).serving() as source, wire.connected(poll(wire, source, "many")) as publisher:
        until(lambda: source.answers >= 3, "a second poll, taken", 120)
        assert publisher.sent.total() == len(many)
        before = path.read_bytes()
        source.body = observations(*many, ("a new day", 1))
        source.wait_for_polls(2)
        assert publisher.sent.total() == len(many) + 1
    after = path.read_bytes()
    pages = range(0, max(len(before), len(after)), PAGE)
    assert len(pages) > 1000
    assert len([at for at in pages if before[at : at + PAGE] != after[at : at + PAGE]]) < 10


def test_a_revision_is_sent_and_one_back_to_the_first_value_too(wire: Wire) -> None:
    with Source().serving() as source, wire.connected(poll(wire, source, "revised")) as publisher:
        for number, value in enumerate((1, 2, 1), start=1):
            source.body = observations(("monday", value))
            until(lambda number=number: publisher.sent.total() == number, "the value")  # type: ignore[misc]
        source.wait_for_polls()
    assert [one["value"] for one in wire.records("economic_event_numeric")] == [1, 2, 1]


def test_values_that_share_an_identity_in_one_answer_are_each_sent_once(wire: Wire) -> None:
    body = observations(("monday", 1), ("monday", 2), ("tuesday", 3), ("monday", 1))
    with Source(body).serving() as source, wire.connected(poll(wire, source, "shared")) as publisher:
        source.wait_for_polls()
        source.body = observations(("monday", 4), ("monday", 2), ("monday", 1), ("tuesday", 3))
        source.wait_for_polls()
    assert publisher.sent.total() == 4
    assert [one["value"] for one in wire.records("economic_event_numeric")] == [1, 2, 3, 4]


def test_parts_of_an_identity_that_hold_its_separator_are_told_apart(wire: Wire) -> None:
    """Also by a cursor that an older version has written, which knew the first two as one."""
    with Cursor.open(wire.settings, poll(wire, Source(), "joined")) as cursor:
        cursor.mark_sent({short("A|B|2024"): short(1.5)})
        cursor.commit()
    pairs = [("A|B", "2024"), ("A", "B|2024"), ("A\\", "B|2024"), ("A\\|B", "2024")]
    body = json.dumps([{"series": series, "date": date, "value": 1.5} for series, date in pairs]).encode()
    entry = {"identity": ["series", "date"]}
    with Source(body).serving() as source, wire.connected(poll(wire, source, "joined", **entry)) as publisher:
        source.wait_for_polls()
    assert publisher.sent.total() == 4
    sent = [one["attributes"] for one in wire.records("economic_event_numeric")]
    assert [(one["series"], one["date"]) for one in sent] == pairs


def test_what_was_rejected_is_counted_once_and_sent_once_its_entry_is_mended(wire: Wire) -> None:
    body = observations(("monday", 1), ("tuesday", 2))
    lacking = {"requests": [{"event_publisher": "P", "description": "d"}]}
    with Source(body).serving() as source:
        for _ in range(2):  # a connector that begins anew does not count it again
            with wire.connected(poll(wire, source, "mended", **lacking)) as publisher:
                source.wait_for_polls()
        assert not publisher.rejected
        assert not publisher.sent
        with wire.connected(poll(wire, source, "mended")) as publisher:
            until(lambda: publisher.sent.total() == 2, "both")
            source.wait_for_polls()
    assert publisher.sent.total() == 2
    assert not publisher.rejected
    kept = read_rejects(wire.settings, "mended", 100)
    assert [(one["reason"], one["raw"]["attributes"]["date"]) for one in kept] == [
        ("missing unit", "monday"), ("missing unit", "tuesday"),
    ]  # fmt: skip


def test_a_record_that_its_source_mends_is_sent_though_its_value_is_the_same(wire: Wire) -> None:
    lacking = {"requests": [{"event_publisher": "P", "description": "d"}]}
    body = observations(("monday", 1))
    with Source(body).serving() as source, wire.connected(poll(wire, source, "there", **lacking)) as publisher:
        until(lambda: publisher.rejected.total() == 1, "the reject")
        source.body = observations(("monday", 1), unit="percent")
        until(lambda: publisher.sent.total() == 1, "the record")
        source.wait_for_polls()
    assert (publisher.sent.total(), publisher.rejected.total()) == (1, 1)


def test_a_record_that_lacks_its_identity_is_counted_once_and_kept_whole(wire: Wire) -> None:
    body = json.dumps([{"value": 1, "note": "n" * 5000}, {"date": "monday", "value": 1}]).encode()
    with Source(body).serving() as source, wire.connected(poll(wire, source, "nameless")) as publisher:
        until(lambda: publisher.sent, "the other")
        source.wait_for_polls()
    assert publisher.rejected == {"missing one of date": 1}
    (kept,) = read_rejects(wire.settings, "nameless", 100)
    assert kept["raw"]["note"] == "n" * 5000


def test_an_item_of_a_feed_that_is_rejected_is_counted_once_for_each_version_of_its_entry(wire: Wire) -> None:
    with Source(FEED.encode()).serving() as source:
        counts = []
        for unit in ("note", "note", "message"):
            body = {"kind": "feed", "url": source.url, "every_seconds": 0.05, "event_publisher": "P", "unit": unit}
            with wire.connected(entry_of(wire.settings, json.dumps({"items": body}))) as publisher:
                source.wait_for_polls()
            counts.append((publisher.sent.total(), publisher.rejected.total()))
    assert counts == [(1, 1), (0, 0), (0, 1)]


def test_what_an_older_version_has_sent_is_not_sent_again(wire: Wire) -> None:
    def as_it_was(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    old = wire.settings.home / "cursors" / "older.json"
    old.parent.mkdir(exist_ok=True)
    seen = {as_it_was("monday"): as_it_was("1"), as_it_was("tuesday"): as_it_was("2")}
    old.write_text(json.dumps({"seen": seen, "validators": {as_it_was("request"): {"If-None-Match": "x"}}}))
    body = observations(("monday", 1), ("tuesday", 3), ("wednesday", 4))
    with Source(body).serving() as source, wire.connected(poll(wire, source, "older")) as publisher:
        source.wait_for_polls()
    assert publisher.sent.total() == 2
    assert [one["value"] for one in wire.records("economic_event_numeric")] == [3, 4]
    assert not old.exists()


def test_what_is_no_cursor_of_an_older_version_stays_where_it_is(wire: Wire) -> None:
    old = wire.settings.home / "cursors" / "odd.json"
    old.parent.mkdir(exist_ok=True)
    old.write_text('{"BTC/USDT": 12}')  # another source's trade ids, for one
    body = observations(("monday", 1))
    with Source(body).serving() as source, wire.connected(poll(wire, source, "odd")) as publisher:
        until(lambda: publisher.sent, "the record")
    assert old.read_text() == '{"BTC/USDT": 12}'


def test_what_was_sent_when_the_process_was_killed_before_it_was_marked_is_sent_again(wire: Wire) -> None:
    entry = poll(wire, Source(), "killed")
    with pytest.raises(KeyboardInterrupt), Cursor.open(wire.settings, entry) as cursor:
        cursor.mark_sent({short("monday"): short(1)})
        cursor.commit()
        cursor.mark_sent({short("tuesday"): short(2)})
        raise KeyboardInterrupt
    with Cursor.open(wire.settings, entry) as cursor:
        assert cursor.sent_values([short("monday"), short("tuesday")]) == {short("monday"): short(1)}


def test_a_cursor_that_cannot_be_read_is_an_error_that_says_what_to_do(wire: Wire) -> None:
    entry = poll(wire, Source(), "broken")
    path = wire.settings.home / "cursors" / "broken.sqlite"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"no database " * 1000)
    said = r"broken\.sqlite that can be read.*all values are sent again"
    with pytest.raises(TidemarkError, match=said), Cursor.open(wire.settings, entry):
        pytest.fail("expected no cursor")
