"""Recorded HTTP answers: the recorded clock in `Date`, and conditional requests."""

import hashlib
from datetime import datetime
from email.utils import format_datetime

from aiohttp import web


def answer(
    request: web.Request, body: bytes, content_type: str, date: datetime | None = None, modified: datetime | None = None
) -> web.Response:
    """200 with ETag and Last-Modified, or 304 where the request shows that the client has this body.

    `date` (UTC) is the recorded response's clock, by default now; `modified` (UTC) is by default `date`.
    """
    tag = '"' + hashlib.sha256(body).hexdigest()[:32] + '"'
    headers = {"ETag": tag}
    changed = modified or date
    if changed is not None:
        headers["Last-Modified"] = format_datetime(changed, usegmt=True)
    if date is not None:
        headers["Date"] = format_datetime(date, usegmt=True)
    known = request.headers.get("If-None-Match")
    since = request.if_modified_since
    unchanged = known == tag if known is not None else bool(since and changed and changed <= since)
    if unchanged:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers | {"Content-Type": content_type})
