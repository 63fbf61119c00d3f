"""The ECB on loopback: the euro reference rates' history (a zip of one CSV), the last day's XML and the press RSS."""

import gzip
from collections.abc import Iterable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import ClassVar
from zipfile import ZipFile

from aiohttp import web

from loopback.http import answer
from loopback.source_server import SourceServer

FOLDER = "ecb"
HISTORY = "/stats/eurofxref/eurofxref-hist.zip"


def _packed_at(history: bytes) -> datetime:
    with ZipFile(BytesIO(history)) as packed:
        return datetime(*packed.infolist()[0].date_time, tzinfo=UTC)


def _found(folder: Path, pattern: str) -> bytes | None:
    path = next(iter(sorted(folder.glob(pattern))), None)
    if path is None:
        return None
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


class EcbServer(SourceServer):
    """Serves the files as they are; what the folder lacks is 404."""

    name: ClassVar[str] = "ecb"

    def __init__(self, recordings: Path) -> None:
        super().__init__(recordings)
        folder = recordings / FOLDER
        self.history = (folder / "eurofxref-hist.zip").read_bytes()
        self.modified = _packed_at(self.history)
        others = {
            "/stats/eurofxref/eurofxref-daily.xml": (_found(folder, "eurofxref-daily_*.xml"), "text/xml"),
            "/rss/press.html": (_found(folder, "press_rss_*.xml.gz"), "application/rss+xml"),
        }
        self.files = {path: (body, kind) for path, (body, kind) in others.items() if body is not None}
        self.served = 0

    @property
    def exhausted(self) -> bool:
        return self.served > 0

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.get(HISTORY, self._history), *(web.get(path, self._file) for path in self.files)]

    async def _history(self, request: web.Request) -> web.Response:
        self.served += 1
        return answer(request, self.history, "application/zip", modified=self.modified)

    async def _file(self, request: web.Request) -> web.Response:
        body, content_type = self.files[request.path]
        return answer(request, body, content_type)
