"""One step between what a server has and what the access file says: a sentence for people, statements for Postgres."""

from dataclasses import dataclass

from psycopg.sql import Composed


@dataclass(frozen=True)
class Change:
    """What changes of one role, and what does it."""

    role: str
    change: str
    statements: tuple[Composed, ...]
    ends_sessions: bool = False
