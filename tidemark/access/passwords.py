"""Passwords of people and services: generated, set on the server of each database, printed once and kept nowhere.

The server is given the SCRAM verifier alone, computed here, so that no log of it can hold the password.
"""

import os
import secrets
from pathlib import Path

from psycopg.sql import SQL, Identifier, Literal

from tidemark.access.access_file import Access
from tidemark.connections import DATABASES, connect
from tidemark.credentials import OWNER, PEOPLE, write_credential
from tidemark.errors import ConfigurationError, StackError
from tidemark.settings import Settings


def set_password(settings: Settings, access: Access, name: str) -> str:
    """A new password of a person or service, in both databases; ConfigurationError where the file has none of it."""
    access.team_of(name)
    password = secrets.token_urlsafe(24)
    if name in PEOPLE:
        write_credential(settings, name, password)  # first: the guard puts back any other than it finds there
    for database in DATABASES:
        with connect(settings, database, OWNER, autocommit=True) as connection:
            if not connection.execute("select from pg_roles where rolname = %s", (name,)).rowcount:
                raise StackError(
                    f"expected the role {name} on the server of {database}, found none: run `tidemark access apply`"
                )
            verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
            connection.execute(SQL("alter role {} password {}").format(Identifier(name), Literal(verifier)))
    return password


def write_secret(path: Path, secret: str) -> None:
    """Into a file that is not there yet, of mode 0600; ConfigurationError where that cannot be."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secret}\n")
    except OSError as error:
        raise ConfigurationError(
            f"--output: expected a path at which a file can be made, received {path} ({error.strerror})"
        ) from None
