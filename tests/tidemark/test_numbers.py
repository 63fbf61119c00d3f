"""What is a number: the streaming lane and the warehouse say the same of every text."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tidemark.numbers import Digits, number

CASTS = (Path(__file__).parents[2] / "dbt_project/macros/casts.sql").read_text()
(WAREHOUSE,) = re.findall(r"'(\^\[ .*?\$)'", CASTS)


@given(st.text("0123456789+-.eE_ \t\n,xnaif٣", max_size=8))
@example("2024_25")
@example("infinity")
@example("\u00a01")
@example("1.")
@example(" -.5e+3\n")
def test_the_lane_takes_a_text_for_a_number_where_the_warehouse_does(text: str) -> None:
    there = re.fullmatch(WAREHOUSE.removesuffix("$"), text) is not None
    here = number(text)
    assert there or here is None
    if there and not re.search("[1-9].*[eE]", text):  # else it may be beyond what a double holds
        assert here is not None


@pytest.mark.parametrize("digits", ["1.10", "1e3", "-0.0", "0e-400"])
def test_a_json_number_goes_on_with_its_digits(digits: str) -> None:
    assert bytes(Digits(digits).on_the_wire()) == digits.encode()  # type: ignore[arg-type]


@pytest.mark.parametrize("digits", ["1e400", "1e-400", "0." + "1" * 2000])
def test_a_json_number_that_a_database_may_not_hold_goes_on_as_a_text(digits: str) -> None:
    assert Digits(digits).on_the_wire() == digits
