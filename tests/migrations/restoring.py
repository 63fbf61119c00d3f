"""A state folder as an older version left it: what make_fixture.py packed, in a cluster of today's Postgres."""

import os
import subprocess
import tarfile
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from tests.conftest import Stack
from tidemark.credentials import ADMINISTRATOR, LOCAL_ADMINISTRATOR, ROLES, credential, ensure_credentials
from tidemark.stack import checks, postgres, process

HERE = Path(__file__).resolve().parent


def restore(stack: Stack, version: int) -> None:
    """Unpack the state into the stack's folder, and leave its Postgres running with both databases as they were.

    The roles are there without a password that opens anything: `tidemark up` sets them.
    """
    settings = stack.settings
    checks.make_home(settings.home)
    with tarfile.open(HERE / f"version_{version}.tar.xz") as archive:
        archive.extractall(settings.home, filter="data")
    ensure_credentials(settings, [ADMINISTRATOR])
    password = credential(settings, ADMINISTRATOR)
    process.spawn(settings.home, postgres.NAME, postgres.prepare(settings), postgres.ports(settings))
    deadline = time.monotonic() + 180
    while not postgres.ready(settings):
        assert time.monotonic() < deadline
    address = {
        "host": "127.0.0.1",
        "port": str(settings.postgres_port),
        "user": LOCAL_ADMINISTRATOR,
        "dbname": "postgres",
    }
    with psycopg.connect(make_conninfo(**address, password=password)) as connection:
        for role in ROLES:
            connection.execute(SQL("create role {} login").format(Identifier(role)))
    environ = {**os.environ, **{f"PG{name.upper()}": value for name, value in address.items()}, "PGPASSWORD": password}
    environ["PGDATABASE"] = environ.pop("PGDBNAME")
    for database in ("realtime", "warehouse"):
        dump = settings.home / f"{database}.sql"
        subprocess.run(
            [postgres.programs() / "psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--file={dump}"],
            env=environ, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        dump.unlink()
