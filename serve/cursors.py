"""The cursor of a next page: the place where it begins, as one word that means nothing to who sends it."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from serve.problems import Problem, bad_request

MOST_CHARACTERS = 8_000


def encode(place: Sequence[Any]) -> str:
    """A place, of text and whole numbers, as a word for `after`."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def decode(cursor: str) -> list[Any]:
    """The place; Problem 400 where the word is no cursor."""
    try:
        if len(cursor) > MOST_CHARACTERS:
            raise refused(cursor)
        place = msgspec.json.decode(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError):
        raise refused(cursor) from None
    if not isinstance(place, list):
        raise refused(cursor)
    return place


def refused(cursor: str) -> Problem:
    """400: a cursor that no answer to such a request gave."""
    return bad_request("not a cursor", "after to be as `Link` had it", cursor, "begin without it")
