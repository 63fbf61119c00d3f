"""What the guard did: a line in its log, a count in `guard.action` of the database realtime, a post to the webhook."""

import logging
import queue
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection

from tidemark.connections import connect
from tidemark.errors import StackError
from tidemark.settings import Settings

log = logging.getLogger("tidemark.guard")

LINES_A_MINUTE = 20  # of one role and reason; the rest are counted
OVER_SECONDS = 600.0  # so long after the last action, what was raised is over
POST_SECONDS = 5
WAITING = 10_000  # actions that may wait for the database; beyond that they are in the log alone

_KEEP = """
insert into guard.action (day, role_name, database_name, reason, times, last_detail)
values ((now() at time zone 'utc')::date, %s, %s, %s, %s, %s)
on conflict (day, role_name, database_name, reason) do update
set times = action.times + excluded.times, last_at = now(), last_detail = excluded.last_detail
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


class Journal:
    """Takes actions from every thread; `flush` is called by one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._actions: queue.Queue[Action] = queue.Queue(WAITING)
        self._said: Counter[tuple[str, str]] = Counter()
        self._minute = 0.0
        self._connection: Connection[Any] | None = None
        self._unkept: dict[tuple[str, str, str], tuple[int, str]] = {}
        self._alerts = _Alerts(settings)
        self._alerts.start()

    def note(self, action: Action) -> None:
        """Log it, and keep it with the next flush."""
        if time.monotonic() - self._minute > 60:
            said, self._said, self._minute = self._said, Counter(), time.monotonic()
            for (role, reason), times in said.items():
                if times > LINES_A_MINUTE:
                    log.warning("%s: %s: %d times in a minute", role, reason, times)
        self._said[action.role, action.reason] += 1
        if self._said[action.role, action.reason] <= LINES_A_MINUTE:
            log.warning("%s, %s: %s", action.role, action.database, action.detail)
        if not self._actions.full():
            self._actions.put_nowait(action)

    def flush(self) -> None:
        """Bring what was noted to the table and the webhook; what the database does not take waits for the next."""
        while not self._actions.empty():
            action = self._actions.get()
            key = (action.role, action.database, action.reason)
            self._unkept[key] = (self._unkept.get(key, (0, ""))[0] + 1, action.detail)
            self._alerts.raised.put(action)
        if self._unkept:
            self._keep()

    def _keep(self) -> None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(
                    self._settings, "realtime", "guard", autocommit=True, application_name="tidemark-guard",
                    options="-c statement_timeout=5s -c lock_timeout=1s",
                )  # fmt: skip
            for key, (times, detail) in list(self._unkept.items()):
                self._connection.execute(_KEEP, (*key, times, detail))
                del self._unkept[key]
        except (StackError, psycopg.Error) as error:
            log.info("expected guard.action to take what was done, received %s", " ".join(str(error).split()))
            if self._connection is not None and self._connection.broken:
                self._connection.close()


class _Alerts(threading.Thread):
    """Posts each cause when it begins and when it is over; a webhook that hangs keeps nobody else waiting."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="alerts", daemon=True)
        self.raised: queue.SimpleQueue[Action] = queue.SimpleQueue()
        self._webhook = settings.alert_webhook
        self._open: dict[str, tuple[float, str]] = {}

    def run(self) -> None:
        while True:
            try:
                action = self.raised.get(timeout=OVER_SECONDS / 10)
                if action.cause in self._open or self._post("raised", action.cause, action.detail):
                    self._open[action.cause] = (time.monotonic(), action.detail)
            except queue.Empty:
                pass
            for cause, (last_at, detail) in list(self._open.items()):
                if time.monotonic() - last_at > OVER_SECONDS and self._post("over", cause, detail):
                    del self._open[cause]

    def _post(self, state: str, cause: str, text: str) -> bool:
        log.warning("alert %s: %s: %s", state, cause, text)
        if self._webhook is None:
            return True
        import httpx

        body = {"state": state, "cause": cause, "text": text, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        try:
            httpx.post(self._webhook.get_secret_value(), json=body, timeout=POST_SECONDS).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.error("expected TIDEMARK_ALERT_WEBHOOK to take an alert, received %s", type(error).__name__)
            return False
        return True
