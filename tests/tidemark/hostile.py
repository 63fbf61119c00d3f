"""A source on loopback that sends more, slower or otherwise than it should."""

import gzip
import io
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.serving import in_a_thread

MIB = 1024 * 1024


@dataclass
class Hostile:
    """`port` on every name of loopback; `asked` lists path with query and headers of every request so far."""

    port: int = 0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Where the path is."""
        return f"http://{host}:{self.port}{path}"


def gzip_of_zeros(blocks: int) -> bytes:
    """So many times 16 MiB of zeros as one gzip member, without its end: 16 kB a block."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflate.compress(bytes(16 * MIB)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + block * blocks


def zip_of_zeros(size: int, declared: int) -> bytes:
    """A zip of one file of zeros whose directory declares another size."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("eurofxref-hist.csv", bytes(size))
    return packed.getvalue().replace(struct.pack("<L", size), struct.pack("<L", declared))


Answer = Callable[["Handler"], object]


class Server(ThreadingHTTPServer):
    """One address; every request is noted in `hostile` and answered by its path."""

    def __init__(self, hostile: Hostile, answers: dict[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hostile, self.answers = hostile, answers


class Handler(BaseHTTPRequestHandler):
    """One request; `answers` of its server say what comes."""

    server: Server

    def do_GET(self) -> None:
        self.server.hostile.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        try:
            self.server.answers[urlsplit(self.path).path](self)
        except OSError:
            self.close_connection = True  # the client had enough

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def begin(self, status: int = 200, /, **headers: str) -> None:
        """Status line and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, body: bytes, **headers: str) -> None:
        """A whole answer."""
        self.begin(Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def drip(self, part: bytes, seconds: float) -> None:
        """The part again and again until the test is over."""
        while not self.server.hostile.stopped.wait(seconds):
            self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest shows what matters."""


@contextmanager
def serving(answers: dict[str, Answer]) -> Iterator[Hostile]:
    """These answers by path, for the time of the block."""
    hostile = Hostile()
    server = Server(hostile, answers)
    hostile.port = server.server_address[1]
    with in_a_thread(server):
        try:
            yield hostile
        finally:
            hostile.stopped.set()
