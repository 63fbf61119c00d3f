"""What the polling kinds share: one GET, its time, and a client that waits no longer than the entry says."""

import asyncio
import email.utils
import time

import httpx

from stream_shim.config import HttpSource, hide
from tidemark.errors import SourceError

MOST_WAIT_SECONDS = 3600.0


async def get(client: httpx.AsyncClient, source: HttpSource, url: str, headers: dict[str, str]) -> httpx.Response:
    """The response, 200 or 304; anything else is a SourceError. It never shows the URL, which may hold a key."""
    try:
        async with asyncio.timeout(source.timeout_seconds):
            response = await client.get(url, headers=headers, follow_redirects=True, timeout=source.timeout_seconds)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise SourceError(f"{source.name}: expected an answer, received {type(error).__name__}") from None
    if response.status_code not in (200, 304):
        said = hide(response.text[:200])
        raise SourceError(
            f"{source.name}: expected HTTP 200, received {response.status_code}: {said!r}", _retry_after(response)
        )
    return response


def _retry_after(response: httpx.Response) -> float:
    """The seconds of a Retry-After header; one that is a date is rare, and the usual back-off serves it."""
    asked = response.headers.get("retry-after", "")
    return min(float(asked), MOST_WAIT_SECONDS) if asked.isdecimal() else 0.0


def date_ms(response: httpx.Response) -> int:
    """The time of a poll: the response's Date header, else now, in milliseconds since 1970 UTC."""
    try:
        return int(email.utils.parsedate_to_datetime(response.headers["date"]).timestamp() * 1000)
    except (KeyError, ValueError):
        return int(time.time() * 1000)
