"""What the polling kinds share: one GET with back-off, and its time."""

import email.utils
import logging
import time

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_chain,
    wait_fixed,
)

from tidemark.errors import SourceError
from tidemark.settings import Settings

log = logging.getLogger("tidemark.connector")


class _NotYet(SourceError):
    """An answer that may be another one next time."""


async def get(
    client: httpx.AsyncClient, settings: Settings, source: str, url: str, headers: dict[str, str]
) -> httpx.Response:
    """The response, 200 or 304, retried with back-off; SourceError never shows the URL: it may hold a key."""

    async def once() -> httpx.Response:
        try:
            response = await client.get(url, headers=headers, follow_redirects=True)
        except httpx.HTTPError as error:
            raise _NotYet(f"{source}: expected an answer, received {type(error).__name__}") from None
        if response.status_code in (429, 500, 502, 503, 504):
            raise _NotYet(f"{source}: expected HTTP 200, received {response.status_code}")
        if response.status_code not in (200, 304):
            raise SourceError(f"{source}: expected HTTP 200, received {response.status_code}: {response.text[:200]}")
        return response

    waits = [wait_fixed(seconds) for seconds in settings.retry_seconds]
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_NotYet),
        wait=wait_chain(*waits),
        stop=stop_after_attempt(len(waits) + 1),
        reraise=True,
        before_sleep=_say,
    )
    response: httpx.Response = await retrying(once)
    return response


def _say(state: RetryCallState) -> None:
    if state.outcome is not None:
        log.warning("%s; trying again", state.outcome.exception())


def date_ms(response: httpx.Response) -> int:
    """The time of a poll: the response's Date header, else now, in milliseconds since 1970 UTC."""
    header = response.headers.get("date")
    if header is None:
        return int(time.time() * 1000)
    return int(email.utils.parsedate_to_datetime(header).timestamp() * 1000)
