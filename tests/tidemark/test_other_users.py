"""What another user of the machine gets: nothing of the state folder, and no server without credentials."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.conftest import Stack
from tidemark.credentials import ADMINISTRATOR, LOCAL_ADMINISTRATOR, credential

# Gives up root, where the test has it, for a user who owns nothing; says what it could nevertheless open or list.
STRANGER = """
import json, os, sys
paths = json.load(sys.stdin)
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(61234); os.setuid(61234)
    def may(path, directory):
        try:
            os.listdir(path) if directory else open(path, "rb").close()
            return True
        except OSError:
            return False
else:
    def may(path, directory):
        above = [path[:at] for at, letter in enumerate(path) if letter == "/" and at]
        return all(os.stat(folder).st_mode & 0o001 for folder in above) and bool(os.stat(path).st_mode & 0o004)
print(json.dumps([path for path, directory in paths if may(path, directory)]))
"""


def opened_by_a_stranger(home: Path) -> list[str]:
    everything = [(str(path), path.is_dir()) for path in (home, *home.rglob("*")) if not path.is_symlink()]
    done = subprocess.run(
        [sys.executable, "-c", STRANGER], input=json.dumps(everything), capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_another_user_opens_and_lists_nothing_of_the_state_folder(new_stack: Stack) -> None:
    assert new_stack.run("up", TIDEMARK_PREFECT_URL="http://127.0.0.1:9/api").returncode == 0
    home = new_stack.settings.home
    assert new_stack.run("ingest", "run", "ecb", TIDEMARK_ECB_URL="http://127.0.0.1:9").returncode == 1
    assert len(list(home.rglob("*"))) > 100
    assert opened_by_a_stranger(home) == []
    assert home.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)


@pytest.mark.faults
def test_a_state_folder_that_others_could_enter_is_closed_by_up(new_stack: Stack) -> None:
    home = new_stack.settings.home
    (home / "lake").mkdir(parents=True)
    (home / "lake" / "file").write_text("prices")
    for path in (home, home / "lake"):
        path.chmod(0o755)
    assert opened_by_a_stranger(home)
    nowhere = {"TIDEMARK_PREFECT_URL": "http://127.0.0.1:9/api", "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9"}
    assert new_stack.run("up", **nowhere).returncode == 0
    assert opened_by_a_stranger(home) == []


def test_postgres_asks_every_user_for_a_password(stack: Stack) -> None:
    address = make_conninfo(host="127.0.0.1", port=stack.settings.postgres_port, dbname="realtime")
    for user in ("tidemark", "postgres", "bi_reader"):
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(address, user=user)
    psycopg.connect(stack.dsn("realtime", "bi_reader")).close()


class Squatter:
    """A server on a port that a stopped Postgres left free: it asks whoever comes for the password as it is."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []  # what each caller answered, b"" for nothing
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._serving = threading.Thread(target=self._serve)

    def __enter__(self) -> "Squatter":
        self._serving.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._serving.join()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:  # it is over
                return
            with caller:
                caller.settimeout(10)
                try:
                    self.calls.append(self._ask(caller))
                except ConnectionError:
                    self.calls.append(b"")

    @staticmethod
    def _ask(caller: socket.socket) -> bytes:
        startup = caller.recv(4096)
        while startup[4:8] in (struct.pack("!i", 80877103), struct.pack("!i", 80877104)):  # TLS or GSS? neither
            caller.sendall(b"N")
            startup = caller.recv(4096)
        caller.sendall(b"R" + struct.pack("!ii", 8, 3))  # AuthenticationCleartextPassword
        return caller.recv(4096)


@pytest.mark.parametrize(
    "command",
    [
        "account", "quarantine list", "ingest run ecb", "check", "promote",
        "catalog site",
    ],
)  # fmt: skip
def test_a_server_that_asks_for_the_password_as_it_is_gets_none(clean_warehouse: Stack, command: str) -> None:
    with Squatter() as squatter:
        owner = f"{LOCAL_ADMINISTRATOR}:{credential(clean_warehouse.settings, ADMINISTRATOR)}"
        url = f"postgresql://{owner}@127.0.0.1:{squatter.port}/"
        named = {"TIDEMARK_REALTIME_URL": url, "TIDEMARK_WAREHOUSE_URL": url}
        assert clean_warehouse.run(*command.split(), **named).returncode != 0
    assert squatter.calls
    assert not [call for call in squatter.calls if call.startswith(b"p")]


def test_up_gives_it_no_password_either(new_stack: Stack) -> None:
    nowhere = {"TIDEMARK_PREFECT_URL": "http://127.0.0.1:9/api", "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9"}
    with Squatter() as squatter:
        url = f"postgresql://boss:secret@127.0.0.1:{squatter.port}/"
        named = {"TIDEMARK_REALTIME_URL": url, "TIDEMARK_WAREHOUSE_URL": url}
        assert new_stack.run("up", **named, **nowhere).returncode == 1
    assert squatter.calls
    assert not [call for call in squatter.calls if call.startswith(b"p")]


def test_the_squatter_would_get_it_from_a_client_that_demands_nothing() -> None:
    with Squatter() as squatter, pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql://a:secret@127.0.0.1:{squatter.port}/?require_auth=password")
    assert b"secret" in squatter.calls[0]
