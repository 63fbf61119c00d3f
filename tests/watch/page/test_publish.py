"""The page as static files: on a disk, on S3, wherever fsspec writes; whole files, in an order that shows no hole."""

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from tests.s3_server import s3_server
from tests.stream_shim.conftest import until
from tests.watch.page.platform import everything, write
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings
from watch.publish import Place, publish, publish_on

FILES = {"index.html", "tidemark.css", "status.js", "status.atom", "api/v2/summary.json"}


def test_a_folder_has_the_page_which_counts_until_it_is_written_anew(settings: Settings, tmp_path: Path) -> None:
    at = write(settings, everything())
    site = tmp_path / "site"
    publish(settings, Place(settings, f"file://{site}"))
    assert {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()} == FILES
    until_then = (at + timedelta(seconds=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert f'data-valid-until="{until_then}"' in (site / "index.html").read_text()


def test_any_place_of_fsspec_takes_it(settings: Settings) -> None:
    write(settings, everything())
    publish(settings, Place(settings, "memory://status"))
    assert fsspec.filesystem("memory").cat("/status/index.html").startswith(b"<!doctype html>")


def test_s3_takes_it_with_the_types_that_a_browser_shows(settings: Settings) -> None:
    write(settings, everything())
    with s3_server() as s3:
        s3.client.create_bucket(Bucket="status")
        environ = {**os.environ, **s3.environ, "TIDEMARK_HOME": str(settings.home)}
        command = [str(Path(sys.executable).with_name("tidemark")), "status", "publish", "--once", "--json"]
        done = subprocess.run([*command, "s3://status/here"], env=environ, capture_output=True, text=True, check=False)
        assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "ok"), done.stderr
        assert set(s3.names("status")) == {f"here/{name}" for name in FILES}
        types = {name: s3.client.head_object(Bucket="status", Key=f"here/{name}")["ContentType"] for name in FILES}
        assert types["index.html"] == "text/html; charset=utf-8"
        assert types["status.atom"] == "application/atom+xml; charset=utf-8"


def test_a_url_that_fsspec_does_not_know_is_refused_without_its_password(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="expected a URL that fsspec knows") as refused:
        Place(settings, "nope://user:secret@host/x")
    assert "secret" not in str(refused.value)


def test_it_goes_on_over_a_place_that_takes_nothing_for_a_while(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(settings, everything())
    site, stop = tmp_path / "site", threading.Event()
    site.write_text("a file where the folder is to be")
    thread = threading.Thread(target=publish_on, args=(settings, Place(settings, str(site)), stop, 0.05))
    thread.start()
    until(lambda: "tried again" in caplog.text, "that it is said")
    site.unlink()
    until((site / "index.html").exists, "the page")
    first = (site / "index.html").read_text()
    write(settings, everything(), datetime.now(UTC) + timedelta(seconds=2))
    until(lambda: (site / "index.html").read_text() != first, "the page anew")
    stop.set()
    thread.join()
    assert caplog.text.count("tried again") == 1
