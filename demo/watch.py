"""Watch the replay: what the sources sent, the connectors published, the topics hold and the processor took."""

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from demo.errors import DemoFailed
from loopback.session import Session
from tidemark.categories import CATEGORIES
from tidemark.settings import Settings
from tidemark.state_file import NotWhole, read_whole

LOOK_SECONDS = 1.0
QUIET_SECONDS = 2.5  # a connector holds the last book back until it sees a pause of a second
STALLED_SECONDS = 120  # nothing moved for so long: something is broken, not slow
STREAMS = ("btcusdt@trade", "ethusdt@trade", "btcusdt@depth@100ms")
CONNECTORS = ("binance", "sec_edgar", "fred")


@dataclass
class Seen:
    """One look at the replay; counts by topic, of the connectors by name and topic."""

    served: dict[str, dict[str, Any]] = field(default_factory=dict)  # source to its server's status
    sent: dict[str, dict[str, int]] = field(default_factory=dict)  # connector to topic to acknowledged records
    rejected: dict[str, int] = field(default_factory=dict)  # connector to messages that were no datum
    held: dict[str, int] = field(default_factory=dict)  # topic to records in it
    consumed: dict[str, int] = field(default_factory=dict)  # topic to offsets that the processor has passed

    @property
    def sent_by_topic(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for counts in self.sent.values():
            total.update(counts)
        return total

    def counts(self) -> tuple[object, ...]:
        """What stands still once all is through."""
        return (self.sent, self.held, self.consumed, self.served["binance"]["sent"] if self.served else None)


def look(settings: Settings, urls: dict[str, str]) -> Seen:
    """Ask the servers, read the connectors' reports, the topics' ends and the processor's positions."""
    from flows.account import account
    from flows.closing import log_ends

    seen = Seen()
    for name in CONNECTORS:
        seen.served[name] = httpx.get(f"{urls[name]}/_replay/status", timeout=30).json()
        report = _report(settings, name)
        seen.sent[name] = report.get("sent", {})
        seen.rejected[name] = sum(report.get("rejected", {}).values())
    ends = log_ends(settings, list(CATEGORIES))
    seen.held = {topic: sum(end.offsets.values()) for topic, end in ends.items()}
    for balance in account(settings):
        seen.consumed[balance.topic] = seen.consumed.get(balance.topic, 0) + balance.consumed
    return seen


def _report(settings: Settings, name: str) -> dict[str, Any]:
    """The connector's counts; nothing while it has written none, or is writing them."""
    try:
        return read_whole(settings.home / "run" / f"connector-{name}.json") or {}
    except NotWhole:
        return {}


def is_exhausted(seen: Seen, last_fred: int) -> bool:
    """Whether the sources have nothing more to give: all streams, all polls, all observations of FRED."""
    binance = seen.served["binance"]
    streams = all(binance["sent"].get(name, -1) == binance["recorded"].get(name) for name in STREAMS)
    fred = sum(seen.sent["fred"].values()) >= last_fred
    return streams and bool(seen.served["sec_edgar"]["exhausted"]) and fred


def is_through(seen: Seen) -> bool:
    """Whether the topics hold what was sent, and all of it was consumed."""
    return all(
        seen.sent_by_topic[topic] == seen.held.get(topic, 0) == seen.consumed.get(topic, 0) for topic in CATEGORIES
    )


class Watch:
    """Looks on in a thread of its own until all is through; `seen` is the newest look, `changed_at` when each moved."""

    def __init__(
        self, settings: Settings, urls: dict[str, str], session: Session, stream: "subprocess.Popen[bytes]",
        show: Callable[[Seen], None],
    ) -> None:  # fmt: skip
        self.seen = Seen()
        self.changed_at: dict[str, float] = {}
        self._settings, self._urls, self._stream, self._show = settings, urls, stream, show
        self._fred = [sum(session.fred_sent(recordings)) for recordings in (1, 2)]
        self._first_fred, self._through, self._given_up = threading.Event(), threading.Event(), threading.Event()
        self._asked_for_next = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._given_up.set()
        self._thread.join()

    def next_recording(self) -> None:
        """Let FRED go on to its second recording, once the first has arrived."""
        self._wait(self._first_fred)
        httpx.post(f"{self._urls['fred']}/_replay/next", timeout=30).raise_for_status()
        self._asked_for_next = True

    def until_through(self) -> Seen:
        """The last look, when all is through; nobody waits for the pace of trades."""
        httpx.post(f"{self._urls['binance']}/_replay/next", timeout=30).raise_for_status()
        self._wait(self._through)
        return self.seen

    def _wait(self, event: threading.Event) -> None:
        event.wait()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._look_on()
        except BaseException as error:  # noqa: BLE001, it is raised where somebody waits
            self._failure = error
        finally:
            self._first_fred.set()
            self._through.set()

    def _look_on(self) -> None:
        still_since = time.monotonic()
        while not self._given_up.wait(LOOK_SECONDS):
            seen, now = look(self._settings, self._urls), time.monotonic()
            waits_for_batch = self._first_fred.is_set() and not self._asked_for_next
            if seen.counts() != self.seen.counts() or waits_for_batch:
                still_since = now
            self._note_changes(seen, now)
            self.seen = seen
            self._show(seen)
            if sum(seen.sent["fred"].values()) >= self._fred[0]:
                self._first_fred.set()
            if is_exhausted(seen, self._fred[1]) and is_through(seen) and now - still_since >= QUIET_SECONDS:
                return
            self._check_alive(now - still_since)

    def _note_changes(self, seen: Seen, now: float) -> None:
        for name in CONNECTORS:
            if seen.sent[name] != self.seen.sent.get(name):
                self.changed_at[name] = now
        for place, counts, before in (
            ("held", seen.held, self.seen.held),
            ("consumed", seen.consumed, self.seen.consumed),
        ):
            for topic, count in counts.items():
                if count != before.get(topic):
                    self.changed_at[f"{place} {topic}"] = now

    def _check_alive(self, seconds: float) -> None:
        logs = self._settings.home / "logs"
        if self._stream.poll() is not None:
            raise DemoFailed(f"expected `tidemark stream run` to go on, it ended: {logs}/stream-run.log says why")
        if seconds > STALLED_SECONDS:
            raise DemoFailed(
                f"expected the replay to go on, nothing moved for {STALLED_SECONDS} s: "
                f"sources gave {self.seen.served}, "
                f"connectors sent {self.seen.sent}, topics hold {self.seen.held}, consumed {self.seen.consumed}; "
                f"{logs} says more"
            )
