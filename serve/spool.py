"""Answers wait here to be sent: read whole, within a limit, so that no slow reader holds a transaction open."""

import asyncio
import hashlib
import io
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve.problems import Problem, busy

IN_MEMORY = 1_000_000  # bytes; a larger answer is in a file without a name, which is gone with its process
CHUNK = 65_536
ALL_ANSWERS = 4  # largest answers that may wait at once, in all


class Spools:
    """What all answers that wait may take together."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self.taken = 0  # bytes in files, of all answers
        self._counting = threading.Lock()  # answers are written by the event loop and by threads

    def take(self, size: int) -> int:
        """Count so many more bytes, or fewer; how many are taken then."""
        with self._counting:
            self.taken += size
            return self.taken

    def new(self) -> "Spool":
        """A spool for one answer, to be closed."""
        return Spool(self)


class Spool:
    """The bytes of one answer. Problem 413 past the limit of one answer, 503 past that of all."""

    def __init__(self, spools: Spools) -> None:
        self._spools = spools
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(spools.folder))  # noqa: SIM115
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes at the end."""
        size = len(data)
        self.size += size
        taken = self._spools.take(size)
        if self.size > self._spools.most_bytes:
            raise Problem(
                413,
                "the answer is too large",
                f"expected an answer of at most {self._spools.most_bytes:,} bytes, found a larger one: ask for fewer "
                "columns, a shorter range or a smaller limit, page by page; Arrow is the smallest",
            )
        if taken > self._spools.most_bytes * ALL_ANSWERS:
            raise busy("expected room for one more answer, others wait to be sent: try again, or ask for less", 5)
        self.file.write(data)

    def another(self) -> "Spool":
        """One more under the same limits."""
        return self._spools.new()

    def etag(self) -> str | None:
        """A digest of a small answer; None of one that is in a file."""
        if self.size > IN_MEMORY:
            return None
        self.file.seek(0)
        return f'"{hashlib.sha256(self.file.read()).hexdigest()[:32]}"'

    def close(self) -> None:
        """Give back what it takes."""
        self._spools.take(-self.size)
        self.size = 0
        self.file.close()


class Sink(io.RawIOBase):
    """A spool as a file that Arrow and its CSV writer write; to close it closes no spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def writable(self) -> bool:
        """As a file."""
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """As a file."""
        self._spool.write(data)
        return len(data)


class SpoolResponse(Response):
    """Sends a spool piece by piece, and closes it whatever happens."""

    def __init__(self, spool: Spool, media_type: str, headers: Mapping[str, str], status_code: int = 200) -> None:
        self.spool = spool
        super().__init__(None, status_code, {**headers, "content-length": str(spool.size)}, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        spool, left = self.spool, self.spool.size
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            spool.file.seek(0)
            while left > 0:
                chunk = spool.file.read(CHUNK)
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
                await asyncio.sleep(0)  # whoever has gone waits for nothing: others have their turn
            if spool.size == 0:
                await send({"type": "http.response.body", "body": b""})
        finally:
            spool.close()
