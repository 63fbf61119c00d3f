"""What the guard did: a line in its log, a count in `guard.action` of the database realtime, a post to the webhook."""

import logging
import queue
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import Connection

from tidemark.connections import connect
from tidemark.errors import StackError
from tidemark.output import visible
from tidemark.settings import Settings
from tidemark.webhook import post

log = logging.getLogger("tidemark.guard")

LINES_A_MINUTE = 20  # of one role and reason; the rest are counted
OVER_SECONDS = 600.0  # so long after the last action, what was raised is over
RETRY_SECONDS = 5.0  # before the webhook is asked again after it did not take an alert
CLOSE_SECONDS = 10.0
SEEN_SECONDS = 60.0  # between two writes of when a role was seen
DETAIL_CHARACTERS = 300  # a reader may have written the most of it
WAITING = 10_000  # actions that may wait for the database; beyond that they are in the log alone

_KEEP = """
insert into guard.action (day, role_name, database_name, reason, times, last_detail)
values ((now() at time zone 'utc')::date, %s, %s, %s, %s, %s)
on conflict (day, role_name, database_name, reason) do update
set times = action.times + excluded.times, last_at = now(), last_detail = excluded.last_detail
"""
_SEE = """
insert into guard.role_seen (role_name, last_seen_at, last_database)
select * from unnest(%s::text[], %s::timestamptz[], %s::text[])
on conflict (role_name) do update set last_seen_at = excluded.last_seen_at, last_database = excluded.last_database
"""


@dataclass(frozen=True)
class Action:
    """One thing done about one role. `reason` is one of few, to count by; `detail` says whom, since when, and why."""

    role: str
    database: str
    reason: str
    detail: str

    @property
    def cause(self) -> str:
        """What an alert is about."""
        return f"guard: {self.reason}, {self.role}"


def shortened(text: str) -> str:
    """At most DETAIL_CHARACTERS of it, on one line."""
    shown = visible(text[: DETAIL_CHARACTERS + 1])
    return shown if len(shown) <= DETAIL_CHARACTERS else shown[: DETAIL_CHARACTERS - 1] + "…"


class Journal:
    """Takes actions from every thread; `flush` is called by one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._actions: queue.Queue[Action] = queue.Queue(WAITING)
        self._said: Counter[tuple[str, str]] = Counter()
        self._minute = 0.0
        self._connection: Connection[Any] | None = None
        self._unkept: dict[tuple[str, str, str], tuple[int, str]] = {}
        self._seen: dict[str, tuple[datetime, str]] = {}  # sessions that are not kept yet: when, and in which database
        self._seen_kept: dict[str, float] = {}  # of the monotonic clock
        self._refused = ""  # why the table took nothing last; said once
        self._alerts = _Alerts(settings)
        self._alerts.start()

    def note(self, action: Action) -> None:
        """Log it, and keep it with the next flush."""
        action = replace(action, detail=shortened(action.detail))
        if time.monotonic() - self._minute > 60:
            said, self._said, self._minute = self._said, Counter(), time.monotonic()
            for (role, reason), times in said.items():
                if times > LINES_A_MINUTE:
                    log.warning("%s: %s: %d times in a minute", role, reason, times)
        self._said[action.role, action.reason] += 1
        if self._said[action.role, action.reason] <= LINES_A_MINUTE:
            log.warning("%s, %s: %s", action.role, action.database, action.detail)
        with suppress(queue.Full):
            self._actions.put_nowait(action)

    def saw(self, role: str, database: str) -> None:
        """That a session of the role is there now: kept once in SEEN_SECONDS."""
        self._seen[role] = (datetime.now(UTC), database)

    def flush(self) -> None:
        """Bring what was noted to the table and the webhook; what the database does not take waits for the next."""
        while not self._actions.empty():
            action = self._actions.get()
            key = (action.role, action.database, action.reason)
            self._unkept[key] = (self._unkept.get(key, (0, ""))[0] + 1, action.detail)
            self._alerts.note(action)
        due = [
            role for role in self._seen if time.monotonic() - self._seen_kept.get(role, -SEEN_SECONDS) >= SEEN_SECONDS
        ]
        if self._unkept or due:
            self._keep(due)

    def close(self) -> None:
        """Flush, and give the webhook a while to take what waits for it."""
        self.flush()
        self._alerts.close()
        if self._connection is not None:
            self._connection.close()

    def _keep(self, due: list[str]) -> None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(
                    self._settings, "realtime", "guard", autocommit=True, application_name="tidemark-guard",
                    options="-c statement_timeout=5s -c lock_timeout=1s",
                )  # fmt: skip
            for key, (times, detail) in list(self._unkept.items()):
                self._connection.execute(_KEEP, (*key, times, detail))
                del self._unkept[key]
            if due:
                self._keep_seen(self._connection, due)
            self._refused = ""
        except (StackError, psycopg.Error) as error:
            if (said := " ".join(str(error).split())) != self._refused:
                self._refused = said
                log.info(
                    "expected guard.action to take what was done, or seen, received %s; tried again every second", said
                )
            if self._connection is not None and self._connection.broken:
                self._connection.close()

    def _keep_seen(self, connection: Connection[Any], due: list[str]) -> None:
        seen = {role: self._seen.pop(role) for role in due}
        connection.execute(_SEE, (due, [at for at, _ in seen.values()], [database for _, database in seen.values()]))
        self._seen_kept.update(dict.fromkeys(due, time.monotonic()))


class _Alerts(threading.Thread):
    """Posts each cause when it begins and when it is over; a webhook that hangs keeps nobody else waiting.

    What the webhook does not take is posted again every RETRY_SECONDS, until it is over.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="alerts", daemon=True)
        self._settings = settings
        self._raised: dict[str, tuple[float, str]] = {}  # a cause: when it was raised last, and about what
        self._posted: set[str] = set()
        self._changed, self._stop_asked = threading.Event(), threading.Event()

    def note(self, action: Action) -> None:
        """Post it, if its cause is new."""
        self._raised[action.cause] = (time.monotonic(), action.detail)
        if action.cause not in self._posted:
            self._changed.set()

    def close(self) -> None:
        """End, once what waits is posted or CLOSE_SECONDS are over."""
        self._stop_asked.set()
        self._changed.set()
        self.join(CLOSE_SECONDS)

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self._changed.wait(RETRY_SECONDS)
            self._changed.clear()
            if not self._post_all():
                self._stop_asked.wait(RETRY_SECONDS)
        self._post_all()

    def _post_all(self) -> bool:
        for cause, (last_at, detail) in list(self._raised.items()):
            if time.monotonic() - last_at > OVER_SECONDS:
                if cause in self._posted and not post(self._settings, "over", cause, detail):
                    return False
                self._posted.discard(cause)
                if self._raised[cause][0] == last_at:
                    del self._raised[cause]
            elif cause not in self._posted:
                if not post(self._settings, "raised", cause, detail):
                    return False
                self._posted.add(cause)
        return True
