"""Where the lake may be, and what a server of S3 is asked with."""

from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError

from tests.conftest import new_settings
from tidemark.errors import ConfigurationError
from tidemark.lake import lake_url, s3_client, said

PASSWORD = "p4ss-of-somebody"


def test_a_place_on_s3_is_taken_as_it_is() -> None:
    for url in ("s3://bucket", "s3://bucket/", "s3://My_old.bucket/a b/é%2F+", "s3://bucket/a/"):
        assert lake_url(new_settings(Path("home"), lake_url=url)) == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gs://bucket/lake", "received gs:, where this version cannot store"),
        ("az://container/lake", "received az:, where"),
        ("abfss://c@account.dfs.core.windows.net/lake", "received abfss:, where"),
        ("memory://lake", "received memory:, where"),
        ("s3a://bucket/lake", "received s3a:, where"),
        ("https://bucket.s3.amazonaws.com/lake", "received https:, where"),
        ("s3://", "no bucket's name"),
        ("s3:/bucket/lake", "no bucket's name"),
        (f"s3://AKIA:{PASSWORD}@bucket/lake", "no bucket's name there .credentials go into AWS_ACCESS_KEY_ID"),
        ("s3://minio:9000/bucket", "another server into AWS_ENDPOINT_URL"),
        ("s3://bucket//lake", "whose prefix names folders"),
        ("s3://bucket/a/../b", "whose prefix names folders"),
        ("s3://bucket/a/.", "whose prefix names folders"),
        ("s3://bucket/lake#1", r"without \? and #"),
        ("s3://bucket/lake?versionId=1", r"without \? and #"),
    ],
)
def test_where_the_lake_cannot_be_is_a_sentence_that_shows_no_key(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^TIDEMARK_LAKE_URL: expected .*{said}") as raised:
        lake_url(new_settings(Path("home"), lake_url=url))
    assert PASSWORD not in str(raised.value)


def test_a_server_of_others_is_asked_in_path_style_unless_the_setting_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = new_settings(Path("home"), lake_url="s3://bucket")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert "s3" not in s3_client(here)
    assert s3_client(here.model_copy(update={"lake_path_style": True}))["s3"] == {"addressing_style": "path"}
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio.example:9000")
    assert s3_client(here)["s3"] == {"addressing_style": "path"}
    assert s3_client(here)["request_checksum_calculation"] == "when_required"
    assert "s3" not in s3_client(here.model_copy(update={"lake_path_style": False}))


def test_a_login_in_an_endpoint_or_a_proxy_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://u:{PASSWORD}@minio.example:9000")
    here = new_settings(Path("home"), lake_url="s3://bucket")
    error = EndpointConnectionError(endpoint_url=f"https://u:{PASSWORD}@minio.example:9000/bucket")
    assert PASSWORD not in said(here, error)
