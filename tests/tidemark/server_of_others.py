"""A Postgres as somebody else runs it: a socket, IPv6 and TLS with certificates of its own; no address of IPv4."""

import datetime
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Literal

from tests.conftest import new_home, new_settings
from tidemark.credentials import ADMINISTRATOR, LOCAL_ADMINISTRATOR, credential, ensure_credentials
from tidemark.stack import checks, postgres, process

# Who comes by TCP without TLS is let in too, as the tests of IPv6 and of several hosts need no certificate.
_HBA = """\
local all all scram-sha-256
hostssl all all ::1/128 scram-sha-256 clientcert=verify-ca
hostnossl all all ::1/128 scram-sha-256
"""


@dataclass(frozen=True)
class ServerOfOthers:
    """Where it listens, its certificates, and its superuser's words."""

    port: int
    socket: Path
    certificates: Path  # ca.pem, client.pem and client.key
    superuser: str

    @property
    def tls(self) -> Mapping[str, str]:
        """libpq's keywords of who enters by TLS and demands the authority's word for it."""
        folder = self.certificates
        files = {"sslrootcert": "ca.pem", "sslcert": "client.pem", "sslkey": "client.key"}
        return {"sslmode": "verify-full", **{key: str(folder / name) for key, name in files.items()}}


def _key_and_certificate(folder: Path, name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by, signing = issuer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("::1"))]), critical=False)
        .sign(signing, hashes.SHA256())
    )  # fmt: skip
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path = folder / f"{name}.key"
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    if issuer is None:
        for signed in ("server", "client"):
            _key_and_certificate(folder, signed, (subject, key))


@contextmanager
def server_of_others(administrator: str, password: str) -> Iterator[ServerOfOthers]:
    """It runs for the block, with one administrator who is no superuser: CREATEDB and CREATEROLE."""
    with new_home() as home, tempfile.TemporaryDirectory(prefix="cloudsql ") as outer:
        settings = new_settings(home)
        checks.make_home(home)
        ensure_credentials(settings)
        launch = postgres.prepare(settings)
        data, sockets = home / "postgres" / "data", Path(outer) / "project:region:instance"
        Path(outer).chmod(0o755)
        sockets.mkdir()
        certificates = Path(outer) / "CA é 100% of 'ours'"
        certificates.mkdir()
        _key_and_certificate(certificates, "ca", None)
        for name in ("server.pem", "server.key", "ca.pem"):
            shutil.copy(certificates / name, data / name)
        (data / "pg_hba.conf").write_text(_HBA)
        for path in (sockets, *(data / name for name in ("server.pem", "server.key", "ca.pem", "pg_hba.conf"))):
            shutil.chown(path, data.stat().st_uid, data.stat().st_gid)
        changed = {
            "listen_addresses": "::1", "unix_socket_directories": f'"{sockets}"', "ssl": "on",
            "ssl_cert_file": "server.pem", "ssl_key_file": "server.key", "ssl_ca_file": "ca.pem",
        }  # fmt: skip
        more = [part for key, value in changed.items() for part in ("-c", f"{key}={value}")]
        process.spawn(home, postgres.NAME, replace(launch, argv=[*launch.argv, *more]), {})
        superuser = make_conninfo(
            host=str(sockets), port=settings.postgres_port, user=LOCAL_ADMINISTRATOR, dbname="postgres",
            password=credential(settings, ADMINISTRATOR),
        )  # fmt: skip
        try:
            with _opened(superuser) as connection:
                statement = SQL("create role {} login createdb createrole password {}")
                connection.execute(statement.format(SQL(administrator), Literal(password)))
            yield ServerOfOthers(settings.postgres_port, sockets, certificates, superuser)
        finally:
            running = process.find(home, postgres.NAME)
            assert running is not None
            running.send_signal(postgres.STOP_SIGNAL)
            running.wait(60)


def _opened(address: str) -> psycopg.Connection:
    deadline = time.monotonic() + 180
    while True:
        try:
            return psycopg.connect(address)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            os.sched_yield()
