"""The polled sources: EDGAR's feed, FRED's answers, the ECB's files, as their readers see them."""

from collections import Counter
from email.utils import parsedate_to_datetime
from io import BytesIO
from zipfile import ZipFile

import feedparser
import httpx
import pytest

from loopback.edgar import EdgarServer
from loopback.fred import FredServer
from loopback.serving import Servers
from loopback.session import Session

FEED: dict[str, str | int] = {
    "action": "getcurrent", "count": 100, "start": 0, "type": "", "owner": "include", "output": "atom",
}  # fmt: skip
CALLER = {"User-Agent": "Tidemark tests@example.org"}
KEY = {"api_key": "0123456789abcdef0123456789abcdef", "file_type": "json"}
BROWSE = "/cgi-bin/browse-edgar"


def poll(server: EdgarServer, **query: str | int) -> httpx.Response:
    return httpx.get(server.url + BROWSE, params=FEED | query, headers=CALLER, timeout=60)


def new_entries(server: EdgarServer, polls: int) -> tuple[list[int], list[str], set[tuple[str, str]]]:
    """Of each poll: its new entries and its clock; and all entries, as feedparser reads them."""
    seen: set[tuple[str, str]] = set()
    new, dates = [], []
    for _ in range(polls):
        response = poll(server)
        entries = {(entry.id, entry.title) for entry in feedparser.parse(response.content).entries}
        new.append(len(entries - seen))
        dates.append(response.headers["Date"])
        seen |= entries
    return new, dates, seen


def test_edgar_brings_generated_polls_in_order_then_nothing_new(generated_sources: Servers, generated: Session) -> None:
    new, dates, seen = new_entries(generated_sources.edgar, 4)
    assert new == [40, 10, 0, 0]
    assert dates[0] == "Fri, 12 Dec 2025 23:02:34 GMT"
    assert seen == generated.edgar_entries
    assert generated_sources.edgar.exhausted


@pytest.mark.recordings
def test_edgar_brings_recorded_polls_with_their_clocks(recorded_sources: Servers, recorded: Session) -> None:
    new, dates, seen = new_entries(recorded_sources.edgar, 3)
    assert new == [100, 10, 0]
    assert [parsedate_to_datetime(date).strftime("%H:%M:%S") for date in dates] == ["23:02:34", "23:03:31", "23:03:44"]
    assert seen == recorded.edgar_entries


@pytest.mark.recordings
def test_edgar_has_the_pages_that_were_recorded_and_503_beyond(recorded_sources: Servers) -> None:
    server = recorded_sources.edgar
    poll(server), poll(server)
    assert len(feedparser.parse(poll(server, start=1900).content).entries) == 100
    beyond = poll(server, start=5100)
    assert (beyond.status_code, beyond.headers["Content-Type"]) == (503, "text/html")


def test_edgar_answers_304_to_who_has_the_page(generated_sources: Servers) -> None:
    server = generated_sources.edgar
    new_entries(server, 3)
    seen = poll(server)
    for header, value in (
        ("If-None-Match", seen.headers["ETag"]),
        ("If-Modified-Since", seen.headers["Last-Modified"]),
    ):
        again = httpx.get(server.url + BROWSE, params=FEED, headers=CALLER | {header: value}, timeout=60)
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("caller", [{}, {"User-Agent": "python"}])
def test_edgar_refuses_who_does_not_say_who_calls(generated_sources: Servers, caller: dict[str, str]) -> None:
    response = httpx.get(generated_sources.edgar.url + BROWSE, params=FEED, headers=caller, timeout=60)
    assert response.status_code == 403
    assert "Threshold" in response.text
    assert generated_sources.edgar.polls_served == 0


def observations(server: FredServer, series: str, **query: str) -> httpx.Response:
    return httpx.get(f"{server.url}/fred/series/observations", params={"series_id": series, **KEY, **query}, timeout=60)


def check_fred(servers: Servers, session: Session, recording: int) -> None:
    for series, counts in session.fred_counts(recording).items():
        response = observations(servers.fred, series)
        found = Counter(one["value"] == "." for one in response.json()["observations"])
        assert (found[False], found[True]) == (counts.numeric, counts.text)
        assert "2024" in response.headers["Date"] if recording == 0 else "2025" in response.headers["Date"]


def test_fred_serves_the_first_recording_until_told_to_go_on(generated_sources: Servers, generated: Session) -> None:
    check_fred(generated_sources, generated, 0)
    assert not generated_sources.fred.exhausted
    httpx.post(f"{generated_sources.fred.url}/_replay/next", timeout=60).raise_for_status()
    check_fred(generated_sources, generated, 1)
    assert generated_sources.fred.exhausted


@pytest.mark.recordings
def test_fred_has_the_recorded_revision(recorded_sources: Servers, recorded: Session) -> None:
    def value() -> str:
        response = observations(recorded_sources.fred, "GDP", observation_start="2024-07-01")
        return str(response.json()["observations"][0]["value"])

    check_fred(recorded_sources, recorded, 0)
    assert value() == "29349.924"
    recorded_sources.fred.next()
    assert value() == "29374.914"
    assert recorded.fred_sent(2) == (4_417, 4)


def test_fred_pages_and_sorts_what_it_has(generated_sources: Servers) -> None:
    body = observations(generated_sources.fred, "GDP", sort_order="desc", limit="2", offset="1").json()
    dates = [one["date"] for one in body["observations"]]
    assert (body["count"], len(dates), dates) == (59, 2, sorted(dates, reverse=True))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"series_id": "GDP", "file_type": "json"}, "api_key is not set"),
        ({"series_id": "GDP", "file_type": "json", "api_key": "secret"}, "32 character"),
        ({"series_id": "NOTHING", **KEY}, "series does not exist"),
        ({"series_id": "GDP", **KEY, "color": "red"}, "color"),
        ({"series_id": "GDP", **KEY, "limit": "0"}, "limit"),
        (KEY, "series_id is not set"),
        ({"series_id": "GDP", "api_key": KEY["api_key"]}, "file_type"),
    ],
)
def test_fred_refuses_with_its_own_error(generated_sources: Servers, query: dict[str, str], message: str) -> None:
    response = httpx.get(f"{generated_sources.fred.url}/fred/series/observations", params=query, timeout=60)
    assert response.status_code == 400
    assert response.json()["error_code"] == 400
    assert message in response.json()["error_message"]


def test_an_unknown_path_is_404_everywhere(generated_sources: Servers) -> None:
    for server in generated_sources.all():
        assert httpx.get(f"{server.url}/nothing", headers=CALLER, timeout=60).status_code == 404


def check_ecb(servers: Servers, session: Session) -> None:
    url = f"{servers.ecb.url}/stats/eurofxref/eurofxref-hist.zip"
    response = httpx.get(url, timeout=60)
    with ZipFile(BytesIO(response.content)) as packed:
        lines = packed.read("eurofxref-hist.csv").decode().splitlines()
    assert len(lines) == len(session.ecb_rows)
    assert lines[0].split(",")[:-1] == session.ecb_rows[0]
    assert httpx.get(url, headers={"If-None-Match": response.headers["ETag"]}, timeout=60).status_code == 304


def test_the_ecb_serves_the_generated_history(generated_sources: Servers, generated: Session) -> None:
    check_ecb(generated_sources, generated)


@pytest.mark.recordings
def test_the_ecb_serves_the_recorded_files(recorded_sources: Servers, recorded: Session) -> None:
    check_ecb(recorded_sources, recorded)
    assert len(recorded.ecb_rows) == 7_127
    for path in ("/stats/eurofxref/eurofxref-daily.xml", "/rss/press.html"):
        assert httpx.get(recorded_sources.ecb.url + path, timeout=60).status_code == 200
