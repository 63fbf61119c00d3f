"""The day partitions to come: made at each `up`, so that no record has to wait for its day."""

from psycopg import Connection

from tidemark.categories import CATEGORIES

DAYS_AHEAD = 7


def make_ahead(connection: Connection) -> None:
    """Make what is missing of the partitions of today (UTC) and the seven days ahead; `connection` in autocommit."""
    connection.execute("set role promoter")
    for topic in CATEGORIES:
        connection.execute(
            "select realtime.ensure_partition(%s, (now() at time zone 'utc')::date + ahead) "
            "from generate_series(0, %s) as ahead",
            (topic, DAYS_AHEAD),
        )
    connection.execute("reset role")
