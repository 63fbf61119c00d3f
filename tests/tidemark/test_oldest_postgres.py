"""Postgres before 16 is refused in one sentence, by whatever comes to it first."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import psycopg
import pytest

from tests.conftest import Stack


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


# What a server says to whoever comes: you are in, this is who I am, I am ready.
GREETING = (
    _message(b"R", struct.pack("!i", 0))
    + _message(b"S", b"server_version\x0015.9 (Debian 15.9-0+deb12u1)\x00")
    + _message(b"S", b"client_encoding\x00UTF8\x00")
    + _message(b"K", struct.pack("!ii", 1, 1))
    + _message(b"Z", b"I")
)


def _serve(listening: socket.socket) -> None:
    with suppress(OSError):  # the test is over
        while True:
            caller, _ = listening.accept()
            with caller, suppress(ConnectionError):
                while struct.unpack("!ii", caller.recv(4096)[:8])[1] in {80877103, 80877104}:  # TLS or GSS? neither
                    caller.sendall(b"N")
                caller.sendall(GREETING)
                caller.recv(4096)  # its farewell; what it asks gets no answer


@pytest.fixture
def old_server() -> Iterator[str]:
    """The URL of a loopback server that says it is Postgres 15."""
    listening = socket.create_server(("127.0.0.1", 0))
    serving = threading.Thread(target=_serve, args=(listening,))
    serving.start()
    with closing(listening):
        yield f"postgresql://boss:secret@127.0.0.1:{listening.getsockname()[1]}/?require_auth=none"
        listening.shutdown(socket.SHUT_RDWR)
        serving.join()


def test_it_says_what_it_is(old_server: str) -> None:
    with closing(psycopg.connect(old_server)) as connection:
        assert connection.info.server_version == 150009


def _refused(stack: Stack, old_server: str, command: str, **more: str) -> None:
    addresses = {"TIDEMARK_REALTIME_URL": old_server, "TIDEMARK_WAREHOUSE_URL": old_server}
    done = stack.run(*command.split(), **addresses, **more)
    assert done.returncode == 1
    *_, said = done.stderr.splitlines()
    assert "expected Postgres 16 or newer" in said
    assert "found 15.9 (Debian 15.9-0+deb12u1): upgrade that server" in said
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["account", "stream run", "check", "ingest run ecb", "catalog site"])
def test_an_older_postgres_is_refused_in_one_sentence(stack: Stack, old_server: str, command: str) -> None:
    _refused(stack, old_server, command)


def test_up_refuses_it_too(new_stack: Stack, old_server: str) -> None:
    _refused(
        new_stack, old_server, "up",
        TIDEMARK_PREFECT_URL="http://127.0.0.1:9/api", TIDEMARK_KAFKA_BOOTSTRAP="127.0.0.1:9",
    )  # fmt: skip
