"""What clients may keep of an answer, and whether they have it already."""

from starlette.requests import Request
from starlette.responses import Response

# An answer is its caller's alone, and asked for again each time: by its ETag, where it has one.
PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Accept, Authorization, X-API-Key"}


def is_known(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` says that the caller has it."""
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return etag in known or "*" in known


def unchanged(etag: str) -> Response:
    """304."""
    return Response(status_code=304, headers={**PRIVATE, "ETag": etag})
