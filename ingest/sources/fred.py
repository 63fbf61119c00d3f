"""Federal Reserve Bank of St. Louis (FRED): series and their observations, as the API gives them today.

An observation as it comes; a missing value is a point, and `series_id` is added from the request:

    {"realtime_start":"2024-10-30","realtime_end":"2024-10-30","date":"1947-01-01","value":"243.164"}

A revision comes as the same date with another value in a later load; the history is computed from the loads.
"""

from collections.abc import Iterator
from functools import partial

from msgspec import Raw, Struct

from ingest.http import Request, Unexpected, fetch
from ingest.sources import Answer, Resource, Row
from ingest.values import text_row
from tidemark.bounded import BYTES_A_VALUE, MOST_BYTES, VARIABLE, BeyondBounds, json_value
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings

SERIES = ("GDP", "CPILFESL", "WGS10YR")
PAGE = 100_000  # the most that one request may ask for


class Observations(Struct):
    """One page: `count` is the number of observations in all pages."""

    count: int
    observations: list[dict[str, Raw]]


class SeriesList(Struct):
    """The answer to a question for one series; the field's name is FRED's own."""

    seriess: list[dict[str, Raw]]


def parse_observations(body: bytes, offset: int = 0, most_bytes: int = MOST_BYTES) -> tuple[int, list[Row]]:
    """How many observations there are in all pages, and those of the page at `offset`. BeyondBounds if too many."""
    try:
        page = json_value(body, most_bytes, Observations)
        rows = [text_row(record) for record in page.observations]
    except BeyondBounds:
        raise
    except ValueError as error:
        raise Unexpected(f"{len(body)} bytes that are no page of observations ({error})") from None
    if page.count > most_bytes // BYTES_A_VALUE:
        raise BeyondBounds(f"a count of {page.count:,} observations ({VARIABLE} allows one for {BYTES_A_VALUE} bytes)")
    if len(rows) < min(PAGE, page.count - offset):  # else a page of one for ever
        raise Unexpected(f"a page of {len(rows)} at {offset} of {page.count}")
    return page.count, rows


def parse_series(body: bytes, most_bytes: int = MOST_BYTES) -> list[Row]:
    """What describes one series: title, units, frequency, .. BeyondBounds if too much."""
    try:
        return [text_row(record) for record in json_value(body, most_bytes, SeriesList).seriess]
    except BeyondBounds:
        raise
    except ValueError as error:
        raise Unexpected(f"{len(body)} bytes that are no list of series ({error})") from None


def _request(settings: Settings, path: str, expected: str, **params: str | int) -> Request:
    if settings.fred_api_key is None:
        raise ConfigurationError(
            "TIDEMARK_FRED_API_KEY: expected an API key (free at fred.stlouisfed.org), none is set"
        )
    url = settings.fred_url.rstrip("/") + path
    return Request("fred", url, expected, {**params, "file_type": "json"}, settings.fred_api_key)


def _observations_of(settings: Settings, series_id: str) -> list[Row]:
    rows: list[Row] = []
    count = 1
    while len(rows) < count:
        request = _request(
            settings,
            "/fred/series/observations",
            f"observations of {series_id} as JSON",
            series_id=series_id,
            limit=PAGE,
            offset=len(rows),
        )
        parse = partial(parse_observations, offset=len(rows), most_bytes=settings.http_bytes)
        count, page = fetch(settings, request, parse)
        rows += ({"series_id": series_id, **row} for row in page)
    return rows


def observations(settings: Settings) -> Iterator[Answer]:
    """One answer a series: all its observations as they are known today."""
    for series_id in SERIES:
        yield Answer(series_id, _observations_of(settings, series_id))


def series(settings: Settings) -> Iterator[Answer]:
    """One answer a series: its description."""
    for series_id in SERIES:
        request = _request(settings, "/fred/series", f"the series {series_id} as JSON", series_id=series_id)
        yield Answer(series_id, fetch(settings, request, partial(parse_series, most_bytes=settings.http_bytes)))


RESOURCES = (
    Resource("series", "reference", series),
    Resource("observations", "economic_event_numeric", observations),
)
