"""What ends by a date: keys of the API, and certificates that the settings name or a server shows."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tidemark.connections import kafka_bootstrap
from tidemark.output import utc
from tidemark.settings import Settings
from tidemark.state_file import read_whole
from watch.observation import RUNBOOK, Number, Observation, State

ENDS = "credential ends"
WARN = timedelta(days=14)
CERTIFICATES = ("kafka_ca_file", "kafka_certificate_file")


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
