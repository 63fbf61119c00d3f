"""`tidemark sources`, and a running lane that takes up what it changed in sources.yml."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from loopback.serving import Servers, serving
from loopback.session import Session
from stream_shim.commands.sources_file import remove_source
from tests.stream_shim.conftest import Lane, until
from tidemark.settings import Settings
from tidemark.stack.ports import free_ports

FEED = """kind: feed
url: "{url}/cgi-bin/browse-edgar?action=getcurrent&count=100&start=0&type=&owner=include&output=atom"
headers: {{User-Agent: "Tidemark tests@example.org"}}
every_seconds: 0.2
event_publisher: SEC
unit: {unit}
"""


@pytest.fixture
def servers(generated: Session) -> Iterator[Servers]:
    with serving(generated.folder) as servers:
        yield servers


@pytest.fixture
def sources_file(tmp_path: Path, servers: Servers) -> Path:
    path = tmp_path / "sources.yml"
    body = "\n".join("  " + line for line in FEED.format(url=servers.edgar.url, unit="filing").splitlines())
    path.write_text(f"# ours\n\nedgar:   # the feed\n{body}\n")
    return path


def call(lane: Lane, path: Path, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """Exit code, and all that `tidemark sources ARGUMENTS` said."""
    done = subprocess.run(
        [sys.executable, "-m", "tidemark.cli", "sources", *arguments], input=stdin, text=True, capture_output=True,
        env=lane.stack.environ | {"TIDEMARK_SOURCES_FILE": str(path)}, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_check_shows_five_records_as_the_topic_would_get_them_and_writes_nothing(
    lane: Lane, sources_file: Path
) -> None:
    home = lane.settings.home
    before = {path for folder in ("cursors", "run", "rejects") for path in (home / folder).rglob("*")}
    code, said = call(lane, sources_file, "check", "edgar", "--json")
    assert code == 0, said
    records = json.loads(said)
    assert len(records) == 5
    assert {(one["topic"], one["source_system"], one["unit"]) for one in records} == {
        ("economic_event_text", "edgar", "filing")
    }
    assert all(one["attributes"]["id"] for one in records)
    assert {path for folder in ("cursors", "run", "rejects") for path in (home / folder).rglob("*")} == before
    assert lane.end_offset("economic_event_text") == 0


def test_a_source_is_listed_added_and_removed_and_the_rest_of_the_file_stays(
    lane: Lane, sources_file: Path, servers: Servers
) -> None:
    was = sources_file.read_text()
    code, said = call(lane, sources_file, "add", "second", stdin=FEED.format(url=servers.edgar.url, unit="second"))
    assert code == 0, said
    assert sources_file.read_text().startswith(was)
    listed = json.loads(call(lane, sources_file, "list", "--json")[1])
    assert [(one["source"], one["kind"]) for one in listed] == [("edgar", "feed"), ("second", "feed")]
    assert call(lane, sources_file, "check", "second")[0] == 0
    assert call(lane, sources_file, "remove", "second")[0] == 0
    assert sources_file.read_text().strip() == was.strip()
    assert call(lane, sources_file, "remove", "second")[0] == 2


def test_an_entry_is_removed_with_its_own_comment_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "sources.yml"
    head, one, two, three = (
        "# all of ours\n\n",
        "# the first\none: {kind: ccxt, exchange: kraken, trades: [A/B]}\n\n",
        "# the second,\n# in two lines\ntwo:\n  kind: ccxt  # by ccxt\n  exchange: okx\n  trades: [A/B]\n  # none\n\n",
        "# the third\nthree: {kind: ccxt, exchange: kraken, trades: [A/B]}\n",
    )
    for name, left in (("one", head + two + three), ("two", head + one + three), ("three", head + one + two)):
        path.write_text(head + one + two + three)
        remove_source(Settings(sources_file=path), name)
        assert path.read_text() == left.rstrip() + "\n"


def connector_pids(path: Path) -> dict[str, int]:
    """Source name to its connector's process, of lanes that read this file."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command[-3:-1] == ["stream", "connector"] and process.environ().get("TIDEMARK_SOURCES_FILE") == str(path):
            found[command[-1]] = process.pid
    return found


def test_an_edited_entry_takes_effect_while_the_other_source_runs_on(
    lane: Lane, sources_file: Path, servers: Servers
) -> None:
    destinations = sources_file.with_name("destinations.yml")
    destinations.write_text("realtime: {kind: postgres, topics: [economic_event_text]}\n")
    call(lane, sources_file, "add", "second", stdin=FEED.format(url=servers.edgar.url, unit="before"))
    files = {"TIDEMARK_SOURCES_FILE": str(sources_file), "TIDEMARK_DESTINATIONS_FILE": str(destinations)}
    files["TIDEMARK_METRICS_PORT"] = str(free_ports(1)[0])
    with lane.running("run", **files):
        until(lambda: units(lane) >= {"filing", "before"}, "rows of both sources", 120)
        first = connector_pids(sources_file)
        until(lambda: servers.edgar.requests > 12, "polls that bring nothing new")
        (lane.settings.home / "cursors" / "second.sqlite").unlink()  # so that there is something to send again
        sources_file.write_text(sources_file.read_text().replace("unit: before", "unit: after"))
        until(lambda: "after" in units(lane), "rows by the edited entry", 120)
        second = connector_pids(sources_file)
        sources_file.write_text("edgar: {kind: nothing}\n")  # wrong: what ran before goes on
        until(lambda: "what ran before goes on" in log(lane), "a sentence about the wrong file")
        assert connector_pids(sources_file) == second
        assert first["edgar"] == second["edgar"]
        assert first["second"] != second["second"]
    assert connector_pids(sources_file) == {}


def units(lane: Lane) -> set[str]:
    return {unit for (unit,) in lane.query("select distinct unit from realtime.economic_event_text")}


def log(lane: Lane) -> str:
    return (lane.settings.home / "logs" / "stream.log").read_text()


def test_a_connector_that_died_during_a_broken_edit_comes_back_when_the_file_is_mended(
    lane: Lane, sources_file: Path, servers: Servers
) -> None:
    destinations, right = sources_file.with_name("destinations.yml"), sources_file.read_text()
    destinations.write_text("realtime: {kind: postgres, topics: [economic_event_text]}\n")
    files = {"TIDEMARK_SOURCES_FILE": str(sources_file), "TIDEMARK_DESTINATIONS_FILE": str(destinations)}
    files["TIDEMARK_METRICS_PORT"] = str(free_ports(1)[0])
    with lane.running("run", **files):
        until(lambda: servers.edgar.requests > 0, "a poll", 120)
        again = subprocess.run(
            [sys.executable, "-m", "tidemark.cli", "stream", "run"], env=lane.stack.environ | files, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert again.returncode == 1
        assert f"expected no lane in {lane.settings.home}, one runs already, as process" in " ".join(
            again.stderr.split()
        )
        sources_file.write_text(right + right)
        until(lambda: "expected each key once" in log(lane), "a sentence about the broken file")
        psutil.Process(connector_pids(sources_file)["edgar"]).kill()
        until(lambda: "connector edgar ended with 2" in log(lane), "its end by the broken file", 60)
        sources_file.write_text(right)
        asked = servers.edgar.requests
        until(lambda: servers.edgar.requests > asked, "a poll of another process", 50)  # without the edit in 60 s
