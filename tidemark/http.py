"""HTTP to what is outside, for both lanes: a request is bounded in time, size and redirects, and its body comes whole.

httpx inflates whatever the network gives it at once, so bodies are asked for as gzip, taken as they were sent, and
decoded here in steps. Nothing else is offered, and an answer in another encoding is refused.
"""

import asyncio
import ipaddress
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tidemark.bounded import STEP, BeyondBounds, too_large
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

CONNECT_SECONDS = 10.0
MOST_REDIRECTS = 5  # to https, to another name, to where a file lies: a source needs no more
MOST_ENCODINGS = 2  # a proxy may have compressed what was compressed
GZIP = 16 + zlib.MAX_WBITS
KEPT_ELSEWHERE = ("user-agent", "accept", "accept-encoding", "if-none-match", "if-modified-since")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

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
    url: httpx.URL = field(default=httpx.URL(""), repr=False)  # its query may hold a key

    def start(self, characters: int = 200) -> str:
        """How the body begins, for an error."""
        return self.body[: 4 * characters].decode(errors="replace")[:characters]


def client() -> httpx.AsyncClient:
    """What keeps connections between the requests of one source. No proxy has business on loopback."""
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "gzip"},
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),  # `ask` bounds the whole
        follow_redirects=False,
        mounts={f"all://{host}": None for host in LOOPBACK},
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
    place = "a URL that is none"
    try:
        http.cookies.clear()
        request = http.build_request(method, url, headers=headers, params=params, json=json)
        place = f"{method} {hide(request.url.host + request.url.path)}"
        async with asyncio.timeout(seconds):
            return await _follow(http, request, settings.http_bytes, hide)
    except TimeoutError:
        more = f" ({seconds_by} allows more)" if seconds_by else ""
        raise NoAnswer(f"no whole answer to {place} in {seconds:g} s, TimeoutError{more}") from None
    except BeyondBounds as error:
        raise NoAnswer(f"from {place} {error}", retriable=False) from None
    except (httpx.HTTPError, httpx.InvalidURL, zlib.error) as error:
        raise NoAnswer(f"no answer to {place} ({type(error).__name__}: {hide(str(error))})") from None


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
            if request.method != "GET" or not response.has_redirect_location:
                return Answer(response.status_code, response.headers, await _body(response, most), request.url)
        finally:
            await response.aclose()
        request = _redirected(http, request, response.headers["location"], hide)
    raise BeyondBounds(f"more than {MOST_REDIRECTS} redirects")


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
