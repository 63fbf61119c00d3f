"""Rows for people and for programs."""

import fcntl
import io
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from typing import Any

import pytest

from tidemark.output import VisibleFormatter, print_table, show, visible

ROWS = [{"kafka_offset": 12345, "payload": "[/b] [1, 2]", "dropped_at": None, "good": True}]


def test_rows_are_a_table_with_every_value_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show("Quarantine", ROWS, False, "nothing")
    printed = capsys.readouterr().out
    for text in ("Quarantine", "kafka offset", "12,345", "[/b] [1, 2]", "True"):
        assert text in printed
    assert "None" not in printed


def test_a_value_that_is_no_text_is_a_cell_beside_those_that_have_a_style(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Flows", [{"flow": "ingest", "parameters": {"source": "ecb"}}], styles={"ingest": "green"})
    assert "{'source': 'ecb'}" in capsys.readouterr().out


def test_rows_of_one_first_value_stand_together_and_a_value_has_its_style_on_a_terminal_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs: list[tuple[str, int | None]] = [("a", 1), ("a", None), ("b", 2_000)]
    rows = [{"stage": stage, "rows": count} for stage, count in pairs]
    print_table("Stages", rows, styles={"a": "green"}, grouped=True)
    _, _, _, _, *lines, _ = capsys.readouterr().out.splitlines()
    assert [line.replace("│", "").split() for line in lines if "─" not in line] == [["a", "1"], [], ["b", "2,000"]]
    assert [number for number, line in enumerate(lines) if "─" in line] == [2]


def test_no_row_is_a_sentence_for_people_and_an_empty_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    show("Quarantine", [], False, "nothing")
    show("Quarantine", ROWS, True, "nothing")
    show("Quarantine", [], True, "nothing")
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "nothing"
    assert [json.loads(line) for line in rest] == [ROWS, []]


# A title that clears the screen, a C1 control, a name that reads backwards, a line that was never logged, and letters.
OUTSIDE = "\x1b[2Jé\x9b0m\u202egpj.\u2069\n2026-01-01 ERROR forged\u2028漢字\ud800\t"
SHOWN = r"\x1b[2Jé\x9b0m\u202egpj.\u2069\n2026-01-01 ERROR forged\u2028漢字\ud800\t"


def test_control_characters_are_shown_and_letters_stay() -> None:
    assert visible(OUTSIDE) == SHOWN
    assert visible("one\n\ttwo\x1b", lines=True) == "one\n\ttwo\\x1b"


def test_a_table_obeys_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    show("Quarantine", [{"record_key": OUTSIDE}], False, "nothing")
    show("Quarantine", [{"record_key": OUTSIDE}], True, "nothing")
    printed = capsys.readouterr().out
    assert SHOWN in printed
    assert not set(printed.replace("\n", "")) & set("\x1b\x9b\u202e\u2069\u2028\ud800")


def test_a_logged_record_is_one_line_and_its_traceback_is_indented() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(VisibleFormatter("%(levelname)s %(message)s"))
    log = logging.Logger("outside")
    log.addHandler(handler)
    try:
        raise ValueError(OUTSIDE)
    except ValueError:
        log.exception("received %s", OUTSIDE)
    first, *traceback = written.getvalue().splitlines()
    assert first == f"ERROR received {SHOWN}"
    assert all(line.startswith("  ") for line in traceback)
    assert "\x1b" not in written.getvalue()


LONG = "BTC/USDT:USDT-241227-100000-C"
WIDE: dict[str, Any] = {
    "topic": "economic_event_numeric",
    "symbol": LONG,
    "rows": 1_234_567,
    "detail": "expected this, " * 9,
}


@pytest.mark.parametrize(("columns", "is_a_table"), [(120, True), (90, True), (80, False), (20, False)])
def test_a_terminal_of_any_width_shows_every_name_whole(columns: int, is_a_table: bool) -> None:
    printed = on_a_terminal(f"from tidemark.output import print_table; print_table('Topics', [{WIDE!r}] * 2)", columns)
    lines = printed.splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in printed
    assert (sum(WIDE["topic"] in line and LONG in line for line in lines) == 2) is is_a_table
    if columns > len(LONG):
        assert [printed.count(str(WIDE[name])) for name in ("topic", "symbol")] == [2, 2]
    assert "".join(printed.split()).count("1,234,567") == 2


def on_a_terminal(program: str, columns: int) -> str:
    """What a Python program prints on a terminal of so many columns, without colours."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=follower, stderr=follower, env=environ | {"TERM": "xterm"}
    )
    os.close(follower)
    said = b""
    try:
        while read := os.read(leader, 65536):
            said += read
    except OSError:  # a terminal whose programs have all ended
        pass
    finally:
        os.close(leader)
    assert process.wait(60) == 0, said
    return re.sub(r"\x1b\[[0-9;]*m|\r", "", said.decode())


def test_a_column_without_a_value_is_left_out_and_times_are_alike(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2024, 8, 8, 10, 0, 0, 5, tzinfo=UTC)
    rows: list[dict[str, Any]] = [{"a": 1, "b": None, "at": at}, {"a": 2, "b": "", "at": "2024-08-08T12:00:00.5+02:00"}]
    show("Times", rows, False, "")
    printed = capsys.readouterr().out
    assert printed.splitlines()[2].replace("┃", " ").split() == ["a", "at"]
    assert printed.count("2024-08-08 10:00:00Z") == 2


def test_what_all_rows_have_alike_is_said_once_where_the_terminal_is_narrow() -> None:
    rows = [{"topic": "economic_event_numeric", "identity": f"a_{n}_{'x' * 30}", "state": "waiting"} for n in (1, 2)]
    code = f"from tidemark.output import print_table; print_table('Topics', {rows!r})"
    narrow = on_a_terminal(code, 60)
    assert "in every row: topic economic_event_numeric, state" in " ".join(narrow.split())
    assert [narrow.count(row["identity"]) for row in rows] == [1, 1]
    assert "in every row" not in on_a_terminal(code, 120)
