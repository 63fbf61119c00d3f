"""FRED: paging, every vintage however many there are, what later loads ask for, and a key that shows nowhere."""

import gzip
import json
import logging
import re
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

from ingest.http import Unexpected
from ingest.pipeline import run
from ingest.sources import fred
from ingest.vintages import FIRST, LAST, joined, periods
from loopback.serving import serving as serving_recordings
from loopback.simulated import simulate
from loopback.vintages import cut
from tests.ingest.conftest import KEY, Query
from tests.ingest.loopback import Query as HttpQuery
from tests.ingest.loopback import Reply, serving
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings

SERIES = ("CPILFESL", "GDP", "WGS10YR")


def observation(number: int) -> dict[str, str]:
    return {"realtime_start": "2024-10-30", "realtime_end": LAST, "date": f"d{number}", "value": f"{number}.10"}


def api(path: str, query: HttpQuery) -> Reply:
    """Three observations a series, in pages as asked; a description with a number, a null and an object."""
    assert query["api_key"] == KEY
    assert query["file_type"] == "json"
    if path == "/fred/series":
        found = f'{{"id": "{query["series_id"]}", "popularity": 1.50, "notes": null, "tags": {{"a": [1.0]}}}}'
        return Reply(f'{{"realtime_start": "2024-10-30", "seriess": [{found}]}}'.encode())
    if path == "/fred/series/vintagedates":
        return Reply(b'{"count": 1, "vintage_dates": ["2024-10-30"]}')
    assert path == "/fred/series/observations"
    first = int(query["offset"])
    page = [observation(number) for number in range(3)][first : first + int(query["limit"])]
    return Reply(json.dumps({"count": 3, "observations": page}).encode())


def test_all_pages_come_and_values_that_are_no_strings_keep_their_digits(
    settings: Settings, warehouse: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fred, "PAGE", 2)
    with serving(api) as source:
        report = run(settings.model_copy(update={"fred_url": source.url}), "fred")
    assert [(each.resource, each.rows_in, each.rows_loaded) for each in report.resources] == [
        ("series", 3, 3),
        ("observations", 9, 9),
    ]
    rows = warehouse("select series_id, date, value from ingestion.fred__observations order by 1, 2")
    assert rows == [(series, f"d{n}", f"{n}.10") for series in SERIES for n in range(3)]
    described = warehouse("select id, popularity, tags from ingestion.fred__series order by 1")
    assert described == [(series, "1.50", '{"a": [1.0]}') for series in SERIES]


def test_the_key_is_in_no_log_and_in_no_file(
    settings: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(api) as source:
        run(settings.model_copy(update={"fred_url": source.url}), "fred")
    assert source.asked
    assert all(KEY in query["api_key"] for _, query in source.asked)
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())
    files = [path for path in settings.home.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".gz", ".jsonl"}  # the lake's rows, and what dlt notes of a load
    for path in files:
        content = path.read_bytes()
        assert KEY.encode() not in (gzip.decompress(content) if path.suffix == ".gz" else content), path


def test_a_missing_key_is_named_as_a_setting(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="TIDEMARK_FRED_API_KEY"):
        run(settings.model_copy(update={"fred_api_key": None}), "fred")


VALUES = "select date, realtime_start, realtime_end, value from ingestion.fred__observations where series_id = %s"


def of_many_days(folder: Path, series: str, days: int) -> list[tuple[str, ...]]:
    """Record a series of 20 periods, of which one changes every day, one never does and one is told from the fifth on.

    What ingestion must have of it: period, first and last day, value.
    """
    rows: list[dict[str, str]] = []
    for number in range(20):
        since = 5 if number == 2 else 0
        starts = [since] if number == 1 else sorted({since, *range(number, days, max(1, number * 7))})
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            day, last = (date(2000, 1, 1) + timedelta(days=at) for at in (start, (end or 1) - 1))
            rows.append({
                "realtime_start": day.isoformat(), "realtime_end": last.isoformat() if end else LAST,
                "date": f"{1970 + number}-01-01", "value": f"{number}.{start}",
            })  # fmt: skip
    held = [row | {"realtime_start": LAST, "realtime_end": LAST} for row in rows if row["realtime_end"] == LAST]
    every = f"&realtime_start={FIRST}&realtime_end={LAST}"
    with (folder / "index.tsv").open("a") as index:
        for name, query, of in (("now", "", held), ("all", every, rows)):
            body = json.dumps({"count": len(of), "observations": of}).encode()
            (folder / f"{series}_{name}.json.gz").write_bytes(gzip.compress(body))
            url = f"https://api.stlouisfed.org/fred/series/observations?file_type=json&series_id={series}{query}"
            index.write(f"{series}_{name}.json.gz\t{url}\t200\tSun, 03 Nov 2024 14:33:21 GMT\tobservations\t1\t1\n")
        about = json.dumps({"seriess": [{"id": series}]}).encode()
        (folder / f"{series}.json.gz").write_bytes(gzip.compress(about))
        url = f"https://api.stlouisfed.org/fred/series?file_type=json&series_id={series}"
        index.write(f"{series}.json.gz\t{url}\t200\tSun, 03 Nov 2024 14:33:21 GMT\tseriess\t1\t1\n")
    return sorted((row["date"], row["realtime_start"], row["realtime_end"], row["value"]) for row in rows)


def test_more_vintages_than_one_request_may_reach_over_come_whole(
    settings: Settings, warehouse: Query, tmp_path: Path
) -> None:
    """4,500 days of vintages, and a file of series that says from when on."""
    simulate(tmp_path / "recordings")
    expected = of_many_days(tmp_path / "recordings" / "fred_api", "DFF", 4_500)
    file = tmp_path / "series.yml"
    file.write_text("DFF: {}\nGDP: {since: 2024-11-01}\n")
    with serving_recordings(tmp_path / "recordings") as servers:
        key = {"api_key": KEY, "file_type": "json", "realtime_start": FIRST, "realtime_end": LAST}
        refused = httpx.get(
            f"{servers.fred.url}/fred/series/observations", params={"series_id": "DFF", **key}, timeout=60
        )
        assert (refused.status_code, "There are 4500 vintage dates" in refused.text) == (400, True)
        settings = settings.model_copy(update={"fred_url": servers.fred.url, "fred_series_file": file})
        run(settings, "fred")
        assert sorted(warehouse(VALUES, "DFF")) == expected
        assert {start for _, start, *_ in warehouse(VALUES, "GDP")} == {"2024-11-03"}
        assert [report.rows_loaded for report in run(settings, "fred").resources] == [0, 0]


def test_a_file_of_series_is_refused_with_its_line(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "series.yml"
    for text, said in (
        ("GDP: {}\nDFF: {sinse: 2015-01-01}\n", "line 2, DFF.sinse: unknown key `sinse`, expected one of since"),
        ("GDP: {since: soon}\n", "line 1, GDP.since:"),
        ("G/DP: {}\n", "line 1, G/DP: expected a name of letters"),
        ("", "expected a series such as `GDP: {}`, received none"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=re.escape(said)):
            fred.series_of_file(settings.model_copy(update={"fred_series_file": file}))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"count": 0, "vintage_dates": []}', "0 vintage dates, expected one at least"),
        (b'{"count": 2, "vintage_dates": ["2024-10-30", "2024-10-30"]}', "each later than the one before"),
        (b'{"count": 2, "vintage_dates": ["2024-10-30"]}', "a page of 1 at 0 of 2"),
        (b'{"count": 1, "vintage_dates": ["soon"]}', "no page of vintage dates"),
    ],
)
def test_an_answer_without_vintage_dates_is_no_answer(body: bytes, said: str) -> None:
    with pytest.raises(Unexpected, match=said):
        fred.parse_vintage_dates(body)


@pytest.mark.recordings
def test_pieces_of_any_size_are_joined_to_the_recorded_history(recordings: Path) -> None:
    """What the bounds of a piece cut has its own bounds again."""
    name = "series_observations_GDP_allvintages_recorded20241103.json.gz"
    recorded = json.loads(gzip.decompress((recordings / "fred_api" / name).read_bytes()))["observations"]
    days = sorted({row["realtime_start"] for row in recorded})
    for most in (1, 2, 7, 392, 393, 2_000):
        pieces = [
            (period, [dict[str, str | None](row) for row in cut(recorded, *period)])
            for period in periods(days, FIRST, most)
        ]
        assert len(pieces) == -(-len(days) // most)
        assert sorted(joined(pieces), key=str) == sorted(recorded, key=str)


@pytest.mark.recordings
def test_the_first_load_has_every_vintage_and_a_later_one_asks_for_what_is_new(
    settings: Settings, warehouse: Query, recordings: Path
) -> None:
    def recorded(name: str) -> list[dict[str, str]]:
        path = recordings / "fred_api" / f"series_observations_GDP_{name}.json.gz"
        rows: list[dict[str, str]] = json.loads(gzip.decompress(path.read_bytes()))["observations"]
        return rows

    def four(rows: list[dict[str, str]]) -> set[tuple[str, ...]]:
        return {(row["date"], row["realtime_start"], row["realtime_end"], row["value"]) for row in rows}

    with serving_recordings(recordings) as servers:
        settings = settings.model_copy(update={"fred_url": servers.fred.url})
        run(settings, "fred")
        rows = warehouse(VALUES, "GDP")
        assert (len(rows), set(rows)) == (3_199, four(recorded("allvintages_recorded20241103")))
        first = {period: (day, value) for period, day, _, value in sorted(rows, key=lambda row: row[1], reverse=True)}
        initial = recorded("initial_recorded20241103")
        assert {(row["date"], row["realtime_start"], row["value"]) for row in initial} == {
            (period, *first[period]) for period in first if period >= "1991-10-01"
        }
        servers.fred.next()
        run(settings, "fred")
        new = warehouse(VALUES + " and load_id = (select max(load_id) from ingestion.fred__observations)", "GDP")
        assert set(new) == four(cut(recorded("allvintages_recorded20250120"), "2024-10-30", LAST))
        assert [report.rows_loaded for report in run(settings, "fred").resources] == [0, 0]
