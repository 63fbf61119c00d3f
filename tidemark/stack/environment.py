"""What other programs need in their environment to find the servers: psql, dbt, BI tools, Prefect's own commands."""

import shlex
import sys
from pathlib import Path

from tidemark.connections import dsn, kafka_bootstrap, lake_url, prefect_url
from tidemark.settings import Settings


def postgres_variables(settings: Settings) -> dict[str, str]:
    """libpq's variables for the BI reader of the warehouse; what else its URL says (sslmode, ..) comes along."""
    from psycopg import pq
    from psycopg.conninfo import conninfo_to_dict

    names = {option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    parts = conninfo_to_dict(dsn(settings, "warehouse", "bi_reader"))
    return {names[key]: str(value) for key, value in parts.items() if key in names}


def shell(settings: Settings) -> str:
    """`export` lines for a POSIX shell; never a TIDEMARK_* name, so that evaluating them changes no setting."""
    from tidemark.dbt import dbt_environment
    from tidemark.stack.postgres import programs

    front = ":".join((str(Path(sys.executable).parent), str(programs())))
    variables = {
        **postgres_variables(settings),
        **dbt_environment(settings),
        "PREFECT_API_URL": prefect_url(settings),
    }
    lines = [f'export PATH={shlex.quote(front)}:"$PATH"']
    return "\n".join([*lines, *(f"export {name}={shlex.quote(value)}" for name, value in variables.items())])


def addresses(settings: Settings, role: str) -> dict[str, str]:
    """The servers, for programs: the databases as one role, the rest."""
    return {
        "realtime_dsn": dsn(settings, "realtime", role),
        "warehouse_dsn": dsn(settings, "warehouse", role),
        "kafka_bootstrap": kafka_bootstrap(settings),
        "lake_url": lake_url(settings),
        "prefect_url": prefect_url(settings),
    }
