"""The tables of the four categories, derived from tidemark/categories.py, and the day partitions to come."""

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from tidemark.categories import CATEGORIES, key_fields, table_columns

DAYS_AHEAD = 7

# Columns that the database derives from a row itself, for its index to hold. An id may be longer than an index takes.
DERIVED = {
    "market_tick": {"trade_key": "bigint generated always as (hashtextextended(attributes ->> 'id', 0)) stored"},
}
# The ticks of a symbol lie far apart, each on a page of its own: the index holds all that last prices and bars read.
# The minute, which says nothing that the time does not, is there so that bounds on a bar's start reach the index.
INDEXES = {
    "market_tick": """
        (symbol, date_bin('1 minute', "timestamp", 'epoch'), "timestamp")
        include (source_system, price, size, trade_key, log_epoch, kafka_partition, kafka_offset, received_at)
    """,
}


def statements(topic: str) -> list[Composed]:
    """What makes one category's table, its index and its grants; to be run as the promoter, who owns it."""
    columns = table_columns(topic)
    derived = [SQL("{} {}").format(Identifier(name), SQL(kind)) for name, kind in DERIVED.get(topic, {}).items()]
    table = SQL("realtime.{}").format(Identifier(topic))
    keys = SQL("({}, received_at)").format(Identifier(key_fields(topic)[1]))
    return [
        SQL("create table if not exists {} ({}) partition by range (received_at)").format(
            table, SQL(", ").join([*(_column(name, kind) for name, kind in columns.items()), *derived])
        ),
        SQL("create index if not exists {} on {} {}").format(
            Identifier(f"{topic}_key"), table, SQL(INDEXES[topic]) if topic in INDEXES else keys
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
