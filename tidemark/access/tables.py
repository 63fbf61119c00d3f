"""The tables of the four categories, derived from tidemark/categories.py, and the day partitions to come."""

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from tidemark.categories import CATEGORIES, key_fields, table_columns

DAYS_AHEAD = 7


def statements(topic: str) -> list[Composed]:
    """What makes one category's table, its index and its grants; to be run as the promoter, who owns it."""
    columns = table_columns(topic)
    table = SQL("realtime.{}").format(Identifier(topic))
    time = "timestamp" if "timestamp" in columns else "received_at"
    return [
        SQL("create table if not exists {} ({}) partition by range (received_at)").format(
            table, SQL(", ").join(_column(name, kind) for name, kind in columns.items())
        ),
        SQL("create index if not exists {} on {} ({})").format(
            Identifier(f"{topic}_key"), table, SQL(", ").join(map(Identifier, (key_fields(topic)[1], time)))
        ),
        SQL("grant insert on {} to stream_writer").format(table),
    ]


def _column(name: str, kind: str) -> Composed:
    default = " default '{}'" if name == "attributes" else ""
    return SQL("{} {} not null{}").format(Identifier(name), SQL(kind), SQL(default))


def create(connection: Connection) -> None:
    """Make what is missing: tables, indexes, grants, and the partitions of today (UTC) and the seven days ahead."""
    connection.execute("set role promoter")
    for topic in CATEGORIES:
        for statement in statements(topic):
            connection.execute(statement)
        connection.execute(
            "select realtime.ensure_partition(%s, (now() at time zone 'utc')::date + ahead) "
            "from generate_series(0, %s) as ahead",
            (topic, DAYS_AHEAD),
        )
    connection.execute("reset role")
