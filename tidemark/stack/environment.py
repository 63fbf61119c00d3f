"""What other programs need in their environment to find the servers: psql, dbt, BI tools, Prefect's own commands."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemark.connections import (
    DATABASES,
    dsn,
    kafka_bootstrap,
    libpq_variables,
    prefect_auth_string,
    prefect_url,
)
from tidemark.credentials import KAFKA_ADMINISTRATOR, KAFKA_ROLES, OWNER, ROLES
from tidemark.kafka import librdkafka
from tidemark.lake import lake_url
from tidemark.process_environment import of_libpq
from tidemark.proxies import of_proxies
from tidemark.settings import Settings

_KAFKA_ONLY = set(KAFKA_ROLES) - set(ROLES)


def postgres_variables(settings: Settings, role: str) -> dict[str, str]:
    """libpq's variables for a role, on the warehouse where it may enter that; with what its URL says (sslmode, ..)."""
    from psycopg.conninfo import conninfo_to_dict

    from tidemark.access.apply import ENTRY

    database = "realtime" if role in ENTRY["realtime"].keys() - ENTRY["warehouse"].keys() else "warehouse"
    return libpq_variables(conninfo_to_dict(dsn(settings, database, role)))


def _exports(variables: dict[str, str]) -> list[str]:
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def shell_of_role(settings: Settings, role: str) -> str:
    """`export` lines with which psql enters as one role."""
    variables = postgres_variables(settings, role)
    return "\n".join([*_exports(variables), _unset_of_libpq(variables)])


def _unset_of_libpq(variables: Mapping[str, str]) -> str:
    """What else of libpq's the shell has goes: PGSERVICE or PGHOSTADDR would lead to another server."""
    return f"unset {' '.join(sorted(of_libpq() - variables.keys()))}"


def shell(settings: Settings) -> str:
    """`export` lines for a POSIX shell; never a TIDEMARK_* name, so that evaluating them changes no setting."""
    from tidemark.dbt import environment_by_hand
    from tidemark.stack.postgres import programs

    front = ":".join((str(Path(sys.executable).parent), str(programs())))
    of_dbt = environment_by_hand(settings)
    schema = of_dbt.pop("DBT_DEV_SCHEMA")
    variables = {
        **postgres_variables(settings, "bi_reader"),
        **of_dbt,
        "PREFECT_API_URL": prefect_url(settings),
        **{name: value for name, value in of_proxies(os.environ).items() if name.lower() == "no_proxy"},
    }
    auth_string = prefect_auth_string(settings)
    if auth_string is not None:
        variables["PREFECT_API_AUTH_STRING"] = auth_string
    # A person's choice stays; one folder for all targets would mix what they write.
    rest = [f'export DBT_DEV_SCHEMA="${{DBT_DEV_SCHEMA:-{schema}}}"', "unset DBT_TARGET_PATH"]
    # Without a string for this server, an earlier server's must not go there.
    rest += ["unset PREFECT_API_AUTH_STRING"] if auth_string is None else []
    rest.append(_unset_of_libpq(variables))
    return "\n".join([f'export PATH={shlex.quote(front)}:"$PATH"', *_exports(variables), *rest])


def addresses(settings: Settings, role: str) -> dict[str, Any]:
    """The servers, for programs: the databases and Kafka as one role, which may be known to one of them only.

    The owner gets what opens Prefect too, and is Kafka's administrator. `kafka` is what librdkafka's clients are
    configured with, kcat among them.
    """
    databases = {f"{database}_dsn": dsn(settings, database, role) for database in DATABASES if role not in _KAFKA_ONLY}
    user = KAFKA_ADMINISTRATOR if role == OWNER else role
    kafka = {"kafka": librdkafka(settings, user)} if user in {KAFKA_ADMINISTRATOR, *KAFKA_ROLES} else {}
    auth_string = prefect_auth_string(settings) if role == OWNER else None
    return {
        **databases,
        "kafka_bootstrap": kafka_bootstrap(settings),
        **kafka,
        "lake_url": lake_url(settings),
        "prefect_url": prefect_url(settings),
    } | ({} if auth_string is None else {"prefect_auth_string": auth_string})
