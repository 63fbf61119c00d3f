"""FRED: paging, revisions as later rows, and a key that shows nowhere."""

import gzip
import json
import logging
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from ingest.pipeline import run
from ingest.sources import fred
from tests.ingest.conftest import KEY, Query
from tests.ingest.loopback import Query as HttpQuery
from tests.ingest.loopback import Reply, serving
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings


def observation(number: int) -> dict[str, str]:
    return {"realtime_start": "2024-10-30", "realtime_end": "2024-10-30", "date": f"d{number}", "value": f"{number}.10"}


def api(path: str, query: HttpQuery) -> Reply:
    """Three observations a series, in pages as asked; a description with a number, a null and an object."""
    assert query["api_key"] == KEY
    assert query["file_type"] == "json"
    if path == "/fred/series":
        found = f'{{"id": "{query["series_id"]}", "popularity": 1.50, "notes": null, "tags": {{"a": [1.0]}}}}'
        return Reply(f'{{"realtime_start": "2024-10-30", "seriess": [{found}]}}'.encode())
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
    assert rows == [(series, f"d{n}", f"{n}.10") for series in sorted(fred.SERIES) for n in range(3)]
    described = warehouse("select id, popularity, tags from ingestion.fred__series order by 1")
    assert described == [(series, "1.50", '{"a": [1.0]}') for series in sorted(fred.SERIES)]


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


@pytest.mark.recordings
def test_a_revision_is_a_second_row_in_a_later_load(settings: Settings, warehouse: Query, recordings: Path) -> None:
    def replay(recorded: str, path: str, query: HttpQuery) -> Reply:
        name = f"{path.removeprefix('/fred/').replace('/', '_')}_{query['series_id']}_recorded{recorded}.json.gz"
        return Reply(gzip.decompress((recordings / "fred_api" / name).read_bytes()))

    expected: Counter[tuple[str, str, str]] = Counter()
    with serving(api) as source:
        for recorded in ("20241103", "20250120"):
            source.answer = partial(replay, recorded)
            run(settings.model_copy(update={"fred_url": source.url}), "fred")
            for series_id in fred.SERIES:
                body = json.loads(replay(recorded, "/fred/series/observations", {"series_id": series_id}).body)
                expected.update((series_id, each["date"], each["value"]) for each in body["observations"])
    loaded = Counter(warehouse("select series_id, date, value from ingestion.fred__observations"))
    assert loaded == expected
    assert loaded.total() == 315 + 813 + 3278 + 315 + 816 + 3289
    revised = warehouse(
        "select value from ingestion.fred__observations "
        "where series_id = 'GDP' and date = '2024-07-01' order by load_id"
    )
    assert revised == [("29349.924",), ("29374.914",)]
