"""One GET to a source, tried again with the listed delays; what is not data becomes a SourceError."""

import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_chain, wait_fixed

from tidemark.connections import refuse_a_replay
from tidemark.errors import SourceError
from tidemark.settings import Settings

T = TypeVar("T")

TIMEOUT = httpx.Timeout(60, connect=10)
ASK_AGAIN = (408, 429)  # the only 4xx that a later try can change

# httpx logs whole URLs, and a key may be in the query.
logging.getLogger("httpx").addFilter(lambda record: "api_key" not in record.getMessage())


class Unexpected(Exception):
    """The answer is not data, says the message; parse functions raise it too. The request is tried again."""


class Refused(Exception):
    """The source understood and refused (4xx): trying again cannot help."""


@dataclass(frozen=True)
class Request:
    """One GET. `expected` says what the answer should be, for errors; the query never shows in one."""

    source: str
    url: str
    expected: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    api_key: SecretStr | None = None


def fetch(settings: Settings, request: Request, parse: Callable[[bytes], T]) -> T:
    """The parsed body of the answer; SourceError after the last try, or at once when the source refuses.

    StackError in a demo's state folder, unless the source is on loopback, as the demo's own are.
    """
    if not _on_loopback(request.url):
        refuse_a_replay(settings)
    delays = settings.retry_seconds
    tries = Retrying(
        stop=stop_after_attempt(len(delays) + 1),
        wait=wait_chain(*(wait_fixed(delay) for delay in delays)),
        retry=retry_if_exception_type(Unexpected),
        reraise=True,
    )
    try:
        return tries(lambda: parse(_get(request)))
    except Unexpected as error:
        tried = f"{len(delays) + 1} times received {error}"
        raise _source_error(request, tried, "run it again later", again=True) from None
    except Refused as error:
        raise _source_error(request, f"received {error}", "correct the key or the request", again=False) from None


def _on_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _get(request: Request) -> bytes:
    key = {"api_key": request.api_key.get_secret_value()} if request.api_key else {}
    try:
        answer = httpx.get(request.url, params={**request.params, **key}, timeout=TIMEOUT)
    except httpx.HTTPError as error:
        raise Unexpected(f"no answer ({type(error).__name__}: {error})") from None
    kind = answer.headers.get("content-type", "no content type")
    what = f"HTTP {answer.status_code} ({kind}, {len(answer.content)} bytes)"
    if 400 <= answer.status_code < 500 and answer.status_code not in ASK_AGAIN:
        raise Refused(f"{what}: {answer.text[:200]}")
    if answer.status_code != httpx.codes.OK:
        raise Unexpected(what)
    if not answer.content:
        raise Unexpected(f"HTTP {answer.status_code} with nothing in it")
    if kind.startswith("text/html"):
        raise Unexpected(f"an HTML page, {what}")
    return answer.content


def _source_error(request: Request, received: str, advice: str, *, again: bool) -> SourceError:
    if request.api_key:
        received = received.replace(request.api_key.get_secret_value(), "***")
    where = urlsplit(request.url)
    error = SourceError(
        f"source {request.source}: expected {request.expected} from {where.netloc}{where.path}, {received}; "
        f"what was loaded before stays; {advice} (`tidemark ingest run {request.source}`)"
    )
    error.retriable = again
    return error
