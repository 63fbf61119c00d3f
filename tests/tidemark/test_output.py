"""Rows for people and for programs."""

import json

import pytest

from tidemark.output import show

ROWS = [{"kafka_offset": 12345, "payload": "[/b] [1, 2]", "dropped_at": None, "good": True}]


def test_rows_are_a_table_with_every_value_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show("Quarantine", ROWS, False, "nothing")
    printed = capsys.readouterr().out
    for text in ("Quarantine", "kafka offset", "12,345", "[/b] [1, 2]", "True"):
        assert text in printed
    assert "None" not in printed


def test_no_row_is_a_sentence_for_people_and_an_empty_list_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    show("Quarantine", [], False, "nothing")
    show("Quarantine", ROWS, True, "nothing")
    show("Quarantine", [], True, "nothing")
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "nothing"
    assert [json.loads(line) for line in rest] == [ROWS, []]
