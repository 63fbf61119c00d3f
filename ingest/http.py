"""One GET to a source, tried again with the listed delays; what is not data becomes a SourceError."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_chain, wait_fixed

from tidemark import secrets
from tidemark.bounded import BeyondBounds
from tidemark.errors import SourceError
from tidemark.home_kind import refuse_a_replay
from tidemark.http import Answer, NoAnswer, ask_now, on_loopback, retry_after
from tidemark.settings import Settings

T = TypeVar("T")

ASK_AGAIN = (408, 429)  # the only 4xx that a later try can change
MOST_WAIT_SECONDS = 300.0  # of one run: who asks for more is asked by a later one


class Unexpected(Exception):
    """The answer is not data, says the message; parse functions raise it too. The request is tried again.

    `wait_seconds` is how long the source asks to be left alone.
    """

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class Refused(Exception):
    """The source understood and refused (4xx), or its answer is beyond a bound: trying again cannot help.

    Args are the message and what to do about it.
    """


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
    if not on_loopback(urlsplit(request.url).hostname or ""):
        refuse_a_replay(settings)
    delays = settings.retry_seconds
    tries = Retrying(
        stop=stop_after_attempt(len(delays) + 1),
        wait=_Wait(*(wait_fixed(delay) for delay in delays)),
        retry=retry_if_exception_type(Unexpected),
        reraise=True,
    )
    try:
        return tries(lambda: _get_and_parse(settings, request, parse))
    except Unexpected as error:
        tried = f"{len(delays) + 1} times received {error}"
        raise _source_error(request, tried, "run it again later", again=True) from None
    except Refused as error:
        received, advice = error.args
        raise _source_error(request, f"received {received}", advice, again=False) from None


class _Wait(wait_chain):
    """The listed delays, or what the source asks for where that is longer."""

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        return max(super().__call__(retry_state), getattr(error, "wait_seconds", 0.0))


def _get_and_parse(settings: Settings, request: Request, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(_get(settings, request))
    except BeyondBounds as error:
        raise Refused(str(error), "allow more if you trust the source") from None


def _get(settings: Settings, request: Request) -> bytes:
    variable = f"TIDEMARK_{request.source.upper()}_API_KEY"
    key = {"api_key": secrets.know(request.api_key.get_secret_value(), variable)} if request.api_key else {}
    try:
        answer = ask_now(settings, request.url, params={**request.params, **key}, hide=secrets.hide)
    except NoAnswer as error:
        if error.retriable:
            raise Unexpected(str(error)) from None
        raise Refused(str(error), "allow more if you trust the source") from None
    _check(answer)
    return answer.body


def _check(answer: Answer) -> None:
    kind, page = answer.headers.get("content-type", "no content type"), answer.html_page()
    what = f"HTTP {answer.status} ({kind}, {len(answer.body)} bytes)"
    if 400 <= answer.status < 500 and answer.status not in ASK_AGAIN:
        raise Refused(f"{what}: {page or answer.start()}", "correct the key or the request")
    wait_seconds = retry_after(answer.headers)
    if wait_seconds > MOST_WAIT_SECONDS:
        raise Refused(f"{what}; it asks to be left alone for {wait_seconds:.0f} s", "run it again after that")
    if answer.status != HTTPStatus.OK:
        raise Unexpected(f"{what}: {page}" if page else what, wait_seconds)
    if not answer.body:
        raise Unexpected(f"HTTP {answer.status} with nothing in it")
    if page or kind.startswith("text/html"):
        raise Unexpected(f"{page or 'an HTML page'}, {what}")


def _source_error(request: Request, received: str, advice: str, *, again: bool) -> SourceError:
    received = secrets.hide(received)
    where = urlsplit(request.url)
    error = SourceError(
        f"source {request.source}: expected {request.expected} from {where.netloc}{where.path}, {received}; "
        f"what was loaded before stays; {advice} (`tidemark ingest run {request.source}`)"
    )
    error.retriable = again
    return error
