"""A source on loopback that answers as a test says, and remembers what it was asked."""

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from tests.serving import in_a_thread

Query = dict[str, str]


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    body: bytes
    status: int = 200
    kind: str = "application/json"


@dataclass
class Source:
    """`answer` gets path and query; `asked` lists both of every request so far."""

    answer: Callable[[str, Query], Reply]
    url: str = ""
    asked: list[tuple[str, Query]] = field(default_factory=list)


@contextmanager
def serving(answer: Callable[[str, Query], Reply]) -> Iterator[Source]:
    """A server for the time of the block; `answer` of what it gives may be replaced meanwhile."""
    source = Source(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = dict(parse_qsl(address.query))
            source.asked.append((address.path, query))
            reply = source.answer(address.path, query)
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what matters."""

    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        source.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield source


def zipped(text: str) -> Reply:
    """A zip of one CSV, as the ECB sends it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("eurofxref-hist.csv", text)
    return Reply(packed.getvalue(), kind="application/zip")
