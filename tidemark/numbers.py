"""What is a number: one grammar for every text that a source sends, and the digits as they were sent.

A sign, digits with at most one decimal sign, an exponent, in ASCII, white space around them; and finite as a double,
without vanishing in it. It is what the warehouse takes for one too (`finite_number` in dbt_project/macros/casts.sql).
Python's float() takes more: `2024_25`, `infinity`, Arabic digits; and Postgres' double precision `0x1A`.
"""

import math
import re
from functools import cache
from typing import Any

from msgspec import Raw

_SPACES = " \t\r\n"
_MOST_DIGITS = 1000  # jsonb's numbers end at some ten thousand digits
_ANY_SPACE = "[ \u00a0\u2009\u202f]"  # of thousands, as typesetters write it


class Digits(str):
    """A JSON number with a fraction or an exponent, as it was sent: `1.10`, `1e3`."""

    __slots__ = ()

    def on_the_wire(self) -> Raw | str:
        """Itself as a JSON number; as a text where that is none that jsonb holds."""
        fits = len(self) <= _MOST_DIGITS and number(self) is not None
        return Raw(self.encode()) if fits else str(self)


def number(sent: Any, decimal: str = ".", thousands: str = "") -> float | None:
    """The finite double that a text or a JSON number says; None where it says none.

    `decimal` and `thousands` are the signs of a text. A JSON number has its own.
    """
    if isinstance(sent, bool):
        return None
    if isinstance(sent, Digits) or not isinstance(sent, str):
        return _finite(sent) if isinstance(sent, int | float | str) else None
    plain = sent.strip(_SPACES)
    if not _grammar(decimal, thousands).fullmatch(plain):
        return None
    if thousands:
        plain = re.sub(_thousands(thousands), "", plain)
    return _finite(plain.replace(decimal, "."))


def _finite(digits: int | float | str) -> float | None:
    try:
        found = float(digits)
    except OverflowError:  # JSON's integers have no largest one
        return None
    vanished = found == 0 and isinstance(digits, str) and re.search("[1-9]", re.split("[eE]", digits)[0])
    return found if math.isfinite(found) and not vanished else None


def _thousands(sign: str) -> str:
    return _ANY_SPACE if sign == " " else re.escape(sign)


@cache
def _grammar(decimal: str, thousands: str) -> re.Pattern[str]:
    point = re.escape(decimal)
    whole = "[0-9]+"
    if thousands:  # the last group is of three; India's others are of two
        between = _thousands(thousands)
        whole = f"(?:[0-9]+|[0-9]{{1,3}}(?:{between}[0-9]{{2,3}})*{between}[0-9]{{3}})"
    return re.compile(rf"[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?")
