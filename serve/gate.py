"""What every request passes before it is read: its method, its key, how it is counted and logged."""

import logging
import re
import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote_plus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.callers import Callers
from serve.counts import Counts
from serve.problems import Problem, shown
from tidemark.access import key_file
from tidemark.output import visible

log = logging.getLogger("serve.access")

METHODS = ("GET", "HEAD", "OPTIONS")
KEY_PARAMETER = "apikey"
COOKIE = "tidemark_key"  # of the page /live; for reading alone, and where no key is sent otherwise
WRITTEN = ("/live/session", "/live/session/end")  # what takes POST: a cookie is set, and nothing else
# Of every answer that has none of its own: what holds a stranger's words is never taken for a page.
GUARDED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
MOST_LOGGED = 500  # characters of a query
_KEY_ANYWHERE = re.compile(rf"({key_file.PREFIX}[0-9a-f]{{8}}_)[^&/,\s]+")  # of whoever took another name for it


class Gate:
    """Takes the key out of the request, so that nothing behind it can log it; logs one line a request."""

    def __init__(self, app: ASGIApp, callers: Callers, counts: Counts, hosts: Sequence[str]) -> None:
        """`hosts` are the names that it is called by, beside `localhost` and addresses."""
        self._app, self._callers, self._counts = app, callers, counts
        self._hosts = [name.lower() for name in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        called: dict[str, Any] = {"status": 0, "bytes": 0, "rows": 0, "caller": None}
        began = time.perf_counter()
        method = scope["method"]
        scope = {**scope, "tidemark.called": called, "tidemark.method": method}
        scope["method"] = "GET" if method == "HEAD" else method
        _take_key(scope)

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                called["status"] = message["status"]
                answered = MutableHeaders(raw=message["headers"])
                for name, value in GUARDED.items():
                    answered.setdefault(name, value)
            else:
                called["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            if refusal := self._misdirected(scope) or _refusal(scope):
                await refusal.response(Request(scope))(scope, receive, counting)
            else:
                await self._app(scope, receive, counting)
        finally:
            self._note(scope, method, called, time.perf_counter() - began)

    def _misdirected(self, scope: Scope) -> Problem | None:
        """Refuses another site's name that leads here (DNS rebinding): its pages would be taken for ours.

        An address is no such name, and what is no browser may send none.
        """
        host = Headers(scope=scope).get("host", "")
        name = _without_port(host).rstrip(".").lower()
        if not name or name == "localhost" or name.endswith(".localhost") or name in self._hosts or _is_address(name):
            return None
        named, received = ", ".join(("localhost", "an address", *self._hosts)), shown(visible(host))
        todo = "TIDEMARK_API_HOSTS names what else it is called by"
        return Problem(421, "another host", f"expected a Host of {named}, received {received}: {todo}")

    def _note(self, scope: Scope, method: str, called: dict[str, Any], seconds: float) -> None:
        self._counts.note(scope, called, seconds)
        caller = called["caller"]
        if caller is not None:
            usage = self._callers.usage(caller)
            usage.rows, usage.bytes = usage.rows + called["rows"], usage.bytes + called["bytes"]
        query = scope["query_string"].decode("latin-1")
        path, query = (visible(_KEY_ANYWHERE.sub(r"\1***", text)[:MOST_LOGGED]) for text in (scope["path"], query))
        log.info(
            "%s %s%s %d %s rows=%d bytes=%d %.1fms",
            method, path, f"?{query}" if query else "", called["status"],
            caller.name if caller else "-", called["rows"], called["bytes"], seconds * 1000,
        )  # fmt: skip


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(scope: Scope) -> Problem | None:
    """Why a request is not even looked at."""
    is_session = scope["method"] == "POST" and scope["path"] in WRITTEN
    if scope["method"] not in METHODS and not is_session:
        return Problem(
            405,
            "only reading",
            f"expected one of {', '.join(METHODS)}, received {visible(scope['method'])}: nothing is written here",
            headers={"Allow": ", ".join(METHODS)},
        )
    headers = Headers(scope=scope)
    if is_session and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        detail = "expected the page /live of this server to ask for its session, received it from another site"
        return Problem(403, "from another site", detail)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        detail = "expected a request without a body, received one with a body: say all in the query"
        return Problem(413, "a request with a body", detail, headers={"Connection": "close"})
    return None


def _take_key(scope: Scope) -> None:
    """The key that was sent, from the first of its places that has one, into the scope; and out of the query."""
    headers, key = Headers(scope=scope), None
    kind, _, rest = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        key = rest.strip()
    key = key or headers.get("x-api-key") or headers.get("apikey")
    kept = []
    for pair in scope["query_string"].decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name) == KEY_PARAMETER:
            # A form of any site can send it, and would let its own key into the cookie.
            key = key or (unquote_plus(value) if scope["method"] == "GET" else None)
        else:
            kept.append(pair)
    scope["query_string"] = "&".join(kept).encode("latin-1")
    if not key and scope["method"] == "GET":
        key = Request(scope).cookies.get(COOKIE)
    scope["tidemark.key"] = key
