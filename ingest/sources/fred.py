"""Federal Reserve Bank of St. Louis (FRED): series, and the whole history of what was known of their observations.

An observation as it comes; a missing value is a point, and `series_id` is added from the request:

    {"realtime_start":"2024-10-30","realtime_end":"9999-12-31","date":"2024-07-01","value":"29349.924"}

It was the known value from `realtime_start` to `realtime_end`, both inclusive; 9999-12-31 is not known to end. The
first load has all vintages. A later one asks from the newest vintage of the last on: what held before is cut to begin
there.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial

from msgspec import Raw, Struct

from ingest.http import Request, Unexpected, fetch
from ingest.sources import Answer, Resource, Row
from ingest.values import text_row
from ingest.vintages import FIRST, LAST, Period, joined, periods, standing
from tidemark import typed_yaml
from tidemark.bounded import BYTES_A_VALUE, MOST_BYTES, VARIABLE, BeyondBounds, json_value
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings
from tidemark.typed_yaml import WrongValue

PAGE = 100_000  # the most observations that one request may ask for
PAGE_OF_DATES = 10_000
VINTAGES = 1_999  # one fewer than a request may reach over: one may be published between two questions


class Series(Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says of a series: the first day of the vintages that are loaded, by default all."""

    since: date | None = None


class Observations(Struct):
    """One page: `count` is the number of observations in all pages."""

    count: int
    observations: list[dict[str, Raw]]


class VintageDates(Struct):
    """One page of the days on which the series changed: `count` is their number in all pages."""

    count: int
    vintage_dates: list[str]


class SeriesList(Struct):
    """The answer to a question for one series; the field's name is FRED's own."""

    seriess: list[dict[str, Raw]]


def series_of_file(settings: Settings) -> dict[str, Series]:
    """The series by name. ConfigurationError where the file is missing, wrong or empty."""
    path = settings.fred_series_file

    def check(entries: dict[str, Series]) -> None:
        for name in entries:
            typed_yaml.check_name(name)
        if not entries:
            raise WrongValue("expected a series such as `GDP: {}`, received none")

    return typed_yaml.read(path, Series, check)


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
    for row in rows:
        if missing := {"realtime_start", "realtime_end", "date", "value"} - row.keys():
            raise Unexpected(f"an observation without {sorted(missing)[0]}: {str(row)[:100]}")
    return page.count, rows


def parse_vintage_dates(body: bytes, offset: int = 0, most_bytes: int = MOST_BYTES) -> tuple[int, list[str]]:
    """How many vintage dates there are in all pages, and those of the page at `offset`. BeyondBounds if too many."""
    try:
        page = json_value(body, most_bytes, VintageDates)
        rising = [date.fromisoformat(day) for day in page.vintage_dates]
    except BeyondBounds:
        raise
    except ValueError as error:
        raise Unexpected(f"{len(body)} bytes that are no page of vintage dates ({error})") from None
    if page.count > most_bytes // BYTES_A_VALUE:
        raise BeyondBounds(f"a count of {page.count:,} vintage dates ({VARIABLE} allows one for {BYTES_A_VALUE} bytes)")
    if not page.count or rising != sorted(set(rising)):
        raise Unexpected(f"{page.count} vintage dates, expected one at least, each later than the one before")
    if len(rising) < min(PAGE_OF_DATES, page.count - offset):
        raise Unexpected(f"a page of {len(rising)} at {offset} of {page.count}")
    return page.count, page.vintage_dates


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


def _vintage_dates_of(settings: Settings, series_id: str, first: str) -> list[str]:
    dates: list[str] = []
    count = 1
    while len(dates) < count:
        request = _request(
            settings,
            "/fred/series/vintagedates",
            f"vintage dates of {series_id} as JSON",
            series_id=series_id,
            realtime_start=first,
            realtime_end=LAST,
            limit=PAGE_OF_DATES,
            offset=len(dates),
        )
        parse = partial(parse_vintage_dates, offset=len(dates), most_bytes=settings.http_bytes)
        count, page = fetch(settings, request, parse)
        dates += page
    return dates


def _observations_of(settings: Settings, series_id: str, period: Period) -> list[Row]:
    rows: list[Row] = []
    count = 1
    while len(rows) < count:
        request = _request(
            settings,
            "/fred/series/observations",
            f"observations of {series_id} as JSON",
            series_id=series_id,
            realtime_start=period[0],
            realtime_end=period[1],
            limit=PAGE,
            offset=len(rows),
        )
        parse = partial(parse_observations, offset=len(rows), most_bytes=settings.http_bytes)
        count, page = fetch(settings, request, parse)
        rows += ({"series_id": series_id, **row} for row in page)
    return rows


def observations(settings: Settings, reached: Mapping[str, str]) -> Iterator[Answer]:
    """One answer a series: all its vintages, or those from the newest that the lake has on."""
    for series_id, entry in series_of_file(settings).items():
        key = f"{series_id} since {entry.since}" if entry.since else series_id
        first = reached.get(key) or (entry.since.isoformat() if entry.since else FIRST)
        dates = _vintage_dates_of(settings, series_id, first)
        pieces = [(period, _observations_of(settings, series_id, period)) for period in periods(dates, first, VINTAGES)]
        rows = joined(pieces)
        yield Answer(key, rows, known_by=standing(rows, dates[-1]), reached=dates[-1])


def series(settings: Settings, _: Mapping[str, str]) -> Iterator[Answer]:
    """One answer a series: its description."""
    for series_id in series_of_file(settings):
        request = _request(settings, "/fred/series", f"the series {series_id} as JSON", series_id=series_id)
        yield Answer(series_id, fetch(settings, request, partial(parse_series, most_bytes=settings.http_bytes)))


RESOURCES = (
    Resource("series", "reference", series),
    Resource("observations", "economic_event_numeric", observations),
)
