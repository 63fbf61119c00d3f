"""What is said where a request is not answered: RFC 9457, with what was expected and what was received."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from tidemark.errors import TidemarkError

MEDIA_TYPE = "application/problem+json"
LOADS = "tidemark flow run ingest --param source=ecb"
MOST_CHARACTERS = 300  # of what a caller sent, said again


class Problem(TidemarkError):
    """An answer that is none: status, a title that is the same for all of its kind, and one sentence.

    `more` are members of the answer beside RFC 9457's own (`expected`, `received`).
    """

    def __init__(
        self, status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = HTTPStatus(status), title, detail
        self.headers, self.more = dict(headers or {}), more
        self.retriable = "Retry-After" in self.headers

    def body(self, instance: str) -> dict[str, Any]:
        """The answer; `message`, `code`, `details` and `hint` are what PostgREST's clients read."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
        return {
            "type": f"urn:tidemark:problem:{slug}",
            "title": self.title,
            "status": int(self.status),
            "detail": self.detail,
            "instance": instance,
            **self.more,
            "message": self.detail,
            "code": slug,
            "details": self.more.get("details", self.detail),
            "hint": None,
        }

    def response(self, request: Request) -> JSONResponse:
        """The same as what is sent; `instance` is the path alone, as a query may hold a key."""
        return JSONResponse(self.body(request.url.path), int(self.status), self.headers, MEDIA_TYPE)


class NotLoaded(Problem):
    """404: the warehouse answers, and nothing was ever loaded into it: what `realtime` has is all there is."""

    def __init__(self) -> None:
        super().__init__(
            404,
            "no data was loaded yet",
            "expected marts in the warehouse, found none, and nothing that they could be built of: "
            f"`{LOADS}` loads and builds, `tidemark promote` brings what `realtime` has of earlier days",
        )


def shown(value: object) -> str:
    """What a caller sent, short enough to be said again."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def bad_request(title: str, expected: str, received: object, todo: str = "") -> Problem:
    """400: what was expected and what was received."""
    received = shown(received)
    detail = f"expected {expected}, received {received}" + (f": {todo}" if todo else "")
    return Problem(400, title, detail, expected=expected, received=received)


def invalid(error: Any) -> Problem:
    """400: of FastAPI's refusal of a parameter, the first reason."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return bad_request("not a value", f"{name}: {first['msg']}", repr(first.get("input")))


def no_key(detail: str) -> Problem:
    """401: no key, or one of nobody who may enter."""
    return Problem(401, "no key that opens", detail, headers={"WWW-Authenticate": 'Bearer realm="tidemark"'})


def busy(detail: str, seconds: int = 1, **more: Any) -> Problem:
    """503: the same may be answered later."""
    return Problem(503, "busy", detail, headers={"Retry-After": str(seconds)}, **more)


def down(database: str, received: str) -> Problem:
    """503: a database does not answer."""
    detail = f"expected the database {database} to answer, received {received}: try again; `tidemark status` says why"
    headers = {"Retry-After": "5"}
    return Problem(503, "a database does not answer", detail, headers=headers, database=database)
