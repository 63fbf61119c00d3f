"""What a source sends instead of data, and a load that is killed at its worst moments."""

import gzip
import os
import signal
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext

import pytest

from ingest import lake, set_aside
from ingest.pipeline import rebuild, run
from ingest.set_aside import NotLoaded
from tests.ingest.conftest import KEY, Query
from tests.ingest.loopback import Reply, serving, zipped
from tidemark.errors import SourceError, StackError
from tidemark.settings import Settings

ROWS = 12_000  # more than two batches
HISTORY = zipped("Date,USD,\n" + "".join(f"day {number},{number}.10,\n" for number in range(ROWS)))
UNAVAILABLE = Reply(b"<html>Service Unavailable</html>", 503, "text/html")
NO_DATA = {
    "HTTP 503": UNAVAILABLE,
    "an HTML page": Reply(b"<html>maintenance</html>", kind="text/html"),
    "nothing in it": Reply(b""),
    "no page of observations|no list of series|no zip": Reply(b"[]"),
}


@pytest.mark.parametrize("received", NO_DATA)
@pytest.mark.parametrize("source", ["ecb", "fred"])
def test_an_answer_that_is_no_data_is_asked_for_again_and_then_named(
    source: str, received: str, settings: Settings
) -> None:
    with serving(lambda path, query: NO_DATA[received]) as server:
        at_source = settings.model_copy(update={f"{source}_url": server.url})
        with pytest.raises(
            SourceError, match=f"source {source}: expected .* 3 times received .*({received})"
        ) as raised:
            run(at_source, source)
    assert len(server.asked) == 3
    assert raised.value.retriable
    assert KEY not in str(raised.value)


def test_a_source_that_does_not_answer_is_named(settings: Settings) -> None:
    with pytest.raises(SourceError, match=r"source ecb: .* no answer"):
        run(settings, "ecb")


def test_a_source_that_recovers_in_time_is_loaded(settings: Settings, warehouse: Query) -> None:
    with serving(lambda path, query: UNAVAILABLE if len(source.asked) < 3 else HISTORY) as source:
        run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    assert warehouse("select count(*) from ingestion.ecb__reference_rates") == [(ROWS,)]


def test_a_refused_key_is_not_asked_with_again_and_not_shown(settings: Settings) -> None:
    refusal = Reply(f'{{"error_code":400,"error_message":"{KEY} is not registered"}}'.encode(), 400)
    with serving(lambda path, query: refusal) as source:
        at_source = settings.model_copy(update={"fred_url": source.url})
        with pytest.raises(SourceError, match=r"HTTP 400 .*TIDEMARK_FRED_API_KEY\} is not registered") as raised:
            run(at_source, "fred")
    assert len(source.asked) == 1
    assert not raised.value.retriable
    assert KEY not in str(raised.value)


def _one_by_one(path: str, query: dict[str, str]) -> Reply:
    if path.endswith("vintagedates"):
        return Reply(b'{"count": 1, "vintage_dates": ["2024-01-01"]}')
    return Reply(b'{"count": 1000000000, "observations": [{"date": "2024-01-01", "value": "1"}], "seriess": [{}]}')


def _dates_for_ever(*_: object) -> Reply:
    return Reply(b'{"count": 1000000000, "vintage_dates": ["2024-01-01"], "seriess": [{}]}')


@pytest.mark.parametrize(
    ("source", "answer", "said"),
    [
        ("ecb", lambda *_: zipped("Date,USD,\n" + "2" * 200_000), "a zip's file of more than 100,000 bytes"),
        ("ecb", lambda *_: zipped("Date,USD,\n" + "," * 90_000), "more than 3,125 values"),
        ("ecb", lambda *_: Reply(b"x" * 100_001), "a body of more than 100,000 bytes"),
        ("fred", lambda *_: Reply(b'{"seriess": [{"a": ' + b"[" * 3_000), "JSON nested deeper than 100"),
        ("fred", _one_by_one, "a count of 1,000,000,000 observations"),
        ("fred", _dates_for_ever, "a count of 1,000,000,000 vintage dates"),
    ],
)
def test_an_answer_beyond_a_bound_is_a_failed_source_at_once_and_nothing_of_it_is_stored(
    source: str, answer: Callable[..., Reply], said: str, settings: Settings
) -> None:
    with serving(answer) as server:
        at_source = settings.model_copy(update={f"{source}_url": server.url, "http_bytes": 100_000})
        with pytest.raises(SourceError, match=f"source {source}: expected .* 127.0.0.1.*received .*{said}") as raised:
            run(at_source, source)
    assert not raised.value.retriable
    assert KEY not in str(raised.value)
    assert len(server.asked) == len(set(map(str, server.asked)))
    assert not (settings.home / "lake" / source / "observations").exists()
    assert lake.complete_loads(settings, source) == set()


def test_a_lake_file_that_is_not_as_it_was_written_is_named(settings: Settings, warehouse: Query) -> None:
    with serving(lambda path, query: HISTORY) as source:
        run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    (file,) = (settings.home / "lake" / "ecb" / "reference_rates").iterdir()
    whole = file.read_bytes()
    for broken in (whole[:-20], gzip.compress(b'{"Date": ' + b"[" * 100_000), b"no gzip"):
        file.write_bytes(broken)
        report = rebuild(settings, "ecb")
        (aside,) = report.set_aside
        assert (aside.file, report.resources[0].rows_loaded) == (f"ecb/reference_rates/{file.name}", 0)
        with pytest.raises(NotLoaded, match=f"expected rows as gzipped JSON lines in .*{file.name}, received"):
            report.refuse_gaps()
        assert warehouse("select count(*) from ingestion.ecb__reference_rates") == [(ROWS,)]
    file.write_bytes(whole)
    assert rebuild(settings, "ecb").set_aside == ()
    assert set_aside.noted(settings) == []


def test_a_failed_run_leaves_what_was_loaded_and_stores_nothing_of_its_own(
    settings: Settings, warehouse: Query
) -> None:
    with serving(lambda path, query: HISTORY) as source:
        at_source = settings.model_copy(update={"ecb_url": source.url})
        run(at_source, "ecb")
        source.answer = lambda path, query: UNAVAILABLE
        with pytest.raises(SourceError):
            run(at_source, "ecb")
    assert warehouse("select count(*) from ingestion.ecb__reference_rates") == [(ROWS,)]
    assert len(list((settings.home / "lake" / "ecb" / "reference_rates").iterdir())) == 1


def test_text_that_no_database_holds_is_refused_before_it_is_stored(settings: Settings) -> None:
    refused = pytest.raises(SourceError, match="NUL character in USD of reference_rates")
    with serving(lambda path, query: zipped("Date,USD,\n2024-01-02,1\x00,\n")) as source, refused:
        run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    assert not (settings.home / "lake" / "ecb" / "reference_rates").exists()


def test_a_warehouse_that_does_not_answer_is_said_in_a_sentence(settings: Settings) -> None:
    with pytest.raises(StackError, match="expected the database warehouse to answer"):
        run(settings.model_copy(update={"postgres_port": 9}), "ecb")


def test_a_live_source_is_refused_in_a_demos_state_folder_and_one_on_loopback_is_not(
    settings: Settings, warehouse: Query
) -> None:
    (settings.home / "mark").write_text("replay\n")
    live = settings.model_copy(update={"ecb_url": "https://ecb.example.org", "fred_url": "http://192.0.2.1"})
    for source in ("ecb", "fred"):
        with pytest.raises(StackError, match=r"expected a state folder for live sources, .* is a demo's replay"):
            run(live, source)
    assert lake.complete_loads(settings, "ecb") == set()
    with serving(lambda path, query: HISTORY) as source_on_loopback:
        run(settings.model_copy(update={"ecb_url": source_on_loopback.url}), "ecb")
    assert warehouse("select count(*) from ingestion.ecb__reference_rates") == [(ROWS,)]


# Where a run kills itself: before the named method of dlt does its work.
MOMENTS = {
    "amid the source's rows": "ingest.extract:sha256",
    "before the lake has the file": "dlt.destinations.impl.filesystem.filesystem:FilesystemLoadJob.run",
    "before the lake has the manifest": "dlt.destinations.impl.filesystem.filesystem:FilesystemClient.complete_load",
    "before the rows are in the staging table": "dlt.destinations._adbc_jobs:AdbcParquetCopyJob.run",
    "after the staging, before it is noted": "dlt.destinations.job_client_impl:SqlJobClientBase.complete_load",
    "before the rows are taken over": "ingest.tables:replace_files",
    "amid the transaction that takes them over": "ingest.tables:refuse_difference",
    "after it": "ingest.set_aside:note",
}


def run_that_kills_itself(settings: Settings, moment: str, command: Callable[..., object] = run) -> None:
    """A run or rebuild of `ecb` in this process, which ends when the method that the moment names is called."""
    module, _, path = MOMENTS[moment].partition(":")
    *outer, name = path.split(".")
    holder = reduce(getattr, outer, import_module(module))
    setattr(holder, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    command(settings, "ecb")


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Processes that have imported this module, and so dlt, when they start."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_load_that_runs_again_has_every_row_once(
    moment: str, settings: Settings, processes: ForkServerContext, warehouse: Query
) -> None:
    with serving(lambda path, query: HISTORY) as source:
        at_source = settings.model_copy(update={"ecb_url": source.url})
        killed = processes.Process(target=run_that_kills_itself, args=(at_source, moment))
        killed.start()
        killed.join()
        assert killed.exitcode == -signal.SIGKILL
        run(at_source, "ecb")
        again = run(at_source, "ecb")
    assert again.resources[0].rows_loaded == 0
    counted = warehouse(
        'select count(*), count(distinct "Date"), count(distinct file_name) from ingestion.ecb__reference_rates'
    )
    assert counted == [(ROWS, ROWS, 1)]


def test_a_rebuild_that_is_killed_leaves_every_row_and_the_next_one_goes_on(
    settings: Settings, processes: ForkServerContext, warehouse: Query
) -> None:
    with serving(lambda path, query: HISTORY) as source:
        run(settings.model_copy(update={"ecb_url": source.url}), "ecb")
    content = 'select "Date", "USD", file_name, loaded_at from ingestion.ecb__reference_rates order by 1'
    before = warehouse(content)
    for moment in ("before the rows are in the staging table", "amid the transaction that takes them over"):
        killed = processes.Process(target=run_that_kills_itself, args=(settings, moment, rebuild))
        killed.start()
        killed.join()
        assert killed.exitcode == -signal.SIGKILL
        assert warehouse(content) == before
    assert rebuild(settings, "ecb").resources[0].rows_loaded == ROWS
    assert warehouse(content) == before
