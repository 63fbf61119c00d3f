"""Tables that an older version built with other columns, built anew while the old ones are read."""

from collections.abc import Callable

from tidemark.connections import connect
from tidemark.dbt.project import ROLE
from tidemark.dbt.running import run
from tidemark.dbt.tables import outgrown, tables
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings


def rebuild(
    settings: Settings, names: tuple[str, ...], progress: Callable[[str], None] | None = None
) -> tuple[str, ...]:
    """Build these models' tables (none named: all that were outgrown), and what reads them, from the ingestion tables.

    Readers see the old tables until then. A table that is new to this version is built too: another may read it. Gives
    the names. ConfigurationError where a name is no model with a table; DbtError as `dbt.run`.
    """
    known = [model for _, model, _ in tables()]
    names = names or tuple(table.model for table in outgrown(settings))
    for name in names:
        if name not in known:
            raise ConfigurationError(f"expected a model of {', '.join(known)}, received {name!r}")
    if names:
        missing = _not_built(settings)
        # What they read is of this version too.
        views = [f"+{name},config.materialized:view" for name in (*names, *missing)]
        selected = [*(f"{name}+" for name in names), *views, *missing]
        run(settings, ["run", "--full-refresh", "--select", *selected], progress=progress)
    return names


def _not_built(settings: Settings) -> list[str]:
    """Models of which the warehouse has nothing yet."""
    with connect(settings, "warehouse", ROLE) as connection:
        query = "select to_regclass(%s) is null"
        return [
            model for schema, model, _ in tables() if connection.execute(query, (f"{schema}.{model}",)).fetchall()[0][0]
        ]
