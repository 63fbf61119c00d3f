"""HTTP to what is outside, for both lanes: a request is bounded in time, size and redirects, and its body comes whole.

httpx inflates whatever the network gives it at once, so bodies are asked for as gzip, taken as they were sent, and
decoded here in steps. Nothing else is offered, and an answer in another encoding is refused.
"""

import asyncio
import codecs
import email.utils
import ipaddress
import logging
import os
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx

from tidemark.bounded import STEP, BeyondBounds, too_large
from tidemark.errors import TidemarkError
from tidemark.proxies import proxy_of
from tidemark.settings import Settings

CONNECT_SECONDS = 10.0
MOST_WAIT_SECONDS = 86_400.0  # of a Retry-After: who asks for more is asked again after a day
MOST_REDIRECTS = 5  # to https, to another name, to where a file lies: a source needs no more
MOST_ENCODINGS = 2  # a proxy may have compressed what was compressed
PAGE_BYTES, TITLE_CHARACTERS = 64 * 1024, 120  # of an HTML page, for an error
GZIP = 16 + zlib.MAX_WBITS
# Elements that a page may begin with where its server calls it HTML; roots that a source's XML may have are none.
_OF_HTML = re.compile(
    r"<(?:!doctype|html|head|body|title|meta|link|base|style|script|noscript|template|iframe|center|h[1-6]|p|div|span|a"
    r"|b|i|u|em|strong|font|big|small|pre|code|br|hr|img|ul|ol|form|header|main|footer|nav|section|article)[\s/>]",
    re.IGNORECASE,
)
KEPT_ELSEWHERE = ("user-agent", "accept", "accept-encoding", "if-none-match", "if-modified-since")

# They log whole URLs and headers, and a key may be in one.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class NoAnswer(TidemarkError):
    """No whole answer came. The message says what came instead, and from where; it shows no query.

    `retriable` is False where the answer was beyond a bound: the next will be too.
    """

    def __init__(self, message: str, retriable: bool = True) -> None:
        super().__init__(message)
        self.retriable = retriable


@dataclass(frozen=True)
class Answer:
    """One whole answer, whatever its status; `body` is decoded, `url` is where it was after redirects."""

    status: int
    headers: httpx.Headers
    body: bytes = field(repr=False)  # a task that ends shows what it returns: eight times the body
    place: str = ""  # method, host, port and path that answered, without the query and without secrets
    url: httpx.URL = field(default=httpx.URL(""), repr=False)  # its query may hold a key

    def start(self, characters: int = 200) -> str:
        """How the body begins, for an error."""
        return self.body[: 4 * characters].decode(errors="replace")[:characters]

    def html_page(self) -> str | None:
        """`an HTML page` and its title, where the body is one, for an error; None where it is none."""
        start = self.body[:PAGE_BYTES].decode(_charset(self.headers), errors="replace").lstrip("\ufeff \t\r\n")
        start = re.sub(r"\A(?:<\?.*?\?>|<!--.*?-->|\s)+", "", start, flags=re.DOTALL)
        is_named = re.match(r"text/html|application/xhtml\+xml", self.headers.get("content-type", ""), re.IGNORECASE)
        is_page = re.match(r"<!doctype\s+html\b|<html\b|<head\b|<body\b", start, re.IGNORECASE)
        if not is_page and not (is_named and _OF_HTML.match(start)):
            return None
        title = re.search(r"<title[^>]*>(.*?)</title|<h1[^>]*>(.*?)</h1", start, re.IGNORECASE | re.DOTALL)
        if title:
            text = re.sub(r"<[^>]*>", " ", title[1] or title[2] or "")
        else:
            text = re.sub(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", " ", start, flags=re.IGNORECASE | re.DOTALL)
        import html

        words = " ".join(html.unescape(text).split())[:TITLE_CHARACTERS]
        return f"an HTML page, {words!r}" if words else "an HTML page without a title"


def _charset(headers: Mapping[str, str]) -> str:
    named = re.search(r"charset=[\"']?([\w.:-]+)", headers.get("content-type", ""), re.IGNORECASE)
    try:
        return codecs.lookup(named[1]).name if named else "utf-8"
    except LookupError:
        return "utf-8"


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that an answer asks to wait for, by its header Retry-After: a number or a date; 0 where it asks none.

    A date is compared with that of the answer, so that a clock that differs does not count. Of a header that was sent
    twice, which stands as a list, the first is meant.
    """
    found = {name.lower(): _first(value) for name, value in headers.items()}
    asked = found.get("retry-after", "")
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", asked, re.ASCII):
        return min(float(asked), MOST_WAIT_SECONDS)
    until, now = moment(asked), moment(found.get("date", ""))
    return 0.0 if until is None else min(max(0.0, until - (time.time() if now is None else now)), MOST_WAIT_SECONDS)


def _first(listed: str) -> str:
    """Of values that commas part, the first; a date has a comma behind its day."""
    found = re.match(r"\s*(?:[A-Za-z]+\s*,)?[^,]*", listed)
    return found[0].strip() if found else ""


def moment(text: str) -> float | None:
    """The seconds since 1970 of an HTTP date, None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


@cache
def _trusted(*files: str | None) -> ssl.SSLContext:
    """Who is trusted, by what names the files: read once, as that takes longer than a request of a local server."""
    return httpx.create_ssl_context()


def client() -> httpx.AsyncClient:
    """What keeps connections between the requests of one source; through a proxy where the environment names one."""
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "gzip"},
        verify=_trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),  # `ask` bounds the whole
        follow_redirects=False,
    )


async def ask(
    http: httpx.AsyncClient,
    settings: Settings,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str | int] | None = None,
    json: Any = None,
    seconds: float | None = None,
    seconds_by: str = "",
    hide: Callable[[str], str] = str,
) -> Answer:
    """One request, to the last byte of its answer; NoAnswer where none came whole and within the bounds.

    `seconds` replaces the setting, and `seconds_by` may name then what allows more. `hide` takes secrets out of a text:
    it is asked before anything is said, and before a redirect is followed to another host.
    """
    if seconds is None:
        seconds, seconds_by = settings.http_seconds, "TIDEMARK_HTTP_SECONDS"
    place, by = "a URL that is none", ""
    try:
        http.cookies.clear()
        request = http.build_request(method, url, headers=headers, params=params, json=json)
        place = f"{method} {hide(_place(request.url))}"
        by = f" through the proxy {proxy}" if (proxy := proxy_of(request.url.scheme, request.url.host)) else ""
        async with asyncio.timeout(seconds):
            return await _follow(http, request, settings.http_bytes, hide)
    except TimeoutError:
        more = f" ({seconds_by} allows more)" if seconds_by else ""
        raise NoAnswer(f"no whole answer to {place}{by} in {seconds:g} s, TimeoutError{more}") from None
    except BeyondBounds as error:
        raise NoAnswer(f"from {place} {error}", retriable=False) from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, zlib.error) as error:
        said = hide(str(error)) or "the connection was cut"
        raise NoAnswer(f"no answer to {place}{by} ({type(error).__name__}: {said})") from None


def _place(url: httpx.URL) -> str:
    """Host, port and path: what an error may show of a URL."""
    return url.netloc.decode("ascii", errors="replace") + url.path


def ask_now(settings: Settings, url: str, **options: Any) -> Answer:
    """`ask`, for a caller without a loop."""

    async def once() -> Answer:
        async with client() as http:
            return await ask(http, settings, url, **options)

    return asyncio.run(once())


async def _follow(http: httpx.AsyncClient, request: httpx.Request, most: int, hide: Callable[[str], str]) -> Answer:
    for _ in range(MOST_REDIRECTS + 1):
        response = await http.send(request, stream=True)
        try:
            if request.method != "GET" and response.has_redirect_location:
                raise _not_redirected(request, response, hide)
            if not response.has_redirect_location:
                body = await _body(response, most)
                return Answer(
                    response.status_code,
                    response.headers,
                    body,
                    f"{request.method} {hide(_place(request.url))}",
                    request.url,
                )
        finally:
            await response.aclose()
        request = _redirected(http, request, response.headers["location"], hide)
    raise BeyondBounds(f"more than {MOST_REDIRECTS} redirects")


def _not_redirected(request: httpx.Request, response: httpx.Response, hide: Callable[[str], str]) -> BeyondBounds:
    target = hide(_place(request.url.join(response.headers["location"])))
    return BeyondBounds(
        f"HTTP {response.status_code}, a redirect to {target}, and a {request.method} is not sent again elsewhere: set "
        "the source's URL to it if you trust it"
    )


def _redirected(
    http: httpx.AsyncClient, request: httpx.Request, location: str, hide: Callable[[str], str]
) -> httpx.Request:
    """The request at its new place; to another host no header goes along that could be a credential."""
    old, new = request.url, request.url.join(location)
    where = f"a redirect to {hide(new.host)}"
    if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
        raise BeyondBounds(f"{where} by {new.scheme}, expected https")
    if _same_party(old, new):
        return http.build_request("GET", new, headers=_without_host(request.headers))
    if hide(str(new)) != str(new):
        raise BeyondBounds(f"{where} that would carry a credential there: set the source's URL to it if you trust it")
    return http.build_request("GET", new, headers={k: v for k, v in request.headers.items() if k in KEPT_ELSEWHERE})


def _same_party(old: httpx.URL, new: httpx.URL) -> bool:
    to_https = old.host == new.host and (old.scheme, new.scheme) == ("http", "https") and not (old.port or new.port)
    return to_https or (old.scheme, old.host, old.port) == (new.scheme, new.host, new.port)


def _without_host(headers: httpx.Headers) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "host"}


def on_loopback(host: str) -> bool:
    """Whether a URL's host is this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


async def _body(response: httpx.Response, most: int) -> bytes:
    """The body, decoded; counted as it was sent and as it is after each decoding."""
    codings = response.headers.get_list("content-encoding", split_commas=True)
    codings = [coding.strip().lower() for coding in codings if coding.strip().lower() not in ("", "identity")]
    if len(codings) > MOST_ENCODINGS or set(codings) - {"gzip", "x-gzip"}:
        raise BeyondBounds(f"a body encoded as {', '.join(codings)[:80]!r}, expected gzip or none")
    layers = [_Gunzip(most) for _ in codings]
    sent, parts = 0, list[bytes]()
    async for chunk in response.aiter_raw():
        sent += len(chunk)
        if sent > most:
            raise too_large("a body", most)
        parts += _decoded(layers, chunk)
    if sent and not all(layer.whole for layer in layers):
        raise httpx.DecodingError("the gzip body is cut short")
    return b"".join(parts)


def _decoded(layers: "list[_Gunzip]", data: bytes) -> Iterator[bytes]:
    if not layers:
        yield data
        return
    for part in layers[0].decode(data):
        yield from _decoded(layers[1:], part)


class _Gunzip:
    """One gzip encoding, taken off in steps; it checks what each member says of its own length and sum."""

    def __init__(self, most: int) -> None:
        self._inflate, self._most, self._made = zlib.decompressobj(GZIP), most, 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate.eof:  # another member follows
                self._inflate = zlib.decompressobj(GZIP)
            part = self._inflate.decompress(data, STEP)
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            self._made += len(part)
            if self._made > self._most:
                raise too_large("a body that decodes to one", self._most)
            yield part

    @property
    def whole(self) -> bool:
        return self._inflate.eof
