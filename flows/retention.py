"""What is old leaves the databases: retention.yml says which rows of which table, by which clock of theirs."""

import json
from pathlib import Path

import psycopg
from msgspec import Struct
from psycopg import sql

from flows.errors import NotLetGo
from tidemark import typed_yaml
from tidemark.connections import Database, connect
from tidemark.errors import StackError
from tidemark.refusals import explained
from tidemark.settings import Settings

RETENTION = Path(__file__).parent / "retention.yml"


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of a table's old rows. `days` is a setting; `empties`: only these columns go, the row stays."""

    database: Database
    role: str
    clock: str
    days: str
    empties: list[str] = []


def entries() -> dict[str, Entry]:
    """The entries by table, schema and name."""
    found: dict[str, Entry] = typed_yaml.read(RETENTION, Entry, _check)
    return found


def _check(found: dict[str, Entry]) -> None:
    for table, entry in found.items():
        if entry.days not in Settings.model_fields:
            raise typed_yaml.WrongValue(f"expected a setting's name, received {entry.days!r}", table, "days")


def let_go(settings: Settings) -> dict[str, int]:
    """Delete or empty what is older than its days; the rows by table. A table that is not made yet has none.

    One that cannot be, hinders no other: NotLetGo names all such at the end.
    """
    gone: dict[str, int] = {}
    failures: list[StackError] = []
    for table, entry in entries().items():
        try:
            gone[table] = _let_go(settings, table, entry)
        except StackError as error:
            failures.append(error)
        except psycopg.Error as error:
            failures.append(explained(error, f"table {table}"))
    if failures:
        raise NotLetGo(failures)
    return gone


def delete_ticks(settings: Settings) -> None:
    """Delete ticks older than `warehouse_tick_days` from their mart, where it is set; bars and the lake keep them.

    What is deleted is in `ops.deleted_tick_day`. DbtError where dbt cannot.
    """
    if settings.warehouse_tick_days is None:
        return
    from tidemark import dbt

    days = json.dumps({"days": settings.warehouse_tick_days})
    dbt.run(settings, ["run-operation", "delete_old_ticks", "--args", days])


def _let_go(settings: Settings, table: str, entry: Entry) -> int:
    name = sql.Identifier(*table.split("."))
    with connect(settings, entry.database, entry.role, application_name="tidemark-retention") as connection:
        (there,) = connection.execute("select to_regclass(%s)", (name.as_string(),)).fetchall()
        if there[0] is None:
            return 0
        return connection.execute(_statement(name, entry), (getattr(settings, entry.days),)).rowcount


def _statement(name: sql.Identifier, entry: Entry) -> sql.Composed:
    old = sql.SQL("{} < now() - make_interval(days => %s)").format(sql.Identifier(entry.clock))
    if not entry.empties:
        return sql.SQL("delete from {} where {}").format(name, old)
    columns = [sql.Identifier(column) for column in entry.empties]
    emptied = sql.SQL(", ").join(sql.SQL("{} = null").format(column) for column in columns)
    filled = sql.SQL("num_nonnulls({}) > 0").format(sql.SQL(", ").join(columns))
    return sql.SQL("update {} set {} where {} and {}").format(name, emptied, old, filled)
