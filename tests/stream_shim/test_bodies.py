"""What becomes of a body: the cases of tests/cases/http.yml, and others of their kind."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from aiohttp import web

from stream_shim.buffer.encoding import Datum, Unsendable, encode
from stream_shim.connectors.cursor import Cursor, short
from stream_shim.connectors.entries import FeedSource, PollSource, SourceEntry
from stream_shim.connectors.feed import parse_feed
from stream_shim.connectors.poll import parse_record, parse_records
from stream_shim.connectors.records import NoRecord
from stream_shim.running import runner
from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire, entry_of
from tests.stream_shim.polled import Source
from tidemark.errors import SourceError

CASES = {
    one["answer"]["path"]: one
    for one in yaml.safe_load((Path(__file__).parents[1] / "cases" / "http.yml").read_text())
    if "entry" in one
}
PLACE = "http://127.0.0.1:8080/press/feed.xml"
KEY = "0123456789abcdef"


def entry_for(**body: Any) -> Any:
    plain = {"url": PLACE, "identity": ["date"], **body} if body["kind"] == "poll" else {"url": PLACE, **body}
    entry: Any = msgspec.convert(plain, SourceEntry)
    return msgspec.structs.replace(entry, name="example", source_system="example")


def poll(**body: Any) -> PollSource:
    request = {"event_publisher": "P", "unit": "u", "description": "d"}
    entry: PollSource = entry_for(kind="poll", **{"requests": [request], **body})
    return entry


def events(entry: SourceEntry, body: bytes, content_type: str = "") -> list[dict[str, Any]]:
    """The records on the wire, as the topic gets them; of what is none the reason and what came."""
    if isinstance(entry, FeedSource):
        return [on_wire(datum) for _, datum in parse_feed(entry, body, 0, content_type=content_type, url=PLACE)]
    assert isinstance(entry, PollSource)
    found = []
    for record in parse_records(entry, entry.requests[0], body, content_type=content_type, place="GET 127.0.0.1/"):
        try:
            found.append(on_wire(parse_record(entry, record, 0)))
        except Unsendable as why:
            found.append({"why": str(why), "raw": record.raw if isinstance(record, NoRecord) else record})
    return found


def on_wire(datum: Datum) -> dict[str, Any]:
    wire: dict[str, Any] = json.loads(encode(datum).value, parse_float=lambda digits: f"#{digits}")
    value = wire["value"]
    return {**wire, "value": float(value[1:]) if value.startswith("#") else value, **wire["attributes"]}


def of_case(path: str, **changes: Any) -> list[dict[str, Any]]:
    case = CASES[path]
    answer = case["answer"]
    body = answer["body"].encode(answer["encoding"])
    return events(entry_for(**{**case["entry"], **changes}), body, answer["headers"]["Content-Type"])


RIGHT: dict[str, list[dict[str, Any]]] = {
    "/sjis.xml": [{"value": "金融政策決定会合の結果", "description": "日本銀行"}],
    "/latin1.csv": [{"value": 4.1, "description": "Taux de chômage", "date": "2026-11-01"}],
    "/relative.xml": [{"value": "Statement", "link": "http://127.0.0.1:8080/press/2026/s1.html"}],
    "/notitle.xml": [{"value": "Rate unchanged at 4.25 percent", "description": "Rate unchanged at 4.25 percent"}],
    "/bom.json": [{"value": 1.25}],
    "/nan.json": [{"value": 1.5}, {"value": "NaN"}, {"value": 1.7}],
    "/underscore.json": [{"value": "2024_25"}, {"value": "true"}, {"value": 1.1, "value_as_sent": "1.10"}],
    "/trailing.csv": [{"value": 4.1, "date": "2026-11-01"}, {"value": 4.2, "date": "2026-11-02"}],
    "/rates.xml": [
        {"value": 5.0901, "currency": "EUR", "date": "2026-11-27"},
        {"value": 1.3301, "currency": "HUF", "multiplier": "100", "date": "2026-11-27"},
    ],
    "/bls.json": [{"value": 0.524, "year": "2022", "period": "M12", "seriesID": "APU0000701111"}],
}


@pytest.mark.parametrize("path", RIGHT)
def test_a_body_of_the_cases_gives_what_is_right(path: str) -> None:
    found = of_case(path)
    assert len(found) == len(RIGHT[path])
    for event, right in zip(found, RIGHT[path], strict=True):
        assert right.items() <= event.items()


def test_another_dialect_is_a_sentence_until_it_is_named() -> None:
    with pytest.raises(SourceError, match=r'set `dialect: \{delimiter: ";"\}` of the entry, and its `decimal`'):
        of_case("/semicolon.csv")
    (event,) = of_case("/semicolon.csv", dialect={"delimiter": ";", "decimal": ","})
    assert (event["value"], event["value_as_sent"], event["date"]) == (1.0864, "1,0864", "2026-11-01")


TEXT = "date,value,title\r\n2026-11-01,4.1,{}\r\n"
CHARSETS: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "utf-16, named, without a mark": ("text/csv; charset=utf-16", TEXT.format("é").encode("utf-16-be"), {}, "é"),
    "utf-16, named, with a mark": ('text/csv; charset="UTF-16"', TEXT.format("é").encode("utf-16"), {}, "é"),
    "utf-16, not named": ("text/csv", TEXT.format("é").encode("utf-16-le"), {}, "é"),
    "a mark against Content-Type": ("text/csv; charset=iso-8859-1", TEXT.format("é").encode("utf-8-sig"), {}, "é"),
    "a mark against the entry": ("text/csv", TEXT.format("é").encode("utf-8-sig"), {"encoding": "latin-1"}, "é"),
    "the entry against Content-Type": ("text/csv; charset=utf-8", TEXT.format("é").encode("latin-1"),
                                       {"encoding": "latin-1"}, "é"),
    "latin-1 as the web means it": ("text/csv;charset=ISO-8859-1;header=present", TEXT.format("€").encode("cp1252"),
                                    {}, "€"),
    "no charset": ("text/csv", TEXT.format("é").encode(), {}, "é"),
}  # fmt: skip


@pytest.mark.parametrize("which", CHARSETS)
def test_the_charset_of_a_csv_is_its_marks_then_the_entrys_then_its_servers(which: str) -> None:
    content_type, body, changes, title = CHARSETS[which]
    (event,) = events(poll(format="csv", **changes), body, content_type)
    assert (event["date"], event["title"]) == ("2026-11-01", title)


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("application/json", '[{"value": "é"}]'.encode("utf-16-le"), "é"),
        ("application/json", '[{"value": "é"}]'.encode("utf-32"), "é"),
        ("application/json; charset=iso-8859-1", '[{"value": "é"}]'.encode(), "é"),
        ("application/json; charset=iso-8859-1", '[{"value": "é"}]'.encode("latin-1"), "é"),
        ("application/xml", '<?xml version="1.0" encoding="utf-16"?><r><o value="é"/></r>'.encode("utf-16"), "é"),
        ("application/xml", '<?xml version="1.0" encoding="utf-16"?><r><o value="é"/></r>'.encode(), "é"),
        ("text/xml", '<?xml version="1.0" encoding="windows-1251"?><r><o value="Ж"/></r>'.encode("cp1251"), "Ж"),
        (
            "text/xml;charset=koi8-r",
            '<?xml version="1.0" encoding="utf-8"?><r><o value="Ж"/></r>'.encode("koi8-r"),
            "Ж",
        ),
        ("text/xml", '<r><o value="é"/></r>'.encode("utf-16-be"), "é"),
    ],
)
def test_json_and_xml_say_their_charset_as_their_standards_have_it(content_type: str, body: bytes, value: str) -> None:
    shape = {"format": "xml", "records": "r.o"} if "xml" in content_type else {}
    (event,) = events(poll(**shape), body, content_type)
    assert event["value"] == value


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("text/csv", "bytes that are no utf-8 (as no other charset is named) from byte 33 on"),
        ("text/csv; charset=us-ascii", "bytes that are no us-ascii (Content-Type) from byte 33 on"),
        ("text/csv; charset=utf8mb4", "the charset 'utf8mb4' (Content-Type), which is not known"),
        ("text/csv; charset=base64", "the charset 'base64' (Content-Type), which is not known"),
        ("text/csv; charset=idna", "the charset 'idna' (Content-Type), which is not known"),
    ],
)
def test_what_does_not_decode_is_a_sentence_that_says_what_to_set(content_type: str, said: str) -> None:
    with pytest.raises(SourceError) as refused:
        events(poll(format="csv"), TEXT.format("é").encode("latin-1"), content_type)
    assert f"example: expected csv with a list of records from GET 127.0.0.1/, received {said}" in str(refused.value)
    assert "set `encoding:` of the entry" in str(refused.value)
    with pytest.raises(SourceError, match=f"expected a feed from {PLACE}, received .*set `encoding:`"):
        events(entry_for(kind="feed", event_publisher="P", unit="u"), b"<rss>\xe9</rss>", content_type)


def test_an_encoding_that_is_none_and_a_dialect_that_cannot_be_are_refused_in_the_entry() -> None:
    for changes, said in (
        ({"encoding": "utf-9"}, "expected the name of a charset"),
        ({"encoding": "rot13"}, "expected the name of a charset"),
        ({"dialect": {"delimiter": ";;"}}, "expected one character that parts or quotes"),
        ({"dialect": {"decimal": ",", "thousands": ","}}, "expected another than `decimal`"),
        ({"dialect": {"skip_lines": -1}}, "Expected `int` >= 0"),
        ({"dialect": {"delimiter": ";"}, "format": "json"}, "expected none: only CSV has one"),
    ):
        with pytest.raises(msgspec.ValidationError, match=said):
            poll(**{"format": "csv", **changes})


@pytest.mark.parametrize(
    ("sent", "value", "as_sent"),
    [
        ("1e3", 1000.0, "1e3"), ("1234567890" * 3, 1.2345678901234568e29, "1234567890" * 3),
        ("-0.50", -0.5, "-0.50"), ('" 4.10 "', 4.1, " 4.10 "), ('"+.5"', 0.5, "+.5"), ('"1."', 1.0, "1."),
        ("-Infinity", "-Infinity", None), ("NaN", "NaN", None), ('"Infinity"', "Infinity", None),
        ('"nan"', "nan", None), ('"٤"', "٤", None), ('"0x1A"', "0x1A", None), ('"1,5"', "1,5", None),
        ("false", "false", None),
        ("1e400", "1e400", None), ("1e-400", "1e-400", None), ('{"a": 1.50}', '{"a":1.50}', None),
        ("1" + "0" * 5000, "1" + "0" * 5000, None),
    ],
)  # fmt: skip
def test_a_value_is_a_number_by_one_grammar_and_else_its_text(sent: str, value: Any, as_sent: str | None) -> None:
    body = f'[{{"value": {sent}, "more": 1.10, "note": "NaN, Infinity"}}]'.encode()
    (event,) = events(poll(), body)
    assert (event["value"], event.get("value_as_sent")) == (value, as_sent)
    assert (event["more"], event["note"]) == ("#1.10", "NaN, Infinity")


def test_a_value_that_is_blank_is_none() -> None:
    assert [one["why"] for one in events(poll(), b'[{"value": ""}, {"value": " "}, {"value": null}, {}]')] == [
        "missing value"
    ] * 4


SERIES = b"""{"Results": {"series": [
    {"seriesID": "A", "catalog": {"x": 1}, "data": [{"year": "2022", "value": "1"}]},
    {"seriesID": "B", "unit": "index", "value": 9,
     "data": [{"year": "2022", "value": "2"}, {"seriesID": "C", "value": 3}]},
    {"seriesID": "D"}]}}"""


def test_every_list_of_a_list_is_reached_and_its_records_say_which() -> None:
    *odd, first, second, third = events(poll(records="Results.series.*.data", identity=["seriesID"]), SERIES)
    assert odd == [{"why": "no data in an element of series", "raw": {"seriesID": "D"}}]
    assert (first["seriesID"], first["value"], "catalog" in first) == ("A", 1.0, False)
    assert (second["seriesID"], second["unit"], second["series.unit"]) == ("B", "u", "index")
    assert (second["value"], second["series.value"]) == (2.0, 9)
    assert (third["seriesID"], third["series.seriesID"], third["value"]) == ("C", "B", 3.0)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ("Results.series.3.data", "a list of 3 at Results.series, in which '3' is not an index from 0 to 2, or"),
        ("Results.series.-1.data", "in which '-1' is not an index from 0 to 2, or * for each"),
        ("Results.series.data", "in which 'data' is not an index"),
        ("Results.serie", "no 'serie' at Results but an object of 'series'"),
        ("Results.*.data", "no list at Results but an object of 'series'"),
        ("Results", "no list at Results but an object of 'series'"),
        ("", "no list at the root but an object of 'Results'"),
    ],
)
def test_a_path_that_leads_nowhere_is_a_sentence_that_says_what_is_there(records: str, said: str) -> None:
    with pytest.raises(SourceError) as refused:
        events(poll(records=records), SERIES)
    assert said in str(refused.value)


def test_a_page_of_html_is_called_one() -> None:
    for entry in (poll(), poll(format="csv"), poll(format="xml", records="a.b")):
        with pytest.raises(SourceError, match=r"received '<!DOCTYPE html><p>value</p>'"):
            events(entry, b"<!DOCTYPE html><p>value</p>")


def test_a_row_that_is_none_costs_itself_and_an_empty_cell_is_no_value() -> None:
    body = (
        b'date,value,note\r\n"a\r\nb",1,\r\nb,2,x,y\r\nc\r\n"d"d,3,\r\n\r\n,,\r\ne,,n\r\nf,6,x\r\n"g,7,x\r\nh,8,x\r\n'
    )
    found = events(poll(format="csv"), body)
    assert [one["why"] if "why" in one else (one["date"], one["value"]) for one in found] == [
        ("a\r\nb", 1.0), "a CSV row of another length than its header", "a CSV row of another length than its header",
        "a CSV row that is none, ',' expected after '\"'", "missing value", ("f", 6.0),
        "a CSV row that is none, unexpected end of data",
    ]  # fmt: skip
    assert "note" not in found[0]
    rows = [one for one in parse_records(poll(format="csv"), {}, body) if isinstance(one, NoRecord)]
    assert [(one.at, one.raw) for one in rows] == [(4, "b,2,x,y"), (5, "c"), (6, '"d"d,3,'), (12, '"g,7,x\r\nh,8,x')]


@pytest.mark.parametrize(
    ("dialect", "body", "value"),
    [
        ({"delimiter": ";", "decimal": ",", "thousands": "."}, "date;value\n1;1.234.567,5\n", 1234567.5),
        ({"delimiter": ";", "decimal": ",", "thousands": "."}, "date;value\n1;1.23\n", "1.23"),
        ({"delimiter": "\t", "decimal": ",", "thousands": " "}, "date\tvalue\n1\t1\u202f234,5\n", 1234.5),
        ({"thousands": ","}, 'date,value\n1,"12,34,567.5"\n', 1234567.5),
        ({"delimiter": ";", "skip_lines": 2, "quote": "'"}, "sep=;\nAs of today\ndate;value\n1;'2'\n", 2.0),
    ],
)
def test_a_dialect_says_how_a_csv_is_written(dialect: dict[str, Any], body: str, value: Any) -> None:
    (event,) = events(poll(format="csv", dialect=dialect), body.encode())
    assert (event["date"], event["value"]) == ("1", value)


SDMX = """<m:GenericData xmlns:m="m" xmlns:g="g" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="a b"><m:Header><m:ID>x</m:ID></m:Header><m:DataSet><g:Series>
 <g:SeriesKey><g:Value id="FREQ" value="D"/><g:Value concept="CURRENCY" value="USD"/></g:SeriesKey>
 <g:Obs><g:ObsDimension value="2026-11-01"/><g:ObsValue value="1.0864"/>
 <g:Attributes><g:Value id="OBS_STATUS" value="A"/></g:Attributes></g:Obs></g:Series></m:DataSet></m:GenericData>"""


@pytest.mark.parametrize("records", ["GenericData.DataSet.Series.Obs", "m:GenericData.m:DataSet.g:Series.g:Obs"])
def test_sdmx_in_its_generic_form_gives_its_dimensions_and_a_childs_attribute(records: str) -> None:
    entry = poll(format="xml", records=records, rename={"ObsValue.value": "value", "ObsDimension.value": "date"})
    (event,) = events(entry, SDMX.encode())
    assert event["attributes"] == {
        "FREQ": "D", "CURRENCY": "USD", "OBS_STATUS": "A", "date": "2026-11-01", "value_as_sent": "1.0864",
    }  # fmt: skip


def test_elements_give_their_texts_and_what_stands_above_them_each_under_a_name_of_its_own() -> None:
    body = """<T unit="EUR" code="t"><No>3</No><value>9</value><Rates>
      <Rate code="a" value="1">own<f>x</f><f>y</f></Rate>
      <Rate><Value>79,12</Value></Rate><Rate code="c"> 5 </Rate></Rates></T>"""
    entry = poll(format="xml", records="T.Rates.Rate", dialect={"decimal": ","}, rename={"Value": "value"})
    one, two, three = events(entry, body.encode())
    assert (one["value"], one["text"], one["code"], one["T.code"], one["f"]) == (1.0, "own", "a", "t", ["x", "y"])
    assert (one["No"], one["T.unit"], one["T.value"]) == ("3", "EUR", "9")
    assert (two["value"], two["code"]) == (79.12, "t")
    assert three["value"] == 5.0


@pytest.mark.parametrize(
    ("record", "value", "rename"),
    [
        ('<o date="1">5<sup>1</sup>.3</o>', "5<sup>1</sup>.3", {}),
        ('<o date="1">1<br/>234.5</o>', "1<br/>234.5", {}),
        ('<o date="1"><fn>a</fn>4.1</o>', "<fn>a</fn>4.1", {}),
        ('<o date="1">1<g><h/></g>2</o>', "1<g>…</g>2", {}),
        ('<o date="1"><v>1<br/>234.5</v></o>', "1<br/>234.5", {"v": "value"}),
        ('<o date="1"><value>5<sup>1</sup>.3</value></o>', "5<sup>1</sup>.3", {}),
        ('<o date="1"><g><v>5<sup>1</sup>.3</v></g></o>', "5<sup>1</sup>.3", {"g.v": "value"}),
    ],
)
def test_a_number_with_an_element_in_it_is_rejected_with_its_text(
    record: str, value: str, rename: dict[str, str]
) -> None:
    entry = poll(format="xml", records="r.o", rename=rename)
    (event, right) = events(entry, f'<r>{record}<o date="2" value="7" v="7" g.v="7"/></r>'.encode())
    assert event["why"] == "a value with elements between its texts"
    assert value in event["raw"].values()
    assert right["value"] == 7.0


@pytest.mark.parametrize(
    ("record", "value"),
    [
        ("<o>4.1<fn id='1'/></o>", 4.1),
        ("<o><value>4.1<fn id='1'>provisional</fn> </value></o>", 4.1),
        ("<o>5<!-- in thousands -->.3</o>", 5.3),
        ("<o>5<?page 2?>.3</o>", 5.3),
        ("<o><![CDATA[5]]>.3</o>", 5.3),
        ("<o value='5.3'>see <b>note</b> 1</o>", 5.3),
    ],
)
def test_a_number_before_its_footnotes_is_whole(record: str, value: float) -> None:
    (event,) = events(poll(format="xml", records="r.o"), f"<r>text {record} between</r>".encode())
    assert event["value"] == value
    assert event.get("text", "see <b>note</b> 1") == "see <b>note</b> 1"
    assert "r.value" not in event


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ("r.h.o", "no 'h' at r but elements 'g', 'e'"),
        ("r.g.h.o", "no 'h' at r.g but elements 'o'"),
        ("r.e.h.o", "no 'h' at r.e but no element"),
        ("s.g.o", "the root is r, expected s"),
    ],
)
def test_a_path_of_xml_that_leads_nowhere_is_a_sentence_and_an_element_without_records_is_none(
    records: str, said: str
) -> None:
    body = b"<r><g><o>1</o></g><e/></r>"
    with pytest.raises(SourceError) as refused:
        events(poll(format="xml", records=records), body)
    assert said in str(refused.value)
    assert events(poll(format="xml", records="r.e.o"), body) == []


def test_an_entity_that_is_declared_elsewhere_is_a_sentence_and_no_text_without_it() -> None:
    entry = poll(format="xml", records="r.o")
    elsewhere = '<!DOCTYPE r SYSTEM "r.dtd">'
    for record in ("<o value='1&nbsp;2'/>", "<o>1&nbsp;2</o>"):
        with pytest.raises(SourceError, match="the entity &nbsp;, which the document itself does not declare"):
            events(entry, f"{elsewhere}<r>{record}</r>".encode())
    declared = '<!DOCTYPE r SYSTEM "r.dtd" [<!ENTITY n "2">]>'
    (event,) = events(entry, f"{declared}<r><!-- &a; --><o value='1&n;' b='&amp;'><![CDATA[&b;]]></o></r>".encode())
    assert (event["value"], event["b"], event["text"]) == (12.0, "&", "&b;")


def test_half_of_a_surrogate_pair_costs_the_text_that_it_is_in() -> None:
    body = (
        rb'[{"value": "a\ud800"}, {"value": "\udc00\\ud800"}, {"value": "\ud83d\ude00\ud83d\u0041"}, {"value": 1.50}]'
    )
    found = events(poll(), body)
    assert [one["value"] for one in found] == ["a\ufffd", "\ufffd\\ud800", "😀\ufffdA", 1.5]
    assert [one["value"] for one in events(poll(), rb'[{"\udfff": NaN, "value": "NaN\ud800"}]')] == ["NaN\ufffd"]


@pytest.mark.parametrize(
    ("content_type", "encoding", "body", "title"),
    [
        ("text/csv; charset=utf-8, text/csv", "", "é".encode(), "é"),
        ("text/csv; charset=ISO-8859-1,UTF-8", "", b"\xe9", "é"),
        ('text/csv; charset="utf-8", text/csv; charset=latin-1', "", "é".encode(), "é"),
        ("text/csv", "latin-1", b"\x81\x8d\x80", "\x81\x8d€"),
        ("text/csv", "windows-1251", b"\x98\xe6", "\x98ж"),
        ("text/csv", "euc-jp", b"\xad\xa1\xb0\xa1\xad\xea", "①亜㈱"),
        ("text/csv", "gbk", b"\x80\xb0\xa1", "€啊"),
    ],
)
def test_a_charset_has_what_the_web_has_in_it(content_type: str, encoding: str, body: bytes, title: str) -> None:
    (event,) = events(poll(format="csv", encoding=encoding), b"date,value,title\n1,2," + body + b"\n", content_type)
    assert event["title"] == title


@pytest.mark.parametrize(
    ("encoding", "body"), [("windows-1253", b"\xaa"), ("euc-jp", b"\xad\xff"), ("gbk", b"\xff"), ("euc-jp", b"\x80")]
)
def test_what_the_web_has_neither_is_a_sentence(encoding: str, body: bytes) -> None:
    with pytest.raises(SourceError, match=f"bytes that are no {encoding}"):
        events(poll(format="csv", encoding=encoding), b"date,value,title\n1,2," + body + b"\n")


def test_a_last_column_without_a_name_is_one_where_its_cells_hold_something() -> None:
    body = b"date,value,,\r\na,1,\r\nb,2,x\r\nc,3\r\nd,4,,y\r\ne,5,,,\r\nf,1,234.5,,\r\ng,7,,,z\r\n"
    *found, split, longer = events(poll(format="csv"), body)
    assert [(one["date"], one["value"], one.get("column_3"), one.get("column_4")) for one in found] == [
        ("a", 1.0, None, None), ("b", 2.0, "x", None), ("c", 3.0, None, None), ("d", 4.0, None, "y"),
        ("e", 5.0, None, None),
    ]  # fmt: skip
    assert split["why"] == longer["why"] == "a CSV row of another length than its header"


BLS_OVER_QUOTA = (
    b'{"status":"REQUEST_NOT_PROCESSED","responseTime":0,"message":["Request could not be serviced, as the daily '
    b'threshold for total number of requests allocated to the user has been reached."],"Results":{}}'
)


@pytest.mark.parametrize(
    ("changes", "body", "said"),
    [
        ({"records": "Results.series.*.data"}, BLS_OVER_QUOTA, "requests allocated to the user has been reached"),
        ({"records": "Results.series.*.data"}, BLS_OVER_QUOTA, "no 'series' at Results"),
        ({"format": "csv"}, gzip.compress(b"date,value\n"), "received gzip, which is not opened here: set `url:`"),
        ({}, b"PK\x03\x04\x14\x00", "received a zip, as an .xlsx is too, which is not opened here"),
        ({"format": "csv"}, b"# made\r\n# it's\r\n\r\ndate,value\r\n1,2", "`dialect: {skip_lines: 3}` of the entry"),
        ({"format": "csv"}, b'# of "x\ny\ndate,value\n1,2\n', "set `dialect: {skip_lines: 2}` of the entry"),
        ({"format": "csv", "dialect": {"skip_lines": 1}}, b"a\nb\nDate;Rate\n",
         'set `dialect: {delimiter: ";", skip_lines: 2}` of the entry, and its `decimal`'),
    ],
)  # fmt: skip
def test_what_is_no_list_is_shown_and_what_to_set_is_named(changes: dict[str, Any], body: bytes, said: str) -> None:
    with pytest.raises(SourceError) as refused:
        events(poll(rename={"Rate": "value"}, **changes), body)
    assert said in str(refused.value)
    assert "set `encoding:`" not in str(refused.value)


def test_of_a_long_answer_the_first_300_characters_are_shown_and_no_part_of_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tidemark.secrets import fill

    monkeypatch.setenv("BLS_KEY", KEY)
    fill("${BLS_KEY}")
    with pytest.raises(SourceError) as refused:
        events(poll(), b'{"m": "' + b"x" * 285 + KEY.encode() + b"y" * 9000 + b'"}')
    assert KEY[:4] not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_names_of_ours_that_a_record_has_go_along_as_displaced() -> None:
    entry = poll(rename={"v": "value"})
    (event,) = events(entry, b'[{"v": 1.10, "value": "w", "source_system": "theirs", "value_as_sent": "x"}]')
    assert (event["source_system"], event["value_as_sent"]) == ("example", "1.10")
    assert event["displaced_by_rename"] == {"value": "w", "source_system": "theirs", "value_as_sent": "x"}


ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xml:base="/news/"><title>t</title><id>f</id>
<entry xml:base="2026/"><id>e1</id><title>x</title><link href="a.html"/><link rel="enclosure" href="../b.pdf"/>
<content type="html">&lt;a href="z"&gt;z&lt;/a&gt;</content></entry></feed>"""
RSS = """<rss version="2.0"><channel><title>t</title>
<item><title>c</title><guid>abc</guid><enclosure url="/e.mp3" length="1" type="a/b"/><comments>c</comments></item>
<item><title>b</title><link>?page=2</link></item><item><title>a</title><link>//other/p</link></item></channel></rss>"""


def test_links_are_absolute_wherever_they_are_in_an_entry_and_ids_stay_as_they_are() -> None:
    entry = entry_for(kind="feed", event_publisher="P", unit="u")
    (atom,) = events(entry, ATOM.encode())
    assert [one["href"] for one in atom["links"]] == [
        "http://127.0.0.1:8080/news/2026/a.html", "http://127.0.0.1:8080/news/b.pdf",
    ]  # fmt: skip
    assert atom["description"] == '<a href="http://127.0.0.1:8080/news/2026/z">z</a>'
    one, two, three = events(entry, RSS.encode())
    assert (one["link"], two["link"]) == ("http://other/p", "http://127.0.0.1:8080/press/feed.xml?page=2")
    assert three["links"][0]["href"] == "http://127.0.0.1:8080/e.mp3"
    assert (three["comments"], three["id"]) == ("http://127.0.0.1:8080/press/c", "abc")


def test_an_atom_entry_without_a_link_has_none_and_an_items_permalink_is_one() -> None:
    entry = entry_for(kind="feed", event_publisher="P", unit="u")
    one, two = events(
        entry,
        b'<feed xmlns="http://www.w3.org/2005/Atom"><title>t</title><id>f</id>'
        b'<entry><id>http://h/1</id><title>x</title><link href="http://h/2"/></entry>'
        b'<entry><id>urn:2</id><title>y</title><link rel="enclosure" href="/e"/></entry></feed>',
    )
    assert ("link" in one, one["id"], one["links"][0]["href"]) == (False, "urn:2", "http://127.0.0.1:8080/e")
    assert (two["link"], two["id"]) == ("http://h/2", "http://h/1")
    (item,) = events(
        entry, b"<rss version='2.0'><channel><item><title>x</title><guid>http://h/1</guid></item></channel></rss>"
    )
    assert item["link"] == "http://h/1"


def test_a_key_in_the_url_of_a_feed_is_in_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemark.secrets import fill

    monkeypatch.setenv("FEED_KEY", KEY)
    entry = entry_for(kind="feed", event_publisher="P", unit="u")
    url = fill("http://user:${FEED_KEY}@127.0.0.1/${FEED_KEY}/feed.xml?key=${FEED_KEY}")
    found = parse_feed(entry, RSS.encode(), 0, url=url)
    assert KEY not in str(found)
    assert found[1][1].attributes["link"] == "http://127.0.0.1/${FEED_KEY}/feed.xml?page=2"


@pytest.fixture
def wire(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.setenv("BLS_KEY", KEY)
    monkeypatch.setattr(runner, "RECONNECT_SECONDS", (0.05, 0.1, 0.2))
    return Wire(stack.settings)


def feed_of(wire: Wire, source: Source, name: str, path: str = "") -> SourceEntry:
    body = {"kind": "feed", "url": source.url + path, "every_seconds": 0.05, "event_publisher": "P", "unit": "note"}
    return entry_of(wire.settings, json.dumps({name: body}))


def atom_of(*entries: tuple[str, str, str]) -> bytes:
    items = "".join(
        f"<entry><id>{id}</id><title>CPI</title><updated>2026-11-27T{time}Z</updated><summary>{summary}</summary>"
        f'<link href="/cpi"/></entry>'
        for id, time, summary in entries
    )
    return f'<feed xmlns="http://www.w3.org/2005/Atom"><title>t</title><id>f</id>{items}</feed>'.encode()


def test_a_corrected_entry_is_a_new_event_of_its_id_and_one_that_is_sent_again_is_none(wire: Wire) -> None:
    first, other = ("a", "10:00:00", "0.3"), ("b", "10:00:00", "1")
    with Source(atom_of(first, other)).serving() as source:
        entry = feed_of(wire, source, "corrected", "moved/feed.xml")
        with wire.connected(entry) as publisher:
            source.wait_for_polls()
            assert publisher.sent.total() == 2
            for number, again in enumerate(
                (
                    [("a", "12:00:00", "CORRECTED: 0.2"), other],
                    [("a", "12:30:00", "CORRECTED: 0.2"), other],  # a newer time alone
                    [("a", "12:30:00", "0.1"), other],  # another text alone
                ),
                start=3,
            ):
                source.body = atom_of(*again)
                source.wait_for_polls()
                assert publisher.sent.total() == number
            source.body = atom_of(("a", "13:00:00", "0.1"), ("b", "13:00:00", "1"))  # all are stamped anew
            source.wait_for_polls()
        assert publisher.sent.total() == 5
    sent = wire.records("economic_event_text")
    assert [(one["attributes"]["id"], one["description"]) for one in sent] == [
        ("b", "1"), ("a", "0.3"), ("a", "CORRECTED: 0.2"), ("a", "CORRECTED: 0.2"), ("a", "0.1"),
    ]  # fmt: skip
    assert {one["attributes"]["link"] for one in sent} == {f"{source.url}cpi"}


def test_entries_that_an_older_version_has_sent_are_not_sent_again_and_are_corrected_from_then_on(wire: Wire) -> None:
    with Source(atom_of(("a", "10:00:00", "0.3"), ("b", "10:00:00", "1"))).serving() as source:
        entry = feed_of(wire, source, "upgraded")
        with Cursor.open(wire.settings, entry) as cursor:
            cursor.mark_sent({short(f"{id}|CPI"): short("") for id in "ab"})
            cursor.commit()
        with wire.connected(entry) as publisher:
            source.wait_for_polls()
            assert not publisher.sent
            source.body = atom_of(("a", "12:00:00", "0.2"), ("b", "10:00:00", "1"))
            until(lambda: publisher.sent.total() == 1, "the correction")


def test_entries_that_are_each_stamped_with_another_time_are_corrected(wire: Wire) -> None:
    with Source(atom_of(("a", "10:00:00", "0.3"), ("b", "10:00:00", "1"))).serving() as source:
        with wire.connected(feed_of(wire, source, "both_corrected")) as publisher:
            source.wait_for_polls()
            source.body = atom_of(("a", "12:00:00", "0.3"), ("b", "12:00:01", "1"))
            source.wait_for_polls()
        assert publisher.sent.total() == 4


class Stamping(Source):
    """Stamps its entries at each request, the n-th of them n seconds before, until it is told not to."""

    ids: str = "a"
    stamps: bool = True

    async def answer(self, request: web.Request) -> web.Response:
        if self.stamps:
            now = datetime.now(UTC)
            self.body = atom_of(
                *((id, (now - timedelta(seconds=n)).time().isoformat(), id) for n, id in enumerate(self.ids))
            ).replace(b"2026-11-27", now.date().isoformat().encode())
        return await super().answer(request)


@pytest.mark.parametrize("ids", ["a", "ab"])
def test_a_feed_that_stamps_its_entries_at_each_request_corrects_none_until_one_keeps_its_time(
    wire: Wire, ids: str
) -> None:
    stamping = Stamping(headers={"ETag": '"e"'})
    stamping.ids = ids
    with stamping.serving() as source:
        with wire.connected(feed_of(wire, source, f"stamping_{ids}")) as publisher:
            source.wait_for_polls(5)
            assert publisher.sent.total() == len(ids)
            stamping.stamps = False
            source.body = atom_of(*((id, f"1{n}:00:00", id) for n, id in enumerate(ids)))
            until(lambda: publisher.sent.total() == 2 * len(ids), "what keeps its time")
        assert publisher.sent.total() == 2 * len(ids)


def test_a_json_number_is_revised_where_its_exact_value_is_another_and_not_by_its_digits(wire: Wire) -> None:
    def at(value: str) -> bytes:
        return f'[{{"date": "monday", "value": {value}}}]'.encode()

    with Source(at("0")).serving() as source:
        body = {"kind": "poll", "url": source.url, "every_seconds": 0.05, "identity": ["date"],
                "requests": [{"event_publisher": "P", "unit": "u", "description": "d"}]}  # fmt: skip
        entry = entry_of(wire.settings, json.dumps({"exact": body}))
        with Cursor.open(wire.settings, entry) as cursor:
            cursor.mark_sent({short("monday"): short("0.12345678901234568")})  # as older versions knew it
            cursor.commit()
        with wire.connected(entry) as publisher:
            for value, sent in (
                ("0.12345678901234567890", 0), ("0.12345678901234567899", 1), ("0.123456789012345678990", 1),
                ("0", 2), ("0.0", 2), ("-0e5", 2), ("1e3", 3), ("1000", 3), ("1000.00000000000000000001", 4),
                ("0.1", 5), ("0.10000000000000000001", 6), ('"x"', 7), ("1e99999999999999999999", 8), ("0.1", 9),
                ('"0.1"', 9), ("0.1", 9), ('"0.10"', 9), ('"0.2"', 10),
            ):  # fmt: skip
                source.body = at(value)
                source.wait_for_polls()
                assert publisher.sent.total() == sent, value


def test_values_that_an_older_version_has_sent_beside_others_of_their_identity_are_not_sent_again(wire: Wire) -> None:
    def of(*values: str) -> bytes:
        return ("[" + ", ".join(f'{{"date": "monday", "value": {value}}}' for value in values) + "]").encode()

    with Source(of("1.0", "2.50")).serving() as source:
        body = {"kind": "poll", "url": source.url, "every_seconds": 0.05, "identity": ["date"],
                "requests": [{"event_publisher": "P", "unit": "u", "description": "d"}]}  # fmt: skip
        entry = entry_of(wire.settings, json.dumps({"beside": body}))
        with Cursor.open(wire.settings, entry) as cursor:
            key = short("monday")
            cursor.mark_sent({short(key + short(one)): short(one) for one in ("1.0", "2.5")})
            cursor.commit()
        with wire.connected(entry) as publisher:
            for again in (of("1.0", "2.50"), of("2.5"), of("2.50", "1.00")):
                source.body = again
                source.wait_for_polls()
                assert not publisher.sent, again
            source.body = of("3", "2.5")
            until(lambda: publisher.sent.total() == 1, "a value that is new")


def test_items_without_an_id_that_share_link_and_title_are_each_sent_once(wire: Wire) -> None:
    items = [f"<item><title>Statement</title><link>http://h/</link><description>{day}</description></item>"
             for day in ("monday", "tuesday")]  # fmt: skip
    with Source(f'<rss version="2.0"><channel>{"".join(items)}</channel></rss>'.encode()).serving() as source:
        with wire.connected(feed_of(wire, source, "nameless_items")) as publisher:
            source.wait_for_polls()
            source.body = f'<rss version="2.0"><channel>{items[1]}</channel></rss>'.encode()
            source.wait_for_polls()
        assert publisher.sent.total() == 2


def test_a_json_number_that_an_older_version_has_sent_is_not_sent_again_for_its_digits(wire: Wire) -> None:
    with Source(b'[{"date": "monday", "value": 1.10}, {"date": "tuesday", "value": 1e3}]').serving() as source:
        body = {"kind": "poll", "url": source.url, "every_seconds": 0.05, "identity": ["date"],
                "requests": [{"event_publisher": "P", "unit": "u", "description": "d"}]}  # fmt: skip
        entry = entry_of(wire.settings, json.dumps({"digits": body}))
        with Cursor.open(wire.settings, entry) as cursor:
            cursor.mark_sent({short("monday"): short(1.1), short("tuesday"): short(1000.0)})
            cursor.commit()
        with wire.connected(entry) as publisher:
            source.wait_for_polls()
            source.body = b'[{"date": "monday", "value": 1.20}]'
            until(lambda: publisher.sent.total() == 1, "the revision")


def test_a_request_with_a_body_is_posted_and_its_key_is_in_nothing_that_is_sent(wire: Wire) -> None:
    with Source(SERIES).serving() as source:
        body = {
            "kind": "poll", "url": source.url, "every_seconds": 0.05, "records": "Results.series.*.data",
            "identity": ["seriesID", "year"], "requests": [{"first": "A", "event_publisher": "P", "description": "d"}],
            "body": {"seriesid": ["{first}", "B"], "startyear": 2022, "registrationkey": "${BLS_KEY}",
                     "query": 'query { rates(of: "{first}") { usd } }', "filter": '{"a": {}}'},
        }  # fmt: skip
        with wire.connected(entry_of(wire.settings, json.dumps({"bls": body}))) as publisher:
            until(lambda: publisher.rejected.total() == 3, "every series")
    assert json.loads(source.posted[0]) == {
        "seriesid": ["A", "B"], "startyear": 2022, "registrationkey": KEY,
        "query": 'query { rates(of: "A") { usd } }', "filter": '{"a": {}}',
    }  # fmt: skip
    (sent,) = wire.records("economic_event_numeric")
    assert (sent["attributes"]["seriesID"], sent["unit"]) == ("B", "index")
