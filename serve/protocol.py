"""HTTP on the wire: uvicorn's own protocol, which in addition ends whoever keeps it waiting."""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0  # from the first byte of a request to the last of its head
MOST_HEAD = 65_536  # bytes
ENDLESS = ("/v1/stream",)  # not waited for when the server ends

_BUSY = {
    "type": "urn:tidemark:problem:too-many-connections",
    "title": "too many connections",
    "status": 503,
    "detail": "expected fewer open connections of clients, found as many as TIDEMARK_API_CLIENTS allows: try again",
}
_LONG = {
    "type": "urn:tidemark:problem:the-request-is-too-long",
    "title": "the request is too long",
    "status": 431,
    "detail": f"expected a request whose line and headers have at most {MOST_HEAD} bytes, received more",
}


def patient(slow_seconds: float, most_clients: int) -> type[HttpToolsProtocol]:
    """The protocol for so many connections, each of which must take what waits for it within so many seconds."""

    class Patient(HttpToolsProtocol):
        """uvicorn's, with limits."""

        _head: asyncio.TimerHandle | None = None
        _unsent: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most_clients:
                self._refuse(_BUSY, "Retry-After: 2\r\n")
            else:
                self._await_head()

        def _refuse(self, problem: dict[str, Any], headers: str = "") -> None:
            body = json.dumps(problem).encode()
            reason = {431: "Request Header Fields Too Large", 503: "Service Unavailable"}[problem["status"]]
            head = (
                f"HTTP/1.1 {problem['status']} {reason}\r\ncontent-type: application/problem+json\r\n{headers}"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self._close()

        def _await_head(self) -> None:
            self._head_bytes = 0
            self._stop(self._head)
            self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

        @staticmethod
        def _stop(timer: asyncio.TimerHandle | None) -> None:
            if timer is not None:
                timer.cancel()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            self._head_bytes += len(data)
            super().data_received(data)
            if self._head_bytes > MOST_HEAD and not self.transport.is_closing():
                self._refuse(_LONG)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._stop(self._head)
            self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

        def on_headers_complete(self) -> None:
            self._stop(self._head)
            self._head_bytes = 0
            super().on_headers_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stop(self._unsent)
            self._unsent = self.loop.call_later(slow_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop(self._unsent)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._close_in_time()

        def _close_in_time(self) -> None:
            """What is left of an answer is taken in time too, whether or not the connection is to go on."""
            if self.transport.get_write_buffer_size():
                self._stop(self._unsent)
                self._unsent = self.loop.call_later(slow_seconds, self._abort_unsent)

        def _abort_unsent(self) -> None:
            if self.transport.get_write_buffer_size():
                self.transport.abort()

        def _close(self) -> None:
            self._stop(self._head)
            self.transport.close()
            self._close_in_time()

        def shutdown(self) -> None:
            super().shutdown()
            if self.cycle is not None and not self.cycle.response_complete and self.scope["path"] in ENDLESS:
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop(self._head)
            self._stop(self._unsent)
            super().connection_lost(exc)

    return Patient
