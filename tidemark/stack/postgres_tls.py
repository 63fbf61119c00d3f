"""TLS of the local Postgres, and who enters from elsewhere: people of the access file, by TLS alone.

One PEM file holds the certificate, the rest of its chain, and the key. The server reads a copy that its own user owns.
"""

import os
import ssl
from pathlib import Path

from tidemark.access.access_file import MARKER
from tidemark.connections import DATABASES
from tidemark.credentials import API_READER, LOCAL_ADMINISTRATOR, PARTS
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings

LOOPBACK = "127.0.0.1"
_COPY, _ENTRY = "server.pem", "hba.conf"
# After the cluster's own lines, of loopback. What is no person enters there alone: some are members of people's roles.
_LINES = f"""\
include data/pg_hba.conf
host all {",".join((*PARTS, API_READER, LOCAL_ADMINISTRATOR))} all reject
hostssl {",".join(DATABASES)} +{MARKER} all scram-sha-256
"""


def configuration(settings: Settings) -> dict[str, str]:
    """The server's settings of it; ConfigurationError where it would listen elsewhere without TLS."""
    if settings.postgres_tls is None:
        if settings.postgres_listen:
            raise ConfigurationError(
                "TIDEMARK_POSTGRES_LISTEN: expected TIDEMARK_POSTGRES_TLS beside it, a file of certificate and key: "
                "who comes from elsewhere enters by TLS alone"
            )
        return {"ssl": "off", "listen_addresses": LOOPBACK}
    folder = _folder(settings)
    listens = {"*": "*", None: LOOPBACK}.get(settings.postgres_listen, f"{LOOPBACK},{settings.postgres_listen}")
    return {
        "ssl": "on",
        "ssl_cert_file": str(folder / _COPY),
        "ssl_key_file": str(folder / _COPY),
        "hba_file": str(folder / _ENTRY),
        "listen_addresses": listens,
    }


def check(settings: Settings) -> None:
    """ConfigurationError where the file is no certificate with its key."""
    configuration(settings)
    path = settings.postgres_tls
    if path is None:
        return
    try:
        path.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, password=lambda: "")
    except OSError as error:  # of ssl too
        raise ConfigurationError(
            f"TIDEMARK_POSTGRES_TLS: expected a PEM file of a certificate, with its chain, and its key, not encrypted, "
            f"received {path}: {error.strerror or error}"
        ) from None


def write(settings: Settings, user: tuple[int, int] | None) -> None:
    """The server's copy and its lines of who enters, owned by the user that it runs as (None: the caller)."""
    if settings.postgres_tls is None:
        return
    for name, content in ((_COPY, settings.postgres_tls.read_bytes()), (_ENTRY, _LINES.encode())):
        path = _folder(settings) / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        if user is not None:
            os.chown(path, *user)


def is_renewed(settings: Settings) -> bool:
    """Whether the certificate's file has changed since the server was started with it."""
    path = settings.postgres_tls
    try:
        return path is not None and (_folder(settings) / _COPY).read_bytes() != path.read_bytes()
    except FileNotFoundError:
        return True


def _folder(settings: Settings) -> Path:
    return settings.home.resolve() / "postgres"
