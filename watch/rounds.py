"""Asks each look again in its time, and keeps what each said last. One that hangs keeps one thread."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tidemark.settings import Settings
from watch.history import Thing
from watch.observation import Look, Observation
from watch.status_file import Seen

AGAIN_SECONDS = 15.0  # until one that could not see is asked again, however seldom it is asked else
LOOK_SECONDS = 10.0  # after so long without an answer it is unknown


def begin(settings: Settings, look: Look) -> "Future[list[Observation]]":
    """Ask in a thread of its own, which nobody waits for: what hangs keeps no other."""
    answer: Future[list[Observation]] = Future()
    threading.Thread(
        target=lambda: answer.set_result(look.run(settings)), name=f"look {look.name}", daemon=True
    ).start()
    return answer


@dataclass
class _Asked:
    """A look, when it is asked next, and what it said last. Moments are of the monotonic clock."""

    look: Look
    next_at: float = 0.0
    began: float = 0.0
    answer: "Future[list[Observation]] | None" = None
    is_late: bool = False
    has_answered: bool = False
    seen: dict[Thing, Seen] = field(default_factory=dict)


class Rounds:
    """Used by one thread."""

    def __init__(self, settings: Settings, looks: Sequence[Look]) -> None:
        self._settings = settings
        self._asked = [_Asked(look) for look in looks]

    def turn(self, now: float) -> bool:
        """Ask what is due, and take what was answered; whether anything new is known. `now`: the monotonic clock."""
        news = False
        for asked in self._asked:
            if asked.answer is None and now >= asked.next_at:
                asked.answer, asked.began, asked.is_late = begin(self._settings, asked.look), now, False
            elif asked.answer is not None and asked.answer.done():
                self._take(asked, answer := asked.answer.result())
                failed = any(one.state == "unknown" for one in answer)
                wait = min(asked.look.every_seconds, AGAIN_SECONDS) if failed else asked.look.every_seconds
                asked.answer, asked.next_at = None, max(now, asked.began + wait)
                news = True
            elif asked.answer is not None and not asked.is_late and now - asked.began > LOOK_SECONDS:
                asked.is_late = news = True  # an answer that comes later counts from then on
                self._take(asked, [asked.look.unknown(f"none within {LOOK_SECONDS:.0f} s")])
        return news

    def _take(self, asked: _Asked, answer: Sequence[Observation]) -> None:
        at, asked.has_answered = datetime.now(UTC), True
        new = {Thing.of(one): Seen.of(one, at) for one in answer}
        own = new.get(Thing(asked.look.name, asked.look.kind, asked.look.identity))
        failed = own.sentence if own is not None and own.state == "unknown" else ""
        wrong = {_whole(one.identity): one.title for one in answer if one.state in ("failing", "unknown")}
        for thing, before in asked.seen.items():
            if thing not in new and (why := failed or wrong.get(_whole(thing.identity), "")):
                said = f"it could not be seen: {why}"
                new[thing] = replace(before, state="unknown", sentence=said, mend="", since=None)
        asked.seen = new

    @property
    def is_whole(self) -> bool:
        """Whether every look has answered, or let wait too long, since this began."""
        return all(asked.has_answered for asked in self._asked)

    def seen(self) -> list[Seen]:
        """What is known now, in the looks' order; what nobody has looked at yet is unknown, seen at no moment."""
        found: list[Seen] = []
        for asked in self._asked:
            if not asked.has_answered:
                found.append(Seen.of(asked.look.unknown("expected an answer, it was just asked"), None))
            found += asked.seen.values()
        return found


def _whole(identity: str) -> str:
    """The thing that a part is of: `binance` of `binance: BTC/USDT`, `realtime` of `realtime market_tick`."""
    return identity.partition(":")[0].partition(" ")[0]
