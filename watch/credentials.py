"""What ends by a date: keys of the API, and certificates that the settings name or a server shows."""

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
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
        yield from _shown(host.strip("[]"), int(port), partial(end_of_server, ca_file=settings.kafka_ca_file))
    yield from of_postgres(settings)


def of_postgres(settings: Settings) -> Iterator[Observation]:
    """The certificate that each server of a database shows, where it speaks TLS: it has what it was started with."""
    for database in DATABASES:
        if is_local(settings, database):
            if settings.postgres_tls is not None:
                mend = f"renew {settings.postgres_tls}, then `tidemark up`"
                yield from _shown("127.0.0.1", settings.postgres_port, end_of_postgres, mend)
            continue
        server = postgres_server(settings, database)
        if server.parameters.get("sslmode") != "disable":
            for host, port in server.hosts:
                if not host.startswith("/"):  # a socket of this machine, which has no TLS
                    yield from _shown(host, int(port), end_of_postgres)


def _shown(
    host: str, port: int, ask: Callable[[str, int], datetime | None], mend: str = "renew it there"
) -> Iterator[Observation]:
    """The certificate that a server shows, unknown where it does not answer: another may stand in for it, unseen."""
    try:
        ends = ask(host, port)
    except (OSError, ValueError, StackError) as error:
        said = str(error) if isinstance(error, StackError) else f"{_expected(host, port)}, received {error}"
        yield Observation(ENDS, "certificate", f"{host}:{port}", "unknown", said)
    else:
        if ends is not None:
            yield ending("certificate", f"{host}:{port}", ends, mend)


def _expected(host: str, port: int) -> str:
    return f"expected {host}:{port} to show its certificate"


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
    """When the certificate ends that a server of Postgres shows (UTC); None where it says that it speaks no TLS.

    OSError where it does not answer, StackError where it answers as Postgres does not, or has no room.
    """
    from cryptography.x509 import load_der_x509_certificate

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its date is read, and nothing is sent
    with socket.create_connection((host, port), ANSWER_SECONDS) as plain:
        plain.sendall(SSL_REQUEST)
        if (answer := plain.recv(1)) == b"N":
            return None
        if answer != b"S":  # E: it has no room for another, or is no Postgres
            raise StackError(f"expected S or N of {host}:{port}, asked for TLS, received {answer.decode('latin-1')!r}")
        with context.wrap_socket(plain) as tls:
            shown = tls.getpeercert(binary_form=True)
    if shown is None:
        raise StackError(f"{_expected(host, port)}, received none")
    return load_der_x509_certificate(shown).not_valid_after_utc
