"""SEC EDGAR on loopback: the Atom feed of current filings, poll by poll.

Each request of the first page (`start=0`) brings the next recorded poll, until the last one, which stays; the other
pages belong to the poll that the first page brought last. A page that was not recorded is answered as the recorded one
beyond the end was: 503.
"""

import csv
import gzip
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from loopback.http import answer
from loopback.source_server import SourceServer

FOLDER = "sec_edgar"
PATH = "/cgi-bin/browse-edgar"
_POLL_GAP = timedelta(seconds=5)  # pages of one poll were fetched within a second or two of each other
_LAST_POLL = datetime(2025, 12, 13, tzinfo=UTC)  # one of another month is in the recordings as well
_FIXED = {"action": "getcurrent", "output": "atom", "type": "", "owner": "include", "company": "", "CIK": ""}


@dataclass
class Poll:
    """One recorded poll: the feed's own clock (UTC), and its pages by `start`."""

    at: datetime
    pages: dict[int, bytes] = field(default_factory=dict)


def read_polls(folder: Path) -> list[Poll]:
    """The polls of 2025-12-12 in order, as index.tsv lists them (file, request_url, feed_updated, ..).

    The index may list pages whose file is not in the folder: they count as not recorded.
    """
    polls: list[Poll] = []
    with (folder / "index.tsv").open(encoding="utf-8") as index:
        rows = csv.DictReader(index, delimiter="\t")
        listed = [row for row in rows if row["feed_updated"] != "-" and (folder / row["file"]).exists()]
    for row in sorted(listed, key=lambda one: one["feed_updated"]):
        at = datetime.fromisoformat(row["feed_updated"]).astimezone(UTC)
        if at >= _LAST_POLL:
            continue
        if not polls or at - polls[-1].at > _POLL_GAP:
            polls.append(Poll(at))
        start = int(parse_qs(urlsplit(row["request_url"]).query)["start"][0])
        polls[-1].pages[start] = gzip.decompress((folder / row["file"]).read_bytes())
    return polls


class EdgarServer(SourceServer):
    """Serves the polls in order; `polls_served` first pages went out (304 included)."""

    name: ClassVar[str] = "sec_edgar"

    def __init__(self, recordings: Path) -> None:
        super().__init__(recordings)
        folder = recordings / FOLDER
        self.polls = read_polls(folder)
        self.polls_served = 0
        self.refusal = (folder / "rate-exceeded.html").read_bytes()
        self.beyond = gzip.decompress(next(folder.glob("*HTTP503*.gz")).read_bytes())

    @property
    def exhausted(self) -> bool:
        return self.polls_served >= len(self.polls)

    def status(self) -> dict[str, object]:
        return super().status() | {"polls_served": self.polls_served, "polls": len(self.polls)}

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get(PATH, self._current)]

    async def _current(self, request: web.Request) -> web.Response:
        if "@" not in request.headers.get("User-Agent", ""):  # who calls, with an address: the rule of the house
            return web.Response(status=403, body=self.refusal, content_type="text/html")
        start, count = request.query.get("start", "0"), request.query.get("count", "100")
        fixed = all(request.query.get(name, value) == value for name, value in _FIXED.items())
        if "output" not in request.query or not fixed or not start.isdecimal() or count != "100":
            return self._unavailable()
        if int(start) == 0:
            self.polls_served += 1
        poll = self.polls[min(max(self.polls_served, 1), len(self.polls)) - 1]
        page = poll.pages.get(int(start))
        return self._unavailable() if page is None else answer(request, page, "application/atom+xml", date=poll.at)

    def _unavailable(self) -> web.Response:
        return web.Response(status=503, body=self.beyond, content_type="text/html")
