"""A lake file that cannot be loaded: it is set aside with a sentence, stops nothing, and loads once it is mended."""

import gzip
import json
from pathlib import Path

import dlt
import pytest

from ingest import extract, pipeline, plain_dlt, set_aside, sources, tables
from ingest.pipeline import rebuild, run
from ingest.set_aside import NotLoaded
from tests.conftest import Stack
from tests.dbt_project.conftest import QUIET
from tests.ingest.conftest import Query
from tests.ingest.loopback import Reply, serving, zipped
from tests.ingest.test_commands import tidemark
from tests.ingest.test_realtime import DAY, add, promote, tick
from tidemark import dbt
from tidemark.errors import SourceError
from tidemark.lake import encoded_lake_url
from tidemark.settings import Settings

OLDER = 'Date,USD,"a"";b",\n2024-01-02,1.10,7,\n'  # a cell that would be two statements of SQL, and one name of two
NEWER = "Date,USD,\n2024-01-03,1.20,\n"


def answers(*texts: str) -> list[Reply]:
    return [zipped(text) for text in texts]


def lake_file(settings: Settings, name: str) -> Path:
    return settings.home / "lake" / name


def mend(path: Path) -> None:
    """What a person does with a header cell that no table can have: another name."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    named = [{name.replace('a";b', "JPY"): value for name, value in line.items()} for line in lines]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, named)).encode()))


@pytest.fixture
def aside(settings: Settings) -> Path:
    """An older file of the ECB that cannot be loaded, and a newer one that was."""
    replies = answers(OLDER, NEWER)
    with serving(lambda path, query: replies[len(source.asked) - 1]) as source:
        at_source = settings.model_copy(update={"ecb_url": source.url})
        first, second = run(at_source, "ecb"), run(at_source, "ecb")
    assert [report.resources[0].rows_loaded for report in (first, second)] == [0, 1]
    assert len(first.set_aside) == len(second.set_aside) == 1  # it is tried again each time
    return lake_file(settings, first.set_aside[0].file)


def test_a_header_cell_that_no_table_can_have_sets_its_file_aside_and_the_others_load(
    aside: Path, settings: Settings, warehouse: Query
) -> None:
    assert warehouse('select "Date", "USD" from ingestion.ecb__reference_rates') == [("2024-01-03", "1.20")]
    (noted,) = set_aside.noted(settings)
    assert (noted["source"], noted["file"]) == ("ecb", f"ecb/reference_rates/{aside.name}")
    assert "received 'a\";b'" in noted["reason"]
    columns = warehouse("select column_name from information_schema.columns where table_schema = 'ingestion'")
    assert not [name for (name,) in columns if name.startswith("a")]


def test_a_mended_file_loads_with_the_later_arrival_and_reaches_every_mart(
    aside: Path, settings: Settings, warehouse: Query
) -> None:
    build = [*QUIET, "run", "--select", "@source:ecb"]
    dbt.run(settings, build)
    events = "select series_id, reference_date::text, value from marts.fct_numeric_events order by 1, 2"
    assert warehouse(events) == [("USD", "2024-01-03", 1.2)]
    mend(aside)
    with serving(lambda path, query: zipped(NEWER)) as source:
        report = run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    assert (report.resources[0].rows_loaded, report.set_aside) == (1, ())
    assert set_aside.noted(settings) == []
    arrived = warehouse('select "Date" from ingestion.ecb__reference_rates order by loaded_at')
    assert arrived == [("2024-01-03",), ("2024-01-02",)]
    dbt.run(settings, build)
    assert warehouse(events) == [
        ("JPY", "2024-01-02", 7.0),
        ("USD", "2024-01-02", 1.1),
        ("USD", "2024-01-03", 1.2),  # which the older history cannot withdraw
    ]
    assert warehouse("select count(*) from marts.fct_numeric_events where is_latest") == [(3,)]
    times = 'select "Date", loaded_at from ingestion.ecb__reference_rates order by 1'
    before = warehouse(times)
    rebuild(settings, "ecb")
    assert warehouse(times) == before


def test_what_was_set_aside_and_is_no_more_in_the_lake_is_forgotten(aside: Path, settings: Settings) -> None:
    aside.unlink()
    with serving(lambda path, query: zipped(NEWER)) as source:
        run(settings.model_copy(update={"ecb_url": source.url}), "ecb").refuse_gaps()
    assert set_aside.noted(settings) == []


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("x" * 64, "at most 63 bytes"),
        ("loaded_at", "received 'loaded_at'"),
        (" USD", "received ' USD'"),
        ('"a\nb"', r"received 'a\\nb'"),
    ],
)
def test_a_name_that_would_be_changed_on_its_way_is_said(header: str, said: str, settings: Settings) -> None:
    with serving(lambda path, query: zipped(f"Date,USD,{header},\n2024-01-02,1.10,7,\n")) as source:
        report = run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    with pytest.raises(NotLoaded, match=said):
        report.refuse_gaps()


def test_a_name_that_only_looks_dangerous_is_a_column_as_it_is(settings: Settings, warehouse: Query) -> None:
    names = ["a;b", "drop table x; --", "%s", "{}", "Ünï", "a b", "_dlt_of_theirs", "x" * 63]
    cells = [str(number) for number, _ in enumerate(names)]
    with serving(lambda path, query: zipped(f"Date,{','.join(names)},\n2024-01-02,{','.join(cells)},\n")) as source:
        run(settings.model_copy(update={"ecb_url": source.url}), "ecb").refuse_gaps()
    columns = ", ".join(f'"{name}"' for name in names).replace("%", "%%")
    assert warehouse(f"select {columns} from ingestion.ecb__reference_rates where %s", True) == [tuple(cells)]


@pytest.mark.faults
def test_a_file_among_many_that_only_the_database_refuses_is_found_and_the_others_load(
    settings: Settings, warehouse: Query
) -> None:
    histories = [f"Date,USD,\n2024-01-0{day},1.{day},\n" for day in range(1, 6)]
    replies = answers(*histories)
    with serving(lambda path, query: replies[len(source.asked) - 1]) as source:
        at_source = settings.model_copy(update={"ecb_url": source.url})
        files = [run(at_source, "ecb").resources[0].files[0] for _ in histories]
    bad = lake_file(settings, files[2])
    bad.write_bytes(gzip.compress(b'{"Date": "2024-01-03", "USD": "\\u0000"}\n'))
    report = rebuild(settings, "ecb")
    assert [file.file for file in report.set_aside] == [files[2]]
    assert report.resources[0].files == (*files[:2], *files[3:])
    rates = warehouse('select "USD" from ingestion.ecb__reference_rates order by 1')
    assert rates == [(f"1.{day}",) for day in range(1, 6)]  # the rows that the table had of it stay


def test_a_loaded_file_that_a_rebuild_sets_aside_is_tried_by_every_run_until_it_is_mended(
    settings: Settings, warehouse: Query
) -> None:
    with serving(lambda path, query: zipped(NEWER)) as source:
        at_source = settings.model_copy(update={"ecb_url": source.url})
        (name,) = run(at_source, "ecb").resources[0].files
        whole = lake_file(settings, name).read_bytes()
        lake_file(settings, name).write_bytes(whole[:-12])
        assert [file.file for file in rebuild(settings, "ecb").set_aside] == [name]
        assert [file.file for file in run(at_source, "ecb").set_aside] == [name]
        lake_file(settings, name).write_bytes(whole)
        assert run(at_source, "ecb").set_aside == ()
    assert set_aside.noted(settings) == []
    assert warehouse('select "USD" from ingestion.ecb__reference_rates') == [("1.20",)]


def test_a_source_that_never_answered_leaves_no_table_for_a_contract_to_judge(
    settings: Settings, warehouse: Query
) -> None:
    with serving(lambda path, query: Reply(b"not found", 404)) as source, pytest.raises(SourceError):
        run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    assert rebuild(settings, "ecb").resources[0].rows_loaded == 0
    assert warehouse("select to_regclass('ingestion.ecb__reference_rates') is null") == [(True,)]


def test_what_an_older_version_stored_under_names_that_dlt_had_cleaned_goes_on(
    settings: Settings, warehouse: Query
) -> None:
    lake_of_old = dlt.destinations.filesystem(bucket_url=encoded_lake_url(settings))
    old = plain_dlt.pipeline(settings, "ecb_to_lake", lake_of_old, "ecb")
    dlt.config["schema.naming"] = "direct"
    rows = dlt.resource([{"Date": "2024-01-01", 'a";b': "7"}], name="reference_rates", write_disposition="append")
    old.run(rows, schema=dlt.Schema("ecb"), loader_file_format="jsonl")
    replies = answers(NEWER, OLDER)
    with serving(lambda path, query: replies[len(source.asked) - 1]) as source:
        at_source = settings.model_copy(update={"ecb_url": source.url})
        run(at_source, "ecb").refuse_gaps()
        assert len(run(at_source, "ecb").set_aside) == 1
    loaded = warehouse('select "Date", "USD", "a_;b" from ingestion.ecb__reference_rates order by 1')
    assert loaded == [("2024-01-01", None, "7"), ("2024-01-03", "1.20", None)]


def test_rows_that_were_stored_and_are_not_in_the_lake_are_no_success_and_are_stored_again(
    settings: Settings, warehouse: Query
) -> None:
    with serving(lambda path, query: zipped(NEWER)) as source:
        at_source = settings.model_copy(update={"ecb_url": source.url})
        resources = sources.resources("ecb")
        with tables.only_run(settings, "ecb") as ingestion:
            extracted = extract.extract(at_source, "ecb", resources)
            (stored,) = (settings.home / "lake" / "ecb" / "reference_rates").iterdir()
            stored.unlink()
            with pytest.raises(NotLoaded, match=r"expected the 1 rows of reference_rates .* found 0 to load"):
                pipeline.load_new(at_source, ingestion, "ecb", resources, extracted)
        assert run(at_source, "ecb").resources[0].rows_loaded == 1
        assert run(at_source, "ecb").resources[0].rows_loaded == 0
    assert warehouse('select "Date", "USD" from ingestion.ecb__reference_rates') == [("2024-01-03", "1.20")]


def test_a_promoted_file_that_cannot_be_read_keeps_its_rows_and_the_others_are_loaded(
    clean_realtime: Stack, settings: Settings, warehouse: Query
) -> None:
    add(clean_realtime, "market_tick", tick(1), tick(2))
    first, _ = promote(settings, "market_tick", "p1")
    add(clean_realtime, "market_tick", tick(3))
    second, _ = promote(settings, "market_tick", "p2")
    content = "select to_jsonb(loaded) from ingestion.realtime__market_tick as loaded order by kafka_offset"
    before = warehouse(content)
    path = lake_file(settings, first)
    whole = path.read_bytes()
    cut = gzip.compress(b"\n".join(gzip.decompress(whole).splitlines()[:-1]) + b"\n")
    named = gzip.compress(gzip.decompress(whole).replace(b",symbol,", b",side,side,", 1))
    stray = lake_file(settings, "realtime/stray.txt")
    stray.write_text("of somebody's")
    for broken, said in (
        (whole[:-20], "EOFError"), (b"no gzip", "BadGzipFile"), (cut, "1 rows where the table has 2"),
        (named, "DuplicateColumn"),
    ):  # fmt: skip
        path.write_bytes(broken)
        report = rebuild(settings, "realtime")
        assert [(file.file, said in file.reason) for file in report.set_aside] == [(first, True)]
        assert warehouse(content) == before
    path.write_bytes(whole)
    report = rebuild(settings, "realtime")
    assert (report.set_aside, set_aside.noted(settings)) == ((), [])
    assert report.resources[0].files == (first, second)
    assert warehouse(content) == before
    assert f"{DAY}" in first


def test_the_commands_say_what_is_set_aside_and_exit_1(clean_warehouse: Stack, aside: Path, settings: Settings) -> None:
    with serving(lambda path, query: zipped(NEWER)) as source:
        here = {"TIDEMARK_HOME": str(settings.home), "TIDEMARK_ECB_URL": source.url}
        ran = tidemark(clean_warehouse, "ingest", "run", "ecb", "--json", **here)
        rebuilt = tidemark(clean_warehouse, "ingest", "rebuild", "ecb", **here)
        shown = tidemark(clean_warehouse, "ingest", "status", **here)
        aside.unlink()
        clean = tidemark(clean_warehouse, "ingest", "run", "ecb", **here)
        nothing = tidemark(clean_warehouse, "ingest", "status", **here)
    for failed in (ran, rebuilt):
        assert (failed.exit_code, failed.stderr.count("\n")) == (1, 1)
        assert failed.stderr.startswith("tidemark: source ecb: expected every lake file to be loaded, 1 set aside: ")
    assert [file["file"] for file in json.loads(ran.stdout)["set_aside"]] == [f"ecb/reference_rates/{aside.name}"]
    assert (shown.exit_code, "no quote" in shown.stdout) == (1, True)
    assert (clean.exit_code, nothing.exit_code, nothing.stdout) == (0, 0, "no lake file is set aside\n")
