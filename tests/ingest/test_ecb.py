"""The ECB's zip: every cell arrives as the text that is in the file."""

import io
import zipfile
from pathlib import Path

import pytest

from ingest.http import Unexpected
from ingest.pipeline import run
from ingest.sources.ecb import parse
from tests.ingest.conftest import Query
from tests.ingest.loopback import Reply, serving, zipped
from tidemark.settings import Settings

AWKWARD = ["2024-01-02", "1.10", "0100", "N/A", "", " 7 ", "1e5", "2024-01-02T03:04:05+02:00", "true", "NULL"]
HEADER = ["Date", "USD", "JPY", "BGN", "CYP", "CZK", "DKK", "EEK", "GBP", "HUF"]


def csv_of(*rows: list[str], header: list[str] = HEADER) -> str:
    return "".join(",".join([*row, ""]) + "\n" for row in (header, *rows))


def test_no_cell_is_changed_on_its_way(settings: Settings, warehouse: Query) -> None:
    with serving(lambda path, query: zipped(csv_of(AWKWARD))) as source:
        run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    assert source.asked == [("/stats/eurofxref/eurofxref-hist.zip", {})]
    columns = ", ".join(f'"{name}"' for name in HEADER)
    assert warehouse(f"select {columns} from ingestion.ecb__reference_rates") == [tuple(AWKWARD)]


def test_every_data_column_is_text_and_every_row_says_where_it_is_from(settings: Settings, warehouse: Query) -> None:
    with serving(lambda path, query: zipped(csv_of(AWKWARD))) as source:
        report = run(settings.model_copy(update={"ecb_url": source.url}), "ecb").resources[0]
    types: dict[str, str] = dict(
        warehouse(
            "select column_name, data_type from information_schema.columns "
            "where table_schema = 'ingestion' and table_name = 'ecb__reference_rates'"
        )
    )
    assert types.pop("loaded_at") == "timestamp with time zone"
    assert types == dict.fromkeys([*HEADER, "load_id", "file_name"], "text")
    ((load_id, file_name),) = warehouse("select load_id, file_name from ingestion.ecb__reference_rates")
    assert (report.rows_in, report.rows_loaded, report.files) == (1, 1, (file_name,))
    assert (settings.home / "lake" / file_name).is_file()
    assert (settings.home / "lake" / "ecb" / "_dlt_loads" / f"ecb__{load_id}.jsonl").is_file()


def test_an_unchanged_history_adds_nothing_and_a_changed_one_is_a_load_with_a_new_currency_as_a_column(
    settings: Settings, warehouse: Query
) -> None:
    answers = [
        csv_of(["2024-01-02", "1.1"], header=["Date", "USD"]),
        csv_of(["2024-01-02", "1.1"], header=["Date", "USD"]),
        csv_of(["2024-01-03", "1.2", "9"], ["2024-01-02", "1.1", "N/A"], header=["Date", "USD", "XYZ"]),
    ]
    with serving(lambda path, query: zipped(answers[len(source.asked) - 1])) as source:
        at_source = settings.model_copy(update={"ecb_url": source.url})
        reports = [run(at_source, "ecb").resources[0] for _ in answers]
    assert [(report.rows_in, report.rows_loaded) for report in reports] == [(1, 1), (1, 0), (2, 2)]
    rows = warehouse('select "Date", "USD", "XYZ" from ingestion.ecb__reference_rates order by load_id, "Date"')
    assert rows == [("2024-01-02", "1.1", None), ("2024-01-02", "1.1", "N/A"), ("2024-01-03", "1.2", "9")]


@pytest.mark.recordings
def test_the_recorded_history_is_in_the_table_cell_by_cell(
    settings: Settings, warehouse: Query, recordings: Path
) -> None:
    body = (recordings / "ecb" / "eurofxref-hist.zip").read_bytes()
    with serving(lambda path, query: Reply(body, kind="application/zip")) as source:
        run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        header, *lines = [line.split(",")[:-1] for line in archive.read("eurofxref-hist.csv").decode().splitlines()]
    columns = ", ".join(f'"{name}"' for name in header)
    loaded = warehouse(f"select {columns} from ingestion.ecb__reference_rates")
    assert len(lines) == 7126
    assert sorted(loaded) == sorted(tuple(line) for line in lines)


def test_a_column_without_a_name_is_left_out_only_where_it_is_empty() -> None:
    assert parse(zipped("Date,USD,\n2024-01-02,1.1,\n").body) == [{"Date": "2024-01-02", "USD": "1.1"}]
    kept = parse(zipped("Date,USD,\n2024-01-02,1.1,\n2024-01-01,1.1,5\n").body)
    assert [row["column_3"] for row in kept] == ["", "5"]


@pytest.mark.parametrize(
    ("body", "received"),
    [
        (b"PK nothing", "no zip"),
        (zipped("").body, "begins with ''"),
        (zipped("Date,USD,\n").body, "begins with 'Date"),
        (zipped("Day,USD,\n1,2,\n").body, "begins with 'Day"),
        (zipped("Date,USD,\n2024-01-02,1.1\n").body, "2 cells in line 2"),
        (zipped("Date,USD,USD\n2024-01-02,1,2\n").body, "twice"),
    ],
)
def test_what_is_not_the_history_is_said_to_be_unexpected(body: bytes, received: str) -> None:
    with pytest.raises(Unexpected, match=received):
        parse(body)
