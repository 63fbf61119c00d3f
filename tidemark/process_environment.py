"""What a process finds in its environment: the settings of its part, and no credential of another's.

A process's environment is there to read in /proc for as long as it runs, and every child inherits it.
"""

import os
import sys
from collections.abc import Collection, Mapping

from pydantic import SecretStr

from tidemark.connections import REQUIRED_AUTHENTICATION, without_credentials
from tidemark.settings import Settings

ADMINISTRATORS = ("TIDEMARK_REALTIME_URL", "TIDEMARK_WAREHOUSE_URL")  # an address that may begin with who sets it up
# What `tidemark env` gives a person's shell for psql, dbt and Prefect's own commands; ours have files of their own.
OF_A_SHELL = ("PGPASSWORD", "DBT_PASSWORD", "DBT_REALTIME_PASSWORD", "PREFECT_API_AUTH_STRING")

# What libpq reads of a shell that its list of options does not name.
OF_LIBPQ = ("PGSERVICEFILE", "PGSYSCONFDIR", "PGDATESTYLE", "PGTZ", "PGGEQO")
# Of ours alone: what no server may ask less than, and no file of passwords (~/.pgpass is a shell's too, and /dev/null
# would be warned of).
INSTEAD = {"PGREQUIREAUTH": REQUIRED_AUTHENTICATION, "PGPASSFILE": "/dev/null/none"}

# Credentials of the lake on S3 that a variable may hold; AWS_PROFILE and a role's address are none.
OF_S3 = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def secret_variables() -> set[str]:
    """The variables of every setting that is a secret."""
    return {f"TIDEMARK_{name.upper()}" for name, field in Settings.model_fields.items() if _is_secret(field.annotation)}


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or SecretStr in getattr(annotation, "__args__", ())


def without_administrators(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the servers' addresses alone, and nothing that was for the programs of a person's shell."""
    kept = {name: value for name, value in environ.items() if name not in OF_A_SHELL}
    return kept | {name: without_credentials(kept[name]) for name in ADMINISTRATORS if kept.get(name)}


def of_a_part(environ: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """The environment of a child that needs, of all secret settings, the variables `secrets` alone."""
    hidden = secret_variables().union(OF_S3) - {*ADMINISTRATORS, *secrets}
    return {name: value for name, value in without_administrators(environ).items() if name not in hidden}


def forget_administrators() -> None:
    """Begin this process anew where its environment holds what only an administrator's command needs."""
    clean = without_administrators(os.environ)
    if clean != dict(os.environ):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], clean)


def of_libpq() -> set[str]:
    """The variables that would turn a client of ours to another server, or to another reading of values.

    libpq takes from the environment what a URL does not say: a service, an address, an sslmode that the local server
    does not have, a date style, digits of numbers.
    """
    from psycopg import pq

    return {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}.union(OF_LIBPQ)


def forget_libpq() -> None:
    """Let no client of this process, nor of a child, read what a person's shell has for psql: a URL says all."""
    for name in of_libpq() & os.environ.keys():
        del os.environ[name]
    os.environ.update(INSTEAD)  # also for the clients that dbt, Soda, dlt and OpenMetadata bring
