"""Who calls: a key of `tidemark access key`, at the rate that it allows, and what each caller took."""

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from serve.problems import Problem, busy
from tidemark.access.keys import Caller as Caller  # noqa: PLC0414 (routes take it from here)
from tidemark.access.keys import KeyRefused, Keys
from tidemark.errors import StackError
from tidemark.settings import Settings

BURST_SECONDS = 2.0  # a caller that was silent may ask for so many seconds' worth at once
_HOW = "send one as `Authorization: Bearer KEY`, `X-API-Key: KEY` or `?apikey=KEY`; `tidemark access key NAME` makes it"
_REASONS = {"expired": "a key that has expired", "revoked": "a key that was revoked"}


@dataclass
class Usage:
    """What a key took of this process, since it started."""

    requests: int = 0
    rows: int = 0
    bytes: int = 0
    last_use_at: float = 0.0  # seconds since 1970


@dataclass
class _Allowance:
    """A bucket of requests that fills at the key's rate."""

    left: float
    filled_at: float  # monotonic clock

    def take(self, rate: float) -> float:
        """0.0 where a request may be answered now, else the seconds until one may."""
        now, most = time.monotonic(), max(1.0, rate * BURST_SECONDS)
        self.left = min(most, self.left + (now - self.filled_at) * rate)
        self.filled_at = now
        if self.left < 1.0:
            return (1.0 - self.left) / rate
        self.left -= 1.0
        return 0.0


class Callers:
    """Lets callers in; what is counted is of this process alone, by key."""

    def __init__(self, settings: Settings) -> None:
        self._keys = Keys(settings)
        self._allowances: dict[str, _Allowance] = {}
        self._usage: dict[str, Usage] = {}

    def admit(self, presented: str | None) -> Caller:
        """Who sent the key. Problem 401 where nobody did, 429 where too many requests were sent with it."""
        if not presented:
            raise _refusal(f"expected a key, received none: {_HOW}")
        try:
            caller = self._keys.check(presented)
        except KeyRefused as error:
            raise _refusal(
                f"expected a key, received {_REASONS.get(error.reason, 'none that is known')}: {_HOW}"
            ) from None
        except StackError as error:
            raise busy(f"expected to look a key up, received: {error}", 5) from None
        self._limit(caller)
        self._keys.note_use(caller.key_id)
        usage = self.usage(caller)
        usage.requests, usage.last_use_at = usage.requests + 1, time.time()
        return caller

    def is_open(self, presented: str) -> bool:
        """Whether a key that was let in still opens; True where it cannot be looked up now."""
        try:
            self._keys.check(presented)
        except KeyRefused:
            return False
        except StackError:
            return True
        return True

    def close(self) -> None:
        """Keep when each key was used last."""
        self._keys.close()

    def usage(self, caller: Caller) -> Usage:
        """What the key took so far."""
        return self._usage.setdefault(caller.key_id, Usage())

    def _limit(self, caller: Caller) -> None:
        rate = caller.requests_per_second
        if caller.key_id not in self._allowances:
            self._allowances[caller.key_id] = _Allowance(max(1.0, rate * BURST_SECONDS), time.monotonic())
        if seconds := self._allowances[caller.key_id].take(rate):
            raise Problem(
                429,
                "too many requests",
                f"expected at most {rate:g} requests a second with this key, received more: wait {seconds:.1f} s",
                headers={"Retry-After": str(max(1, round(seconds + 0.5)))},
            )


def _refusal(detail: str) -> Problem:
    return Problem(401, "no key that opens", detail, headers={"WWW-Authenticate": 'Bearer realm="tidemark"'})


async def caller(request: Request) -> Caller:
    """FastAPI's dependency: who calls. The key was taken out of the request by serve.gate.

    In the event loop, as nothing is waited for: the threads may all be taken by those who read ranges.
    """
    callers: Callers = request.app.state.callers
    found = callers.admit(request.scope.get("tidemark.key"))
    request.scope["tidemark.called"]["caller"] = found
    return found


def may(caller: Caller, name: str) -> bool:
    """Whether the key's scope has a schema (`live`, `marts`, ..) or a route; an empty one has all."""
    return not caller.scope or name in caller.scope


def note_rows(request: Request, rows: int) -> None:
    """Count the rows of an answer for its caller."""
    request.scope["tidemark.called"]["rows"] = rows


CallerOf = Annotated[Caller, Depends(caller)]
