"""What the polling kinds share: one request, as long as its entry says, and its time."""

import time
from typing import Any

from httpx import AsyncClient

from stream_shim.connectors.entries import HttpSource, PollSource
from tidemark.errors import SourceError
from tidemark.http import Answer, NoAnswer, ask, moment, retry_after
from tidemark.secrets import hide
from tidemark.settings import Settings


async def get(  # noqa: PLR0917 - who asks, then what
    http: AsyncClient, settings: Settings, source: HttpSource, url: str, headers: dict[str, str], posted: Any = None
) -> Answer:
    """The answer, 200 or 304; anything else is a SourceError. It never shows the URL's query, which may hold a key.

    What is `posted`, if anything, goes as JSON.
    """
    allows_more = f"{source.name}.timeout_seconds in {settings.sources_file.name}"
    try:
        answer = await ask(
            http, settings, url, method="GET" if posted is None else "POST", headers=headers, json=posted,
            seconds=source.timeout_seconds, seconds_by=allows_more, hide=hide,
        )  # fmt: skip
    except NoAnswer as error:
        raise SourceError(f"{source.name}: expected an answer, received {error}") from None
    place, page = answer.place, answer.html_page()
    if answer.status not in (200, 304):
        said = hide(page or repr(answer.start()))
        wait_seconds = retry_after(answer.headers)
        asked = f"; it asks to be left alone for {wait_seconds:.0f} s" if wait_seconds else ""
        raise SourceError(
            f"{source.name}: expected HTTP 200 from {place}, received {answer.status}: {said}{asked}", wait_seconds
        )
    if page and not _is_wanted(source):
        wanted = getattr(source, "format", "an RSS or Atom feed")
        raise SourceError(f"{source.name}: expected {wanted} from {place}, received {hide(page)}")
    return answer


def _is_wanted(source: HttpSource) -> bool:
    """An entry may name a path in an HTML page that is XML too."""
    return isinstance(source, PollSource) and source.format == "xml" and source.records.startswith("html.")


def date_ms(answer: Answer) -> int:
    """The time of a poll: the answer's Date header, else now, in milliseconds since 1970 UTC."""
    at = moment(answer.headers.get("date", ""))
    return int((time.time() if at is None else at) * 1000)
