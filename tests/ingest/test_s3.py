"""The lake on a server that speaks S3: every way to it and from it holds what a disk would."""

import gc
import json
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from s3fs import S3FileSystem

from flows.ledger import Promotion, begin, promotion_id, verify
from ingest import compare, lake, set_aside
from ingest.pipeline import rebuild, run
from ingest.sources import realtime
from realtime import copy_out
from tests.conftest import Stack
from tests.ingest.conftest import Query
from tests.ingest.loopback import Reply, serving, zipped
from tests.ingest.test_realtime import DAY, add, tick
from tests.s3_server import S3, SECRET, s3_server
from tidemark.errors import TidemarkError
from tidemark.lake import LakeError, new_file
from tidemark.settings import Settings

AWKWARD = "a b@c+d é 100%25 100% {g} [x] (e) ~h;i&j=k'l*"
HISTORY = "Date,USD,\n2024-01-02,1.10,\n2024-01-03,1.20,\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def on_s3(s3: S3, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a lake in a new bucket, below a prefix of awkward letters."""
    bucket = f"lake-{uuid4()}"
    s3.client.create_bucket(Bucket=bucket)
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # a process has one environment: clients are kept for it
    return settings.model_copy(update={"lake_url": f"s3://{bucket}/{AWKWARD}"})


def bucket_of(settings: Settings) -> str:
    assert settings.lake_url is not None
    return settings.lake_url.split("/")[2]


def test_a_lake_on_s3_has_every_row_on_every_way(
    s3: S3, on_s3: Settings, clean_realtime: Stack, warehouse: Query
) -> None:
    with serving(lambda path, query: zipped(HISTORY)) as source:
        here = on_s3.model_copy(update={"ecb_url": source.url})
        reports = [run(here, "ecb"), run(here, "ecb"), rebuild(here, "ecb")]
    assert [report.resources[0].rows_loaded for report in reports] == [2, 0, 2]
    add(clean_realtime, "market_tick", tick(1), tick(2))
    slices = copy_out.day_slices(here, "market_tick", DAY)
    number = promotion_id("market_tick", DAY, slices)
    for _ in range(2):  # the same promotion again writes the same file again
        path, held = realtime.copy_day_to_lake(here, "market_tick", DAY, str(number))
    assert realtime.slices_in_lake(here, path) == held == slices
    promotion = Promotion(number, "market_tick", DAY, path, tuple(held))
    begin(here, promotion)
    assert realtime.load_day(here, "market_tick", path) == 2
    verify(here, promotion)
    assert [each.rows_loaded for each in rebuild(here, "realtime").resources] == [2]
    assert compare.batch(here, "ecb", "reference_rates").rows == 0
    assert compare.promoted(here, "market_tick", {path: held}).rows == 0
    assert compare.held(here, "market_tick", {DAY: [path]}).rows == 0
    assert warehouse("select count(*) from ingestion.ecb__reference_rates") == [(2,)]
    names = s3.names(bucket_of(here))
    assert [name for name in names if not name.startswith(f"{AWKWARD}/")] == []
    ledger = json.loads(s3.read(bucket_of(here), f"{AWKWARD}/ops/promotion/{number}.json"))
    assert [row["row_count"] for row in ledger] == [2]
    assert not [name for name in names if name.endswith(".part")]
    assert not (on_s3.home / "lake").exists()


@pytest.mark.faults
def test_a_server_that_goes_away_amid_a_run_is_a_sentence_and_the_next_run_has_every_row_once(
    s3: S3, on_s3: Settings, warehouse: Query
) -> None:
    said = r"^expected the lake at s3://.* \(http://127.0.0.1:\d+\) to answer, received no answer \(Could not connect"
    with serving(lambda path, query: zipped(HISTORY)) as source:
        here = on_s3.model_copy(update={"ecb_url": source.url})

        def last_of_it(path: str, query: dict[str, str]) -> Reply:
            s3.server.stop()
            return zipped(HISTORY)

        answer, source.answer = source.answer, last_of_it
        with s3.back_afterwards():
            with pytest.raises(LakeError, match=said):
                run(here, "ecb")
            with pytest.raises(LakeError, match=said):
                rebuild(here, "ecb")
        source.answer = answer
        assert [run(here, "ecb").resources[0].rows_loaded for _ in range(2)] == [2, 0]
        with s3.back_afterwards():
            s3.server.stop()
            with pytest.raises(LakeError, match=said):
                compare.batch(here, "ecb", "reference_rates")
    assert warehouse('select count(*), count(distinct "Date") from ingestion.ecb__reference_rates') == [(2, 2)]
    assert set_aside.noted(here) == []


@pytest.mark.parametrize("size", [10, 60_000_000])  # a large file goes in parts
@pytest.mark.parametrize("place", ["on S3", "on a disk"])
def test_who_is_stopped_amid_a_file_leaves_none_of_its_name(
    place: str, size: int, s3: S3, on_s3: Settings, settings: Settings
) -> None:
    here = on_s3 if place == "on S3" else settings
    with pytest.raises(KeyboardInterrupt), new_file(here, "ecb/reference_rates/1.jsonl.gz") as file:
        file.write(bytes(size))
        raise KeyboardInterrupt
    gc.collect()
    left = [name for name in lake.names(here, "ecb/reference_rates") if not name.endswith(".part")]
    assert left == []
    assert s3.client.list_multipart_uploads(Bucket=bucket_of(on_s3)).get("Uploads", []) == []


UNUSABLE = {
    "no bucket": ({}, r"expected a bucket not-there for the lake at http://127.0.0.1:\d+, it has none: make it there"),
    "no credentials": ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "found no credentials for it: set AWS_"),
    "no such profile": ({"AWS_PROFILE": "nobody"}, r"received no answer \(The config profile \(nobody\) could not"),
    "no server": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, r"received no answer \(Could not connect to the end"),
    "no URL": (
        {"AWS_ENDPOINT_URL": "127.0.0.1:9000"},
        "AWS_ENDPOINT_URL: expected https://host:port of a server of S3",
    ),
    "a wrong key": ({}, r"it refuses the credentials \(InvalidAccessKeyId: .*\): look at AWS_ACCESS_KEY_ID"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_first_run_where_s3_cannot_be_used_says_why_and_makes_nothing(
    case: str, s3: S3, on_s3: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, said = UNUSABLE[case]
    for name, value in {**environ, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    url = "s3://not-there/lake" if case == "no bucket" else f"s3://{bucket_of(on_s3)}/{case}"
    if case == "a wrong key":
        httpx.post(
            f"{s3.url}/moto-api/reset-auth", content="0", timeout=60
        ).raise_for_status()  # from now on it asks who calls
    with serving(lambda path, query: zipped(HISTORY)) as source, pytest.raises(TidemarkError, match=said) as raised:
        run(on_s3.model_copy(update={"ecb_url": source.url, "lake_url": url}), "ecb")
    httpx.post(f"{s3.url}/moto-api/reset-auth", content="inf", timeout=60).raise_for_status()
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert source.asked == []
    assert "not-there" not in {found["Name"] for found in s3.client.list_buckets()["Buckets"]}
    assert s3.names(bucket_of(on_s3)) == []
