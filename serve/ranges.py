"""Which rows of an answer: `limit` and `offset`, or the headers Range and Prefer, as PostgREST reads them."""

import re
from dataclasses import dataclass

from starlette.requests import Request

from serve.grammar import Query
from serve.problems import Problem, bad_request

MOST_OFFSET = 10_000_000


@dataclass(frozen=True)
class Range:
    """From `offset` on, at most `limit` rows."""

    offset: int
    limit: int


def requested(request: Request, query: Query, default_rows: int, most_rows: int) -> Range:
    """The rows that are wanted, held at the most that one answer has; Problem 400, 416 for what is no range."""
    offset, limit = query.offset, query.limit
    header = request.headers.get("range", "")
    # A unit that is not rows is to be passed over (RFC 9110, 14.2): answers are not cut at bytes.
    if limit is None and not query.offset and header and not header.startswith("bytes"):
        offset, limit = _of_header(header)
    if offset > MOST_OFFSET:
        raise bad_request("not a query", f"an offset of at most {MOST_OFFSET}", offset, "page by `after` instead")
    return Range(offset, min(default_rows if limit is None else limit, most_rows))


def _of_header(text: str) -> tuple[int, int | None]:
    """`0-24`, `25-`: both bounds are inside."""
    found = re.fullmatch(r"(?:items=)?([0-9]{1,18})-([0-9]{1,18})?", text.strip())
    if found is None:
        raise bad_request("not a query", "Range to be first-last, counted from 0", text)
    first, last = int(found[1]), None if found[2] is None else int(found[2])
    if last is not None and last < first:
        raise Problem(416, "no such range", f"expected a Range whose last row is not before its first, received {text}")
    return first, None if last is None else last - first + 1


def is_counted(request: Request) -> bool:
    """Whether all rows are to be counted, too."""
    return "count=exact" in [part.strip() for part in request.headers.get("prefer", "").replace(";", ",").split(",")]


def content_range(wanted: Range, rows: int, total: int | None) -> str:
    """`first-last/total`, with `*` for what is none or not known."""
    held = f"{wanted.offset}-{wanted.offset + rows - 1}" if rows else "*"
    return f"{held}/{'*' if total is None else total}"
