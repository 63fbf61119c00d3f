"""The oldest day of `realtime`, the disks, and transactions that hang: measured once a minute, beside the lane."""

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from realtime import partitions
from stream_shim.running.alerts import Causes, causes_of_disk, causes_of_oldest_day, causes_of_transactions
from tidemark import open_transactions
from tidemark.connections import DATABASES, PROMPT_LIMITS, connect_once
from tidemark.disk import FileSystem, bytes_a_day, file_systems
from tidemark.errors import StackError
from tidemark.settings import Settings

log = logging.getLogger("tidemark.stream")

MEASURE_SECONDS = 60.0
ROLE = "stream_writer"  # who may ask what a table takes, though not what is in it
LIMITS = {**PROMPT_LIMITS, "options": "-c statement_timeout=10s"}


@dataclass(frozen=True)
class Measured:
    """What one look gave; the age is None where the database did not say, or has no day."""

    oldest_day_age_days: int | None = None
    file_systems: list[FileSystem] = field(default_factory=list)
    transactions: Causes = field(default_factory=dict)  # which hang

    def report(self) -> dict[str, Any]:
        """For the supervisor's report, of which the metrics are made."""
        left = {str(each.path): each.days_left for each in self.file_systems if each.days_left is not None}
        return {"oldest_day_age_days": self.oldest_day_age_days, "disk_days_left": left}


class Measurements:
    """Measures in a thread of its own, as a database may keep it waiting; what it last found may be asked any time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread: threading.Thread | None = None
        self._next_at = 0.0
        self.last = self._before = Measured()

    def look(self) -> Causes:
        """What needs a person, by the last measurement; begins another one when it is time."""
        if time.monotonic() >= self._next_at and (self._thread is None or not self._thread.is_alive()):
            self._next_at = time.monotonic() + MEASURE_SECONDS
            self._thread = threading.Thread(target=self._measure, name="measurements", daemon=True)
            self._thread.start()
        before, last = self._before, self.last
        # Who waits for a lock gives up and tries again: what one measurement of two saw goes on.
        causes = before.transactions | last.transactions
        return (
            causes | causes_of_oldest_day(self._settings, last.oldest_day_age_days) | causes_of_disk(last.file_systems)
        )

    def _measure(self) -> None:
        self._before, self.last = self.last, measure(self._settings)


def measure(settings: Settings) -> Measured:
    """Ask the databases and the disks now. A database that does not answer leaves its own numbers out."""
    age, day_bytes = None, None
    try:
        with connect_once(settings, "realtime", ROLE, **LIMITS) as connection:
            oldest = partitions.oldest_day(connection)
            age = None if oldest is None else (datetime.now(UTC).date() - oldest).days
            day_bytes = bytes_a_day(partitions.bytes_by_day(connection))
    except (psycopg.Error, StackError) as failure:
        log.info("expected realtime to say how old its oldest day is, received %s", " ".join(str(failure).split()))
    return Measured(age, file_systems(settings, day_bytes), _transactions(settings))


def _transactions(settings: Settings) -> Causes:
    """Those that hang, of both databases: promotion moves from one to the other."""
    found: Causes = {}
    for database in DATABASES:
        try:
            with connect_once(settings, database, open_transactions.ROLE, **LIMITS) as connection:
                held, hanging = open_transactions.held(connection), open_transactions.hanging(connection)
        except (psycopg.Error, StackError) as failure:
            log.info(
                "expected %s to say whose transactions hang, received %s", database, " ".join(str(failure).split())
            )
        else:
            found |= causes_of_transactions(database, held, hanging)
    return found
