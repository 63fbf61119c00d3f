"""European Central Bank: the euro's daily reference rates, the whole history as one zipped CSV.

The CSV as it comes; N/A is the bank's own word for no rate, and the header ends in a comma:

    Date,USD,JPY,BGN,..,ZAR,
    2026-10-30,1.1172,175.68,N/A,..,18.6455,
"""

import csv
import io
from collections.abc import Iterator, Mapping
from functools import partial

from ingest.http import Request, Unexpected, fetch
from ingest.sources import Answer, Resource, Row
from tidemark.bounded import MOST_BYTES, BeyondBounds, csv_text, unzipped
from tidemark.settings import Settings

PATH = "/stats/eurofxref/eurofxref-hist.zip"


def parse(body: bytes, most_bytes: int = MOST_BYTES) -> list[Row]:
    """One row per day, newest first as sent, every cell as its text. BeyondBounds where it is too much."""
    try:
        text = csv_text(unzipped(body, most_bytes), most_bytes)
        header, *lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line] or [[]]
    except BeyondBounds:
        raise
    except (ValueError, csv.Error) as error:
        raise Unexpected(f"{len(body)} bytes that are no zip of one UTF-8 CSV ({error})") from None
    if not lines or header[0] != "Date":
        raise Unexpected(f"a CSV that begins with {text[:40]!r}")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise Unexpected(f"{len(line)} cells in line {number} under a header of {len(header)}")
    return _rows(header, lines)


def _rows(header: list[str], lines: list[list[str]]) -> list[Row]:
    """A column with neither name nor value is left out; one with values is named by its position."""
    kept = [at for at, name in enumerate(header) if name or any(line[at] for line in lines)]
    columns = {at: header[at] or f"column_{at + 1}" for at in kept}
    if len(set(columns.values())) != len(columns):
        raise Unexpected(f"a header that names a column twice: {','.join(header)}")
    return [{name: line[at] for at, name in columns.items()} for line in lines]


def reference_rates(settings: Settings, _: Mapping[str, str]) -> Iterator[Answer]:
    """The whole history in one answer."""
    url = settings.ecb_url.rstrip("/") + PATH
    request = Request("ecb", url, "a zip of one CSV that begins with Date")
    yield Answer("eurofxref-hist", fetch(settings, request, partial(parse, most_bytes=settings.http_bytes)))


RESOURCES = (Resource("reference_rates", "economic_event_numeric", reference_rates),)
