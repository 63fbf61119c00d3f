"""`tidemark asof`: psql on the warehouse, its schema `asof` as of a moment."""

import os
import shutil
from typing import TYPE_CHECKING, NoReturn

import click

from tidemark.errors import ConfigurationError, StackError

if TYPE_CHECKING:
    from tidemark.settings import Settings

SETTING = "tidemark.as_of"  # read by asof.moment() (tidemark/migrations/warehouse/0003_as_of.sql)
ROLE = "bi_reader"


@click.command("asof")
@click.argument("moment")
@click.argument("query", required=False)
def asof(moment: str, query: str | None) -> None:
    """Open psql on the warehouse as of MOMENT, or run QUERY so.

    The views of schema `asof` have what was known of their marts then. MOMENT has its offset, or is a date, which is
    its end in UTC.

    \b
    Examples:
      tidemark asof 2024-11-03
      tidemark asof 2024-11-03T16:00:00Z "select count(*) from asof.fct_economic_observations"
    """
    from psycopg.conninfo import conninfo_to_dict

    from tidemark.connections import dsn, libpq_variables
    from tidemark.settings import load

    settings = load()
    options = option_of(moment)
    click.echo(f"as of {known_moment(settings, moment, options)}", err=True)
    variables = libpq_variables(conninfo_to_dict(dsn(settings, "warehouse", ROLE, options=options)))
    run_psql(["--set=ON_ERROR_STOP=1", *(["--command", query] if query is not None else [])], variables)


def option_of(moment: str) -> str:
    """The setting as libpq's `options` take it, where a space ends a value and a backslash lets it stand."""
    escaped = "".join(f"\\{letter}" if letter.isspace() or letter == "\\" else letter for letter in moment)
    return f"-c {SETTING}={escaped}"


def known_moment(settings: "Settings", moment: str, options: str) -> str:
    """The moment as the warehouse understands it, in UTC.

    ConfigurationError where it does not understand it, StackError where it is away.
    """
    from psycopg.errors import DataError, InvalidParameterValue

    from tidemark.connections import connect

    with connect(settings, "warehouse", ROLE, options=options) as connection:
        try:
            query = "select (asof.moment() at time zone 'UTC')::text || 'Z'"
            [(known,)] = connection.execute(query).fetchall()
        except InvalidParameterValue as error:  # asof.moment's own sentence
            raise ConfigurationError(error.diag.message_primary or str(error)) from None
        except DataError as error:
            raise ConfigurationError(
                f"MOMENT: expected a day of the calendar, such as 2024-11-03, or 2024-11-03T16:00:00Z, "
                f"received {moment!r}: {error.diag.message_primary}"
            ) from None
    return str(known)


def run_psql(arguments: list[str], variables: dict[str, str]) -> NoReturn:
    """Become psql, which finds the server and the password in its environment. StackError where there is no psql."""
    from tidemark.stack.postgres import programs

    psql = shutil.which("psql", path=str(programs())) or shutil.which("psql")
    if psql is None:
        raise StackError(f"expected psql in {programs()} or on PATH, found none: run `make setup`, or install it")
    os.execve(psql, [psql, *arguments], {**os.environ, **variables})
