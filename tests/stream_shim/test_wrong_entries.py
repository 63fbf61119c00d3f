"""A wrong entry is refused with line, key and what was expected: by `add`, by `check` and by the running lane alike."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from stream_shim.connectors import check_in
from stream_shim.connectors.entries import read_sources
from stream_shim.running.logs import last_reason
from stream_shim.running.supervisor import Supervisor
from tidemark.cli import main
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[1] / "cases" / "wrong_entries.yml").read_text())
RIGHT = "edgar: {kind: feed, url: http://127.0.0.1:9/, unit: filing, event_publisher: SEC}\n"
SECRET = "abcdef0123"


@pytest.fixture
def sources_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of one right entry, which the command line reads; what a command changes of this process is put back."""
    path, mask, environ = tmp_path / "sources.yml", os.umask(0o077), dict(os.environ)
    path.write_text(RIGHT)
    monkeypatch.setenv("TIDEMARK_SOURCES_FILE", str(path))
    monkeypatch.setenv("TIDEMARK_HOME", str(tmp_path / "home"))
    yield path
    os.umask(mask)
    os.environ.clear()
    os.environ.update(environ)


def call(*arguments: str, stdin: bytes = b"") -> str:
    """What `tidemark ARGUMENTS` says; it refuses what it was given."""
    done = CliRunner().invoke(main, list(arguments), input=stdin)
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.output.startswith("tidemark: ")
    assert done.output.count("\n") == 1  # one sentence
    assert SECRET not in done.output
    return done.output.removeprefix("tidemark: ").strip()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["is"].replace(" ", "-"))
def test_a_wrong_entry_is_refused_alike_by_add_check_and_the_lane(
    case: dict[str, Any], sources_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = "" if case.get("whole") else f", {'.'.join(filter(None, ('new', case.get('key'))))}"
    added = call("sources", "add", "new", stdin=case["entry"].encode())
    assert added.startswith(f"the entry, line {case['line']}{key}"), added
    assert case["says"] in added
    assert sources_file.read_text() == RIGHT

    files = {"sources_file": sources_file, "destinations_file": sources_file.with_name("destinations.yml")}
    files["destinations_file"].write_text("realtime: {kind: postgres, topics: [market_tick]}\n")
    lane = Supervisor(Settings().model_copy(update=files))
    ran = dict(lane._wanted)
    sources_file.write_text(f"new:\n{textwrap.indent(case['entry'], '  ')}\n\n{RIGHT}")
    line = case["line"] + (1 if case["line"] > 1 or case.get("key") or case.get("whole") else 0)
    late = case.get("late")  # what only its client, or the environment, knows
    connector = refused_late(sources_file) if late else call("stream", "connector", "new")
    for said in (call("sources", "check", "new"), connector):
        assert case["says"] in said
        if case["is"] != "nothing":
            assert said.startswith(f"{sources_file}, line {line}{key}"), said
    if not late:
        lane._read_again()
        assert lane._wanted == ran
        assert f"{case['says']}" in caplog.text
        assert "what ran before goes on" in caplog.text


def refused_late(path: Path) -> str:
    """What a connector says before it begins."""
    with pytest.raises(ConfigurationError) as error:
        check_in(read_sources(path)["new"], path)
    return str(error.value)


def test_a_connector_whose_variable_is_not_there_says_so_and_logs_it(sources_file: Path, tmp_path: Path) -> None:
    sources_file.write_text(RIGHT.replace("http://127.0.0.1:9/", "'http://127.0.0.1:9/?api_key=${NOT_SET_HERE}'"))
    done = subprocess.run(
        [sys.executable, "-m", "tidemark.cli", "stream", "connector", "edgar"], capture_output=True, text=True,
        env=os.environ | {"TIDEMARK_HOME": str(tmp_path / "home")}, check=False,
    )  # fmt: skip
    said = f"{sources_file}, line 1, edgar.url: expected the variable NOT_SET_HERE"
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert last_reason(Settings(home=tmp_path / "home"), "connector-edgar").startswith(f": {said}")


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        read_sources(path)
    return str(error.value).removeprefix(str(path))


def aliases(of_ten: str) -> bytes:
    """Seven levels, each of ten aliases of the one before."""
    levels = ["a: &a {k: v}"]
    for before, name in zip("abcdefg", "bcdefgh", strict=True):
        levels.append(f"{name}: &{name} {of_ten.format(', '.join([f'*{before}'] * 10))}")
    return "\n".join(levels).encode()


ONE = "kind: feed, url: 'https://a.example/', unit: u, event_publisher: p"
FILES = {
    "a name twice": (f"a: {{{ONE}}}\nb: {{{ONE}}}\na: {{{ONE}}}\n".encode(), ", line 3, a: expected each key once"),
    "a name twice, once as a number": (f"1: {{{ONE}}}\n'1': {{{ONE}}}\n".encode(), ", line 2, 1: expected each key"),
    "two of one system": (
        f"a: {{{ONE}, source_system: s}}\nb: {{{ONE}, source_system: s}}\n".encode(),
        ", line 2, b.source_system: expected a source_system of its own, received 's', which is that of a",
    ),
    "one that is called as another's system": (
        f"a:\n  {{{ONE}}}\nb:\n  {{{ONE}, source_system: a}}\n".encode(), ", line 4, b.source_system: ",
    ),
    "a list": (b"- kind: ccxt\n", ", line 1: expected entries by name, received a list"),
    "a text": (b"sources\n", ", line 1: expected entries by name, received text"),
    "two documents": (f"a: {{{ONE}}}\n---\nb: {{{ONE}}}\n".encode(), ", line 2: expected YAML, received another doc"),
    "not UTF-8": (b"# caf\n# \xe9\na: {}\n", ", line 2: expected UTF-8, received the byte 0xe9"),
    "UTF-16": (f"a: {{{ONE}}}\n".encode("utf-16"), ", line 1: expected UTF-8, received the byte 0xff"),
    "a control character": (b"a: {kind: feed}\n# \x07\n", ", line 2: expected YAML, received the character '\\x07'"),
    "a name of a file elsewhere": (f"../a: {{{ONE}}}\n".encode(), ", line 1, ../a: expected a name of letters"),
    "a bare word as a name": (f"on: {{{ONE}}}\n".encode(), ", line 1: expected a value that YAML reads in one way"),
    "a list as a name": (f"[a]: {{{ONE}}}\n".encode(), ", line 1: expected a text as key"),
    "more levels than are read": (b"a: " + b"[" * 5000, ": expected YAML, received more levels"),
    "aliases of aliases": (aliases("[{}]"), ": expected at most 100,000 values, received more"),
    "merges of merges": (aliases("{{<<: [{}]}}"), ": expected at most 100,000 values, received more"),
    "a tag of Python": (b"a: !!python/object:os.system {}\n", ", line 1: expected YAML, received could not determine"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_wrong_file_is_refused_with_its_line(kind: str, tmp_path: Path) -> None:
    body, said = FILES[kind]
    (tmp_path / "sources.yml").write_bytes(body)
    assert refused(tmp_path / "sources.yml").startswith(said)


RIGHT_ENTRIES = (
    "{kind: feed, url: 'https://a.example/?api_key=${K}&key=EXR.D.USD', headers: {Authorization: 'Bearer ${K}'}, "
    "unit: u, event_publisher: p}",
    "{kind: feed, url: 'https://me:${K}@a.example/', headers: {User-Agent: Desk me@a.example}, unit: u, "
    "event_publisher: 2026-11-01}",
    "{kind: feed, url: '${BASE}/feed', unit: u, event_publisher: p}",
    "{kind: poll, url: 'https://a.example/{s}?key={k}', identity: [d], requests: [{s: GDP, k: X, more: z}]}",
    "{kind: feed, url: 'https://a.example/?code=USD&ak=abcdef0123;key=M.USD.EUR', headers: {Accept: text/csv, "
    "Cookie: 'lang=en; sid=${K}', X-Api-Key: '${K}', Authorization: 'Token token=\"${K}\"'}, unit: u, "
    "event_publisher: p}",
    "{kind: poll, url: 'https://a.example/', identity: [d], requests: [{s: GDP}], "
    "body: {seriesid: ['{s}'], key: GDP, page: 2, next: null, token: '${K}', auth: 'Bearer ${K}', secret: ''}}",
    "{kind: ccxt, exchange: okx, trades: [A/B], urls: {rest: 'https://{hostname}'}, options: {defaultType: swap}}",
    "{kind: feed, url: 'http://[::1]:8080/', every_seconds: 0.05, unit: 'no', event_publisher: \"1:30\"}",
)


@pytest.mark.parametrize("entry", RIGHT_ENTRIES)
def test_what_is_right_is_taken(entry: str, tmp_path: Path) -> None:
    (tmp_path / "sources.yml").write_text(f"\ufeffa: {entry}\n", encoding="utf-8")
    assert list(read_sources(tmp_path / "sources.yml")) == ["a"]


def test_an_alias_and_a_merge_stand_for_what_they_name(tmp_path: Path) -> None:
    text = f"a: &a {{{ONE}}}\nb:\n  <<: *a\n  unit: of its own\n"
    (tmp_path / "sources.yml").write_text(text)
    assert [getattr(one, "unit", "") for one in read_sources(tmp_path / "sources.yml").values()] == ["u", "of its own"]


def test_entries_that_share_a_line_are_not_cut_apart(sources_file: Path) -> None:
    text = f"{{a: {{{ONE}}}, b: {{{ONE}}}}}\n"
    sources_file.write_text(text)
    assert "expected each entry in lines of its own" in call("sources", "remove", "a")
    assert sources_file.read_text() == text


def test_the_lines_of_two_files_are_the_entrys_and_the_files(sources_file: Path) -> None:
    same = b"kind: feed\nurl: https://a.example/\nunit: u\nevent_publisher: p\nsource_system: edgar\n"
    assert call("sources", "add", "new", stdin=same).startswith(f"{sources_file}, line 8, new.source_system: ")
    assert call("sources", "add", "new", stdin=b"kind: feed # \xe9\n").startswith("the entry, line 1: expected UTF-8")
    assert "expected a name of letters" in call("sources", "add", "a: b", stdin=same)
