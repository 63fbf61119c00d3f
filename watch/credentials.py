"""What ends by a date: keys of the API, and certificates that the settings name or a server shows."""

import socket
import ssl
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tidemark.connections import DATABASES, is_local, kafka_bootstrap, postgres_server
from tidemark.errors import StackError
from tidemark.output import utc
from tidemark.settings import Settings
from tidemark.state_file import read_whole
from watch.observation import RUNBOOK, Number, Observation, State

ENDS = "credential ends"
WARN = timedelta(days=14)
CERTIFICATES = ("kafka_ca_file", "kafka_certificate_file", "postgres_tls")
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # of Postgres's protocol; who knows TLS says S
ANSWER_SECONDS = 5.0


def look(settings: Settings) -> Iterator[Observation]:
    """Each of them, and when it ends. A key that was revoked or has ended long ago is none any more."""
    yield Observation(ENDS, "credential", "all", "ok", "what ends by a date is looked at")
    yield from keys(settings)
    for name in CERTIFICATES:
        path: Path | None = getattr(settings, name)
        if path is not None:
            for number, ends in enumerate(ends_of(path.read_text())):
                yield ending("certificate", f"{path}#{number + 1}" if number else str(path), ends, f"renew {path}")
    if (settings.kafka_security_protocol or "").endswith("SSL"):
        host, _, port = kafka_bootstrap(settings).split(",")[0].strip().rpartition(":")
        ends = end_of_server(host.strip("[]"), int(port), settings.kafka_ca_file)
        yield ending("certificate", f"{host}:{port}", ends, "renew it there")
    yield from of_postgres(settings)


def of_postgres(settings: Settings) -> Iterator[Observation]:
    """The certificate that each server of a database shows, where it speaks TLS: it has what it was started with."""
    for database in DATABASES:
        if is_local(settings, database):
            if settings.postgres_tls is not None:
                mend = f"renew {settings.postgres_tls}, then `tidemark up`"
                ends = end_of_postgres("127.0.0.1", settings.postgres_port)
                if ends is not None:
                    yield ending("certificate", f"127.0.0.1:{settings.postgres_port}", ends, mend)
            continue
        server = postgres_server(settings, database)
        if server.parameters.get("sslmode") != "disable":
            yield from _of_others(server.hosts)


def _of_others(hosts: list[tuple[str, str]]) -> Iterator[Observation]:
    """Of several, which stand in for each other, one may be away."""
    failures = list[OSError]()
    for host, port in hosts:
        if host.startswith("/"):  # a socket of this machine, which has no TLS
            continue
        try:
            ends = end_of_postgres(host, int(port))
        except OSError as error:
            failures.append(error)
            continue
        if ends is not None:
            yield ending("certificate", f"{host}:{port}", ends, "renew it there")
    if len(failures) == len(hosts):
        raise StackError(f"expected Postgres to show its certificate, received {failures[0]}")


def keys(settings: Settings) -> Iterator[Observation]:
    """The key of each person or service that lasts longest: one that another took the place of may end."""
    kept: dict[str, Any] = read_whole(settings.home / "credentials" / "api_keys.json") or {}
    last: dict[str, float] = {}
    for record in kept.get("keys", {}).values():
        if record["revoked_at"] is None:
            last[record["name"]] = max(record["expires_at"], last.get(record["name"], 0.0))
    for name, ends in sorted(last.items()):
        yield ending("api key", name, datetime.fromtimestamp(ends, UTC), f"tidemark access key {name}")


def ending(kind: str, identity: str, ends: datetime, mend: str) -> Observation:
    """One of them: a warning before it ends, failing afterwards."""
    left = ends - datetime.now(UTC)
    state: State = "failing" if left <= timedelta(0) else "warning" if left < WARN else "ok"
    said = f"it ended at {utc(ends)}" if state == "failing" else f"it ends at {utc(ends)}"
    wanted = f"expected it to last for {WARN.days} days, " if state != "ok" else ""
    numbers: dict[str, Number] = {"days_left": left / timedelta(days=1)}
    page = f"{mend} ({RUNBOOK}/credential-ends.md)"
    return Observation(ENDS, kind, identity, state, wanted + said, ends, page if state != "ok" else "", numbers)


def ends_of(pem: str) -> list[datetime]:
    """When each certificate of a PEM file ends (UTC)."""
    from cryptography.x509 import load_pem_x509_certificates

    return [one.not_valid_after_utc for one in load_pem_x509_certificates(pem.encode())]


def end_of_server(host: str, port: int, ca_file: Path | None) -> datetime:
    """When the certificate ends that a TLS server shows (UTC)."""
    pem = ssl.get_server_certificate((host, port), ca_certs=str(ca_file) if ca_file else None, timeout=5)
    return ends_of(pem)[0]


def end_of_postgres(host: str, port: int) -> datetime | None:
    """When the certificate ends that a server of Postgres shows (UTC); None where it speaks no TLS."""
    from cryptography.x509 import load_der_x509_certificate

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its date is read, and nothing is sent
    with socket.create_connection((host, port), ANSWER_SECONDS) as plain:
        plain.sendall(SSL_REQUEST)
        if plain.recv(1) != b"S":
            return None
        with context.wrap_socket(plain) as tls:
            shown = tls.getpeercert(binary_form=True)
    return None if shown is None else load_der_x509_certificate(shown).not_valid_after_utc
