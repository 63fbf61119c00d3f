"""The polling kinds against loopback servers: what is new is sent once, whatever the source does meanwhile."""

import json
import logging
import math
from collections import Counter
from pathlib import Path

import httpx
import msgspec
import pytest

from loopback.serving import Servers, serving
from loopback.session import Session
from loopback.source_server import Fault
from stream_shim.connectors.cursor import Cursor
from stream_shim.connectors.entries import FeedSource, PollSource
from stream_shim.connectors.feed import parse_feed
from stream_shim.connectors.poll import parse_record, parse_records
from stream_shim.running import runner
from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire, entry_of
from tidemark.errors import SourceError

KEY = "0123456789abcdef0123456789abcdef"
CALLER = "Tidemark tests@example.org"
FRED_XML = b"""<?xml version="1.0" encoding="utf-8" ?>
<observations realtime_start="2024-11-03" realtime_end="2024-11-03" units="lin" count="2" offset="0" limit="100000">
  <observation realtime_start="2024-11-03" realtime_end="2024-11-03" date="2024-04-01" value="29016.714"/>
  <observation realtime_start="2024-11-03" realtime_end="2024-11-03" date="2024-07-01" value="."/>
</observations>"""
ECB_CSV = b"""KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE,OBS_STATUS,TITLE,UNIT\r
EXR.D.GBP.EUR.SP00.A,D,GBP,EUR,SP00,A,2024-11-01,0.83868,A,"UK pound sterling/Euro, ECB reference rate",GBP\r
EXR.D.GBP.EUR.SP00.A,D,GBP,EUR,SP00,A,2024-11-04,,H,"UK pound sterling/Euro, ECB reference rate",GBP\r
"""


@pytest.fixture
def wire(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setenv("TIDEMARK_FRED_API_KEY", KEY)
    monkeypatch.setenv("TIDEMARK_USER_AGENT", CALLER)
    monkeypatch.setattr(runner, "RECONNECT_SECONDS", (0.05, 0.1, 0.2))
    return Wire(stack.settings)


@pytest.fixture(scope="module")
def session(generated: Session) -> Session:
    return generated


def edgar_entry(wire: Wire, servers: Servers, name: str) -> FeedSource:
    entry = entry_of(wire.settings, f"""
{name}:
  kind: feed
  url: "{servers.edgar.url}/cgi-bin/browse-edgar?action=getcurrent&count=100&start=0&type=&owner=include&output=atom"
  headers: {{User-Agent: "${{TIDEMARK_USER_AGENT}}"}}
  every_seconds: 0.05
  timeout_seconds: 20
  event_publisher: SEC
  unit: filing
""")  # fmt: skip
    assert isinstance(entry, FeedSource)
    return entry


def fred_entry(wire: Wire, servers: Servers, name: str, **changes: object) -> PollSource:
    requests = [{"series_id": series, "event_publisher": "FRED", "unit": "u", "description": series}
                for series in ("GDP", "CPILFESL", "WGS10YR")]  # fmt: skip
    body = {
        "kind": "poll",
        "url": f"{servers.fred.url}/fred/series/observations?file_type=json&series_id={{series_id}}"
        "&api_key=${TIDEMARK_FRED_API_KEY}",
        "every_seconds": 0.1,
        "timeout_seconds": 2,
        "requests": requests,
        "records": "observations",
        "identity": ["series_id", "date"],
        **changes,
    }
    entry = entry_of(wire.settings, json.dumps({name: body}))
    assert isinstance(entry, PollSource)
    return entry


def edgar_polls(wire: Wire, servers: Servers, session: Session, name: str) -> None:
    """Every poll, the connector started anew for each.

    A poll that was asked for is not yet sent, and one connector may have sent the next poll's entries too.
    """
    known: set[tuple[str, str]] = set()
    before = 0  # sent by the connectors that ended
    for served, poll in enumerate(servers.edgar.polls, 1):
        known |= session.entries_of(poll.pages[0])
        with wire.connected(edgar_entry(wire, servers, name)) as publisher:
            until(lambda: servers.edgar.polls_served >= served, "a poll")  # noqa: B023 - awaited at once
            until(lambda: before + publisher.sent.total() >= len(known), "its entries")  # noqa: B023
        before += publisher.sent.total()


def check_edgar(wire: Wire, servers: Servers, session: Session, name: str) -> None:
    edgar_polls(wire, servers, session, name)
    sent = wire.records("economic_event_text")
    identities = Counter((one["attributes"]["id"], one["value"]) for one in sent)
    assert set(identities) == session.edgar_entries
    assert set(identities.values()) == {1}
    assert {(one["source_system"], one["event_publisher"], one["unit"]) for one in sent} == {(name, "SEC", "filing")}
    assert all(one["attributes"]["link"] for one in sent)


def test_entries_of_a_feed_are_sent_once_though_the_connector_restarts(wire: Wire, session: Session) -> None:
    with serving(session.folder) as servers:
        check_edgar(wire, servers, session, "edgar_generated")


@pytest.mark.recordings
def test_the_three_recorded_polls_of_edgar_bring_ten_new_entries_then_none(
    wire: Wire, recordings: Path, recorded: Session
) -> None:
    with serving(recordings) as servers:
        check_edgar(wire, servers, recorded, "edgar_recorded")
    sent = wire.raw("economic_event_text")
    assert len(sent) == 100 + 10


def test_an_unchanged_feed_is_asked_for_conditionally_and_not_parsed(wire: Wire, session: Session) -> None:
    with serving(session.folder) as servers:
        entry = edgar_entry(wire, servers, "edgar_conditional")
        with wire.connected(entry):
            until(lambda: servers.edgar.polls_served > 6, "polls after the last recorded one")
        with Cursor.open(wire.settings, entry) as cursor:
            validators = cursor.conditions("")
        url = entry.url
        again = httpx.get(url, headers={"User-Agent": CALLER, **validators}, timeout=60)
    assert set(validators) == {"If-None-Match", "If-Modified-Since"}
    assert again.status_code == 304


def of_the_second(servers: Servers) -> list[int]:
    """How often each series of the second recording was answered."""
    return [count for key, count in dict(servers.fred.served).items() if key.endswith("@1")]


def check_fred(wire: Wire, servers: Servers, session: Session, name: str) -> None:
    with wire.connected(fred_entry(wire, servers, name)) as publisher:
        first = sum(counts.numeric + counts.text for counts in session.fred_counts(0).values())
        until(lambda: sum(publisher.sent.values()) >= first, "the first recording")
        until(lambda: len(servers.fred.served) == 3, "every series")
    numeric, text = wire.records("economic_event_numeric"), wire.records("economic_event_text")
    expected = session.fred_counts(0)
    for series, counts in expected.items():
        of_series = [one for one in numeric if one["attributes"]["series_id"] == series]
        missing = [one for one in text if one["attributes"]["series_id"] == series]
        assert (len(of_series), len(missing)) == (counts.numeric, counts.text)
        assert {one["value"] for one in missing} <= {"."}
        assert all(math.isclose(float(one["attributes"]["value_as_sent"]), one["value"]) for one in of_series)
    servers.fred.next()
    before = {(one["attributes"]["series_id"], one["attributes"]["date"]): one["value"] for one in numeric + text}
    with wire.connected(fred_entry(wire, servers, name)):
        # Of each series more answers than one: the first was taken before the next was asked for.
        until(lambda: sum(count > 2 for count in of_the_second(servers)) == 3, "polls that bring nothing new")
    now = wire.records("economic_event_numeric")[len(numeric) :] + wire.records("economic_event_text")[len(text) :]
    after = {(one["attributes"]["series_id"], one["attributes"]["date"]): one["value"] for one in now}
    assert len(after) == len(now)
    assert after == changed_values(servers, before)


def changed_values(servers: Servers, before: dict[tuple[str, str], object]) -> dict[tuple[str, str], object]:
    """What the second recording has that the first had not, or had otherwise: from the recordings' own bytes."""
    changed: dict[tuple[str, str], object] = {}
    for recorded in servers.fred.recorded[1].values():
        series = dict(recorded.query).get("series_id", "")
        if recorded.list_key != "observations" or recorded.query != {("series_id", series)}:
            continue
        for one in json.loads(recorded.body)["observations"]:
            value = one["value"] if one["value"] == "." else float(one["value"])
            if before.get((series, one["date"])) != value:
                changed[series, one["date"]] = value
    return changed


def test_of_a_second_poll_only_what_is_new_or_revised_is_sent(wire: Wire, session: Session) -> None:
    with serving(session.folder) as servers:
        check_fred(wire, servers, session, "fred_generated")


@pytest.mark.recordings
def test_of_the_second_recording_of_fred_only_what_is_new_or_revised_is_sent(
    wire: Wire, recordings: Path, recorded: Session
) -> None:
    with serving(recordings) as servers:
        check_fred(wire, servers, recorded, "fred_recorded")


def test_a_source_that_fails_in_any_way_is_counted_and_polled_again(
    wire: Wire, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with serving(session.folder) as servers:
        servers.fred.slow_seconds = 5
        entry = fred_entry(wire, servers, "fred_faults", timeout_seconds=0.5)
        servers.fred.fault = Fault.UNAVAILABLE
        with wire.connected(entry) as publisher:
            for fault in Fault:
                servers.fred.fault = fault
                before = publisher.source_errors
                until(lambda: publisher.source_errors > before + 1, f"a count of {fault}")  # noqa: B023
            assert not publisher.sent
            servers.fred.fault = None
            whole = session.fred_counts(0)
            until(
                lambda: publisher.sent["economic_event_numeric"] == sum(s.numeric for s in whole.values()), "all of it"
            )
    said = caplog.text
    for part in (
        "received 503",
        "received 429",
        "an HTML page, 'Scheduled maintenance'",
        "TimeoutError",
        "RemoteProtocolError",
    ):
        assert part in said


def test_one_series_that_fails_keeps_no_other_from_being_sent(wire: Wire, session: Session) -> None:
    with serving(session.folder) as servers:
        requests = [{"series_id": series, "event_publisher": "F", "unit": "u", "description": "d"}
                    for series in ("NO_SUCH_SERIES", "GDP")]  # fmt: skip
        entry = fred_entry(wire, servers, "fred_one_fails", requests=requests)
        with wire.connected(entry) as publisher:
            until(lambda: publisher.source_errors > 1, "the failure, counted")
    gdp = session.fred_counts(0)["GDP"]
    assert len(wire.records("economic_event_numeric")) == gdp.numeric


def test_a_credential_is_in_nothing_that_is_written(wire: Wire, session: Session, stack: Stack) -> None:
    with serving(session.folder) as servers:
        entry = fred_entry(wire, servers, "fred_secret")
        sources = stack.settings.home / "sources-secret.yml"
        sources.write_text(json.dumps({"fred_secret": {"kind": "poll", **_body(entry)}}))
        environ = {"TIDEMARK_SOURCES_FILE": str(sources), "TIDEMARK_FRED_API_KEY": KEY}
        shown = stack.run("sources", "check", "fred_secret", **environ)
        assert shown.returncode == 0, shown.stderr
        servers.fred.fault = Fault.UNAVAILABLE
        refused = stack.run("sources", "check", "fred_secret", **environ)
        assert refused.returncode == 1
        with wire.connected(entry) as publisher:
            until(lambda: publisher.source_errors, "a failure")
            servers.fred.fault = None
            until(lambda: publisher.sent, "records")
    topics = b"".join(record.value for topic in wire.start for record in wire.raw(topic.topic))
    said = (shown.stdout + shown.stderr + refused.stdout + refused.stderr).encode()
    written = [
        path for folder in ("logs", "run", "cursors", "rejects") for path in (wire.settings.home / folder).rglob("*")
    ]
    assert KEY.encode() not in topics + said
    assert [path for path in written if path.is_file() and KEY.encode() in path.read_bytes()] == []


def _body(entry: PollSource) -> dict[str, object]:
    return {name: one for name, one in msgspec.to_builtins(entry).items() if name not in ("name", "source_system")}


def source(**changes: object) -> PollSource:
    plain = {"kind": "poll", "url": "http://localhost/", "identity": ["date"], **changes}
    entry = msgspec.convert(plain, PollSource)
    return msgspec.structs.replace(entry, name="example", source_system="example")


def test_fred_in_its_default_xml_gives_the_same_records_as_in_json() -> None:
    entry = source(format="xml", records="observations.observation")
    request = {"series_id": "GDP", "event_publisher": "BEA", "unit": "billions", "description": "GDP"}
    first, second = (parse_record(entry, record, 0) for record in parse_records(entry, request, FRED_XML))
    assert (first.topic, first.fields["value"]) == ("economic_event_numeric", 29016.714)
    assert first.attributes["date"] == "2024-04-01"
    assert (second.topic, second.fields["value"]) == ("economic_event_text", ".")


def test_items_of_a_feed_whose_ids_and_titles_hold_the_separator_are_told_apart() -> None:
    items = b"".join(
        b"<item><title>%s</title><guid>%s</guid></item>" % pair for pair in ((b"x|y", b"a"), (b"y", b"a|x"))
    )
    body = b'<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>%s</channel></rss>' % items
    entry = FeedSource(name="f", source_system="f", url="http://localhost/", event_publisher="P", unit="u")
    assert len({identity for identity, _ in parse_feed(entry, body, 0)}) == 2


def test_json_that_begins_with_a_byte_order_mark_is_read_as_csv_is() -> None:
    text = [("json", b'[{"date": "monday", "value": 1.5}]'), ("csv", b"date,value\nmonday,1.5\n")]
    found = [parse_records(source(format=kind, records=""), {}, b"\xef\xbb\xbf" + body) for kind, body in text]
    assert found == [[{"date": "monday", "value": value}] for value in ("1.5", "1.5")]


def test_of_columns_that_share_a_name_no_cell_is_lost() -> None:
    entry = source(format="csv", records="", identity=["date"])
    (found,) = parse_records(entry, {}, b"date,value,status,status\nmonday,1.5,final,revised\n")
    assert found == {"date": "monday", "value": "1.5", "column_3": "final", "status": "revised"}
    with pytest.raises(SourceError, match="expected csv with a list of records"):
        parse_records(entry, {}, b"value,column_1,value\n1,2,3\n")


@pytest.mark.parametrize("header", ["value,OBS_VALUE", "OBS_VALUE,value"])
def test_a_renamed_field_has_its_name_and_what_had_it_goes_along(header: str) -> None:
    entry = source(format="csv", records="", identity=["date"], rename={"OBS_VALUE": "value"})
    cells = {"value": "index", "OBS_VALUE": "1.5"}
    line = ",".join(cells[name] for name in header.split(","))
    (found,) = parse_records(entry, {}, f"{header},date\n{line},monday\n".encode())
    assert found == {"date": "monday", "value": "1.5", "displaced_by_rename": {"value": "index"}}


def test_the_ecb_in_csv_is_renamed_and_keeps_every_column() -> None:
    entry = source(
        format="csv",
        rename={"OBS_VALUE": "value", "TITLE": "description", "UNIT": "unit"},
        identity=["KEY", "TIME_PERIOD"],
    )
    first, second = (parse_record(entry, one, 0) for one in parse_records(entry, {"event_publisher": "ECB"}, ECB_CSV))
    assert first.fields == {
        "source_system": "example", "event_publisher": "ECB", "value": 0.83868, "unit": "GBP",
        "description": "UK pound sterling/Euro, ECB reference rate",
    }  # fmt: skip
    assert first.attributes["TIME_PERIOD"] == "2024-11-01"
    assert first.attributes["value_as_sent"] == "0.83868"
    assert (second.topic, second.fields["value"]) == ("economic_event_text", None)
    assert "OBS_VALUE" not in second.attributes


@pytest.mark.parametrize(
    ("kind", "records", "body"),
    [
        ("json", "observations", b"<html>"),
        ("json", "observations", b'{"error_code": 400}'),
        ("json", "observations", b'{"observations": [1, 2]}'),
        ("json", "", b""),
        ("csv", "", b"<html><body>Scheduled maintenance</body></html>"),
        ("csv", "", b"\xff\xfe\x00"),
        ("csv", "", b""),
        ("xml", "observations.observation", b"<html><body>Scheduled maintenance</body></html>"),
        ("xml", "observations.observation", b"not xml"),
    ],
)
def test_a_body_that_is_no_list_of_records_is_an_error_that_says_so(kind: str, records: str, body: bytes) -> None:
    with pytest.raises(SourceError, match=f"example: expected {kind} with a list of records"):
        parse_records(source(format=kind, records=records), {}, body)


LAUGHS = (
    b'<!DOCTYPE r [<!ENTITY a0 "ha">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))
    + b']><r><o v="&a9;"/></r>'
)
NAMES = b"".join(b' p:a%d=""' % number for number in range(30_000))


@pytest.mark.parametrize(
    ("kind", "records", "body"),
    [
        ("json", "", b"[" * 100_000 + b"]" * 100_000),
        ("json", "", b'[{"value": ' + b"[" * 200 + b"]" * 200 + b"}]"),
        ("json", "", b"[" + b"{}," * 2_000_000 + b"{}]"),
        ("csv", "", b"value\n" + b"1\n" * 2_000_000),
        ("xml", "r.o", LAUGHS),
        ("xml", "r.o", b'<r xmlns:p="' + b"u" * 1_000_000 + b'"><o' + NAMES + b"/></r>"),
    ],
    ids=["deep", "deep in a record", "many objects", "many rows", "laughs", "long names"],
)
def test_a_body_that_stands_for_more_than_it_is_is_an_error_that_says_so(kind: str, records: str, body: bytes) -> None:
    with pytest.raises(SourceError, match=f"example: expected {kind} with a list of records"):
        parse_records(source(format=kind, records=records), {}, body)


def test_xml_as_deep_as_it_likes_ends_no_process_and_fetches_nothing(tmp_path: Path) -> None:
    deep = b"<r><o v='1'>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</o></r>"
    assert parse_records(source(format="xml", records="r.o"), {}, deep) == [{"v": "1"}]
    (tmp_path / "secret").write_text("secret")
    body = f'<!DOCTYPE r [<!ENTITY x SYSTEM "{(tmp_path / "secret").as_uri()}">]><r><o><v>&x;</v></o></r>'.encode()
    with pytest.raises(SourceError, match="expected xml"):
        parse_records(source(format="xml", records="r.o"), {}, body)


def test_a_number_that_no_double_holds_is_a_text_event_as_it_was_sent() -> None:
    (record,) = parse_records(source(), {}, b'[{"value": 1' + b"0" * 400 + b"}]")
    assert parse_record(source(), record, 0).topic == "economic_event_text"


@pytest.mark.faults
def test_a_feed_that_keeps_its_parser_busy_is_an_error_that_says_so() -> None:
    entry = msgspec.convert(
        {"kind": "feed", "url": "https://a.example/", "event_publisher": "p", "unit": "u"}, FeedSource
    )
    slow = b'<?xml version="1.0"?>' + b"\n" * 1_000_000 + b'<rss version="2.0"/>'
    with pytest.raises(SourceError, match="expected a feed, received XML that takes its parser more than"):
        parse_feed(entry, slow, 0)


def test_an_answer_that_is_too_large_counts_as_a_failure_and_sends_nothing(
    wire: Wire, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with serving(session.folder) as servers:
        entry = fred_entry(wire, servers, "fred_large")
        small = Wire(wire.settings.model_copy(update={"http_bytes": 1024}))
        with small.connected(entry) as publisher:
            until(lambda: publisher.source_errors > 1, "the failure, counted")
    assert not publisher.sent
    place = f"{servers.fred.url.removeprefix('http://')}/fred/series/observations"
    assert f"fred_large: expected an answer, received from GET {place} a body" in caplog.text
    assert "of more than 1,024 bytes (TIDEMARK_HTTP_BYTES allows more)" in caplog.text
    assert KEY not in caplog.text


def test_a_body_that_is_the_name_of_a_file_is_not_read_as_that_file(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    path.write_text('<rss version="2.0"><channel><item><title>secret</title></item></channel></rss>')
    entry = msgspec.convert(
        {"kind": "feed", "url": "https://a.example/", "event_publisher": "p", "unit": "u"}, FeedSource
    )
    with pytest.raises(SourceError, match="expected an RSS or Atom feed"):
        parse_feed(entry, str(path).encode(), 0)


@pytest.mark.recordings
@pytest.mark.parametrize("file", ["fed_press_rss/press_all_trimmed_20260918.xml", "ecb/press_rss_20260624.xml.gz"])
def test_central_banks_feeds_give_a_text_event_an_item(recordings: Path, file: str) -> None:
    import gzip

    body = (recordings / file).read_bytes()
    body = gzip.decompress(body) if file.endswith(".gz") else body
    entry = msgspec.convert(
        {"kind": "feed", "url": "https://a.example/", "event_publisher": "p", "unit": "u"}, FeedSource
    )
    found = parse_feed(msgspec.structs.replace(entry, source_system="bank"), body, 0)
    assert len(found) == body.count(b"<item>") + body.count(b"<item ") > 0
    assert len({identity for identity, _ in found}) == len(found)
    assert all(datum.fields["value"] and datum.fields["description"] for _, datum in found)
