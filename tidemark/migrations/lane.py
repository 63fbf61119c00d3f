"""Whether the streaming lane writes: what a migration that rewrites partitions must not run beside."""

from pathlib import Path

import psycopg

from tidemark.lock_file import is_held

__all__ = ["WRITER", "is_held", "writers"]

WRITER = "stream_writer"


def writers(connection: psycopg.Connection, home: Path) -> list[str]:
    """The processors of the state folder that run, and the sessions of their role in this database, from anywhere."""
    sessions = connection.execute(
        "select format('pid %%s from %%s', pid, coalesce(host(client_addr), 'this machine')) from pg_stat_activity "
        "where datname = current_database() and usename = %s order by pid",
        (WRITER,),
    ).fetchall()
    processes = [path.stem for path in sorted((home / "run").glob("processor-*.lock")) if is_held(path)]
    return [*processes, *(f"a session of {WRITER} ({session})" for (session,) in sessions)]
