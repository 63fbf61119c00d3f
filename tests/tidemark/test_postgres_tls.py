"""TLS of the local Postgres, one setting away: people enter from elsewhere by it alone, the parts not at all."""

import datetime
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from tests.conftest import Stack, new_home, new_settings
from tests.serving import in_a_thread
from tests.stream_shim.conftest import until
from tidemark.access import apply as access
from tidemark.access.access_file import read_access
from tidemark.access.passwords import set_password
from tidemark.connections import dsn
from tidemark.credentials import ensure_credentials
from tidemark.errors import ConfigurationError
from tidemark.stack import checks, postgres, postgres_tls, process
from watch import credentials

ELSEWHERE = "127.0.0.2"  # an address of the loopback that is not the one whose callers need no TLS


def write_pem(path: Path, encrypted: bool = False) -> None:
    """A certificate of its own authority and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tidemark")]), datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    hidden = serialization.BestAvailableEncryption(b"x") if encrypted else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Postgres alone, with a certificate, its databases and people set up."""
    with new_home() as home:
        folder = tmp_path_factory.mktemp("tls")
        write_pem(folder / "server.pem")
        file = folder / "access.yml"
        file.write_text("teams: {all: {read: [live, marts]}}\npeople: {anna: {team: all}}\n")
        settings = new_settings(home, postgres_tls=folder / "server.pem", postgres_listen="*", access_file=file)
        checks.make_home(home)
        ensure_credentials(settings)
        running = process.spawn(home, postgres.NAME, postgres.prepare(settings), postgres.ports(settings))
        try:
            until(lambda: postgres.ready(settings), "Postgres to answer", 60)
            access.apply(settings)
            yield Stack(settings)
        finally:
            running.send_signal(postgres.STOP_SIGNAL)
            running.wait(60)


@pytest.fixture(scope="module")
def port_elsewhere(tls: Stack) -> Iterator[int]:
    """A port by which one comes to the server from ELSEWHERE."""

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(
                ("127.0.0.1", tls.settings.postgres_port), source_address=(ELSEWHERE, 0)
            ) as server:
                back = threading.Thread(target=pour, args=(server, self.request))
                back.start()
                pour(self.request, server)
                back.join()

    def pour(one: socket.socket, other: socket.socket) -> None:
        try:
            while received := one.recv(65536):
                other.sendall(received)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    class Relays(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with in_a_thread(Relays(("127.0.0.1", 0), Relay)) as server:
        yield server.server_address[1]


def test_people_enter_from_elsewhere_by_tls_with_channel_binding_and_without_it_not_at_all(
    tls: Stack, port_elsewhere: int
) -> None:
    assert tls.settings.postgres_tls is not None
    words: dict[str, Any] = {
        "host": "127.0.0.1", "port": port_elsewhere, "dbname": "warehouse", "user": "anna",
        "password": set_password(tls.settings, read_access(tls.settings.access_file), "anna"),
    }  # fmt: skip
    demanded = {"sslmode": "verify-full", "sslrootcert": str(tls.settings.postgres_tls), "channel_binding": "require"}
    with psycopg.connect(make_conninfo(**words, **demanded)) as connection:
        assert connection.execute(
            "select ssl, host(client_addr) from pg_stat_ssl inner join pg_stat_activity using (pid) "
            "where pid = pg_backend_pid()"
        ).fetchall() == [(True, ELSEWHERE)]
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry .* no encryption"):
        psycopg.connect(make_conninfo(**words, sslmode="disable"))
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry"):
        psycopg.connect(make_conninfo(**{**words, "dbname": "postgres"}, **demanded))


def test_parts_and_the_administrator_enter_by_the_loopback_alone(tls: Stack, port_elsewhere: int) -> None:
    for role in ("owner", "promoter", "guard", "api_reader"):
        with psycopg.connect(tls.dsn("warehouse", role)) as connection:
            assert connection.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchall() == [
                (False,)
            ]
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf rejects connection"):
            psycopg.connect(make_conninfo(dsn(tls.settings, "warehouse", role), port=port_elsewhere, sslmode="require"))


def test_a_server_of_other_settings_or_of_an_old_certificate_is_to_be_started_anew(tls: Stack) -> None:
    running = process.find(tls.settings.home, postgres.NAME)
    assert running is not None and tls.settings.postgres_tls is not None
    assert postgres.outdated(tls.settings, running) == ""
    without = tls.with_settings(postgres_tls=None, postgres_listen=None)
    assert postgres.outdated(without, running) == "ran with another ssl, listen_addresses"
    before = tls.settings.postgres_tls.read_bytes()
    write_pem(tls.settings.postgres_tls)
    try:
        assert postgres.outdated(tls.settings, running) == "ran with another certificate"
    finally:
        tls.settings.postgres_tls.write_bytes(before)


def test_a_certificate_that_is_about_to_end_is_seen_in_its_file_and_as_the_server_shows_it(tls: Stack) -> None:
    shown, path = f"127.0.0.1:{tls.settings.postgres_port}", str(tls.settings.postgres_tls)
    found = {one.identity: one for one in credentials.look(tls.settings)}
    assert {identity: one.state for identity, one in found.items()} == {"all": "ok", path: "warning", shown: "warning"}
    assert found[shown].mend == f"renew {path}, then `tidemark up` (docs/runbook/credential-ends.md)"
    for mode, said in (("require", {shown: "warning"}), ("disable", {})):
        url = SecretStr(f"postgresql://anna@{shown}?sslmode={mode}")
        of_others = tls.with_settings(postgres_tls=None, realtime_url=url, warehouse_url=url)
        assert {one.identity: one.state for one in credentials.of_postgres(of_others)} == said


def test_a_server_that_answers_otherwise_than_postgres_or_is_away_is_unknown_and_hides_no_other(tls: Stack) -> None:
    class Answering(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(64)
            self.request.sendall(self.server.answer)  # type: ignore[attr-defined]

    with ExitStack() as servers:
        ports = list[int]()
        for answer in (b"E", b"", b"N"):
            server = servers.enter_context(in_a_thread(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answering)))
            server.answer = answer  # type: ignore[attr-defined]
            ports.append(server.server_address[1])
        shown = tls.settings.postgres_port
        hosts = ",".join(f"127.0.0.1:{port}" for port in (*ports, 9, shown))
        url = SecretStr(f"postgresql://anna@%2Ftmp,{hosts}")
        of_others = tls.with_settings(postgres_tls=None, realtime_url=url, warehouse_url=url)
        found = {one.identity: (one.state, one.sentence) for one in credentials.of_postgres(of_others)}
    assert found.pop(f"127.0.0.1:{shown}")[0] == "warning"
    assert found == {
        f"127.0.0.1:{ports[0]}": ("unknown", f"expected S or N of 127.0.0.1:{ports[0]}, asked for TLS, received 'E'"),
        f"127.0.0.1:{ports[1]}": ("unknown", f"expected S or N of 127.0.0.1:{ports[1]}, asked for TLS, received ''"),
        "127.0.0.1:9": (
            "unknown", "expected 127.0.0.1:9 to show its certificate, received [Errno 111] Connection refused",
        ),
    }  # fmt: skip
    down = tls.with_settings(postgres_port=9)
    assert [one.state for one in credentials.of_postgres(down)] == ["unknown", "unknown"]


def test_what_does_not_fit_is_refused_before_anything_starts(tls: Stack, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"TIDEMARK_POSTGRES_LISTEN: expected TIDEMARK_POSTGRES_TLS beside it"):
        postgres_tls.check(tls.with_settings(postgres_tls=None))
    path = tmp_path / "server.pem"
    settings = tls.with_settings(postgres_tls=path)
    said = "TIDEMARK_POSTGRES_TLS: expected a PEM file of a certificate, with its chain, and its key"
    with pytest.raises(ConfigurationError, match=rf"{said}.*No such file"):
        postgres_tls.check(settings)
    write_pem(path, encrypted=True)
    with pytest.raises(ConfigurationError, match=said):
        postgres_tls.check(settings)
    whole = path.read_text()
    write_pem(path)
    postgres_tls.check(settings)
    for text in ("", "no PEM", whole.partition("-----BEGIN ENC")[0], path.read_text().partition("-----BEGIN PRIV")[0]):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=said):
            postgres_tls.check(settings)
