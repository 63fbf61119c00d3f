"""A server of `socketserver` on loopback, in a thread, for as long as a block lasts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer
from typing import TypeVar

Served = TypeVar("Served", bound=BaseServer)


@contextmanager
def in_a_thread(server: Served) -> Iterator[Served]:
    """It serves from here on, and is closed afterwards; a test that fails leaves no thread behind."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
