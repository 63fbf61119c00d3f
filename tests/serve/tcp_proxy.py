"""A loopback proxy between the API and a database, which can hold what is sent to the database."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class HoldingProxy:
    """Passes bytes on in both directions; while it holds, nothing reaches the database."""

    def __init__(self, port: int) -> None:
        self._database = port
        self._passing, self.was_asked = threading.Event(), threading.Event()
        self._passing.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = [self._server]

    def hold(self) -> None:
        """From now on nothing is passed to the database; `was_asked` is set when something waits."""
        self.was_asked.clear()
        self._passing.clear()

    def release(self) -> None:
        """What waited goes on."""
        self._passing.set()

    def accept(self) -> None:
        """Serve until it is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                database = socket.create_connection(("127.0.0.1", self._database))
                self._open += [client, database]
                threading.Thread(target=self._pump, args=(client, database, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(database, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, held: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if held and not self._passing.is_set():
                    self.was_asked.set()
                    self._passing.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End every connection."""
        self._passing.set()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextlib.contextmanager
def holding_proxy(port: int) -> Iterator[HoldingProxy]:
    """A proxy to a port, ended with the block."""
    proxy = HoldingProxy(port)
    thread = threading.Thread(target=proxy.accept)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
