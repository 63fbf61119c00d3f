"""The oldest day of `realtime` and the disks: measured once a minute, beside the lane, for its metrics."""

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from realtime import partitions
from tidemark.connections import PROMPT_LIMITS, connect_once
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
        self.last = Measured()

    def look(self) -> None:
        """Begin another measurement when it is time."""
        if time.monotonic() >= self._next_at and (self._thread is None or not self._thread.is_alive()):
            self._next_at = time.monotonic() + MEASURE_SECONDS
            self._thread = threading.Thread(target=self._measure, name="measurements", daemon=True)
            self._thread.start()

    def _measure(self) -> None:
        self.last = measure(self._settings)


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
    return Measured(age, file_systems(settings, day_bytes))
