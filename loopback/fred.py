"""FRED on loopback: /fred/.. as recorded twice; the first recording is served until `next()` switches to the second.

One recorded observation: `{"realtime_start":"2024-10-30","realtime_end":"2024-10-30","date":"1946-01-01","value":"."}`.
"""

import csv
import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from loopback import vintages
from loopback.http import answer
from loopback.source_server import SourceServer
from loopback.vintages import FIRST, LAST

FOLDER = "fred_api"
_READ_API_KEY = "Read https://fred.stlouisfed.org/docs/api/api_key.html for more information."
_WINDOW = {"observation_start", "observation_end", "limit", "offset", "sort_order"}  # of recorded rows, none recomputed
_KNOWN = _WINDOW | {"api_key", "file_type", "series_id", "release_id", "realtime_start", "realtime_end", "output_type"}
_NUMBERS = {"limit": range(1, 100_001), "offset": range(1_000_000_000)}
_VALID_KEY_LENGTH = 32
_MOST_VINTAGES = 2_000  # that one request for observations may reach over
_OBSERVATIONS, _VINTAGE_DATES = "/fred/series/observations", "/fred/series/vintagedates"


@dataclass(frozen=True)
class Recorded:
    """One recorded answer: path, query without key and format, the response's clock (UTC), body, its list's name."""

    path: str
    query: frozenset[tuple[str, str]]
    date: datetime
    body: bytes
    list_key: str


def read_recordings(folder: Path) -> list[dict[tuple[str, frozenset[tuple[str, str]]], Recorded]]:
    """The recordings in order of time, each by (path, query), as index.tsv lists them."""
    found: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], Recorded]] = {}
    with (folder / "index.tsv").open(encoding="utf-8") as index:
        for row in csv.DictReader(index, delimiter="\t"):
            url = urlsplit(row["request_url(api_key stripped by upstream)"])
            query = frozenset(pair for pair in parse_qsl(url.query) if pair[0] != "file_type")
            date = parsedate_to_datetime(row["response_date"])
            body = gzip.decompress((folder / row["file"]).read_bytes())
            one = Recorded(url.path, query, date, body, row["list_key"])
            found.setdefault(date.strftime("%Y%m%d"), {})[url.path, query] = one
    return [found[day] for day in sorted(found)]


def windowed(recorded: Recorded, query: Mapping[str, str]) -> bytes:
    """The recorded body with the rows that the query asks for; the body's own bytes where it asks for all."""
    if not _WINDOW & set(query):
        return recorded.body
    body = json.loads(recorded.body)
    first, last = query.get("observation_start", "0000"), query.get("observation_end", LAST)
    rows = [row for row in body[recorded.list_key] if isinstance(row, str) or first <= row.get("date", first) <= last]
    if query.get("sort_order") == "desc":
        rows.reverse()
    offset, limit = int(query.get("offset", 0)), int(query.get("limit", 100_000))
    echoed = {key: int(query[key]) if key in _NUMBERS else query[key] for key in _WINDOW & set(query)}
    page = {"count": len(rows), recorded.list_key: rows[offset : offset + limit]}
    return json.dumps(body | echoed | page, separators=(",", ":")).encode()


def key_refusal(key: str | None) -> str | None:
    """What FRED says about a key that is missing or malformed."""
    if not key:
        return f"Variable api_key is not set.  {_READ_API_KEY}"
    if len(key) != _VALID_KEY_LENGTH or not key.isalnum() or key.lower() != key:
        return f"The value for variable api_key is not a 32 character alpha-numeric lower-case string.  {_READ_API_KEY}"
    return None


class FredServer(SourceServer):
    """Serves one recording at a time; `served` says which requests had data."""

    name: ClassVar[str] = "fred"

    def __init__(self, recordings: Path) -> None:
        super().__init__(recordings)
        self.recorded = read_recordings(recordings / FOLDER)
        self.recording = 0
        self.served: dict[str, int] = {}  # `GDP@0` (series and recording) to answers with observations

    @property
    def exhausted(self) -> bool:
        """Whether the last recording was served to somebody."""
        return any(name.endswith(f"@{len(self.recorded) - 1}") for name in self.served)

    def status(self) -> dict[str, object]:
        return super().status() | {"recording": self.recording, "recordings": len(self.recorded), "served": self.served}

    def next(self) -> None:
        self.recording = min(self.recording + 1, len(self.recorded) - 1)

    def routes(self) -> Iterable[web.RouteDef]:
        paths = {recorded.path for recording in self.recorded for recorded in recording.values()}
        return [web.get(path, self._get) for path in sorted(paths | {_VINTAGE_DATES})]

    async def _get(self, request: web.Request) -> web.Response:
        reason = key_refusal(request.query.get("api_key")) or self._refusal(request)
        if reason is not None:
            body = {"error_code": 400, "error_message": f"Bad Request.  {reason}"}
            return web.json_response(body, status=400)
        kept = frozenset(pair for pair in request.query.items() if pair[0] not in _WINDOW | {"api_key", "file_type"})
        computed = self._computed(request.path, dict(kept))
        if isinstance(computed, str):
            return web.json_response({"error_code": 400, "error_message": f"Bad Request.  {computed}"}, status=400)
        recorded = self.recorded[self.recording].get((request.path, kept)) or computed
        if recorded is None:
            body = {"error_code": 400, "error_message": "Bad Request.  The series does not exist."}
            return web.json_response(body, status=400)
        if recorded.list_key == "observations":
            name = f"{request.query['series_id']}@{self.recording}"
            self.served[name] = self.served.get(name, 0) + 1
        return answer(request, windowed(recorded, request.query), "application/json; charset=UTF-8", date=recorded.date)

    def _computed(self, path: str, query: dict[str, str]) -> Recorded | str | None:
        """What FRED answers of a real-time period, recorded or not: a body, a refusal, or nothing."""
        today = self._of_day(self.recording, query.get("series_id", ""))
        if today is None or path not in (_OBSERVATIONS, _VINTAGE_DATES) or "output_type" in query:
            return None
        if path == _OBSERVATIONS and not {"realtime_start", "realtime_end"} & set(query):
            return None
        first, last = query.get("realtime_start", FIRST), query.get("realtime_end", LAST)
        history = self._vintages(query["series_id"])
        dates = vintages.dates(history, first, last)
        if path == _OBSERVATIONS and len(dates) > _MOST_VINTAGES:
            return (
                f"There are {len(dates)} vintage dates in the specified real-time period: {first} to {last}.  "
                f"This exceeds the maximum number of vintage dates allowed ({_MOST_VINTAGES})."
            )
        key = "vintage_dates" if path == _VINTAGE_DATES else today.list_key
        rows = dates if path == _VINTAGE_DATES else vintages.cut(history, first, last)
        body = {"realtime_start": first, "realtime_end": last, "count": len(rows), key: rows}
        encoded = json.dumps(body, separators=(",", ":")).encode()
        return Recorded(path, frozenset(query.items()), today.date, encoded, key)

    def _of_day(self, recording: int, series: str) -> Recorded | None:
        return self.recorded[recording].get((_OBSERVATIONS, frozenset({("series_id", series)})))

    def _vintages(self, series: str) -> list[vintages.Row]:
        every = {("series_id", series), ("realtime_start", FIRST), ("realtime_end", LAST)}
        whole = self.recorded[self.recording].get((_OBSERVATIONS, frozenset(every)))
        if whole is not None:
            rows: list[vintages.Row] = json.loads(whole.body)[whole.list_key]
            return rows
        days = (self._of_day(recording, series) for recording in range(self.recording + 1))
        return vintages.of_days([json.loads(day.body)[day.list_key] for day in days if day is not None])

    def _refusal(self, request: web.Request) -> str | None:
        unknown = sorted(set(request.query) - _KNOWN)
        if unknown:
            return f"Variable {unknown[0]} is not one of the request's variables."
        if request.query.get("file_type") != "json":  # the default is XML, of which nothing is recorded
            return "The value for variable file_type is not json, and this replay has recorded nothing else."
        for name in sorted(set(_NUMBERS) & set(request.query)):
            if not request.query[name].isdecimal() or int(request.query[name]) not in _NUMBERS[name]:
                return f"Variable {name} is not within its range."
        if request.path.startswith("/fred/series") and not request.query.get("series_id"):
            return "Variable series_id is not set."
        return None
