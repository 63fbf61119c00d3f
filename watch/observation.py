"""What was seen of one thing at one moment, and how one is made: a look that fails is an observation too."""

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from tidemark.output import visible
from tidemark.refusals import of_a_file
from tidemark.settings import Settings

# `waiting` is for what has not been yet, or what a person may give, or not: nothing is wrong, and nothing was seen.
State = Literal["failing", "unknown", "warning", "waiting", "ok"]
WELL: tuple[State, ...] = ("ok", "waiting")
WORST_FIRST: tuple[State, ...] = ("failing", "unknown", "warning", "waiting", "ok")
RUNBOOK = "docs/runbook"
_HALF = re.compile("[\ud800-\udfff]")
Number = float | int | str | None


@dataclass(frozen=True)
class Observation:
    """One condition of one thing. `name` and what it is of stay the same whatever the state, so that states compare.

    `since` is UTC, and None where nothing says it. `mend` is a command, or a page of the runbook, and empty where
    nothing is wrong. `numbers` have their unit in their names.
    """

    name: str  # of the condition, as the alerts name it: `stopped processor`, `lag`
    kind: str  # of what is looked at: server, database, topic, processor, ..
    identity: str  # which one
    state: State
    sentence: str
    since: datetime | None = None
    mend: str = ""
    numbers: dict[str, Number] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How people name it."""
        return titled(self.name, self.identity)

    def row(self) -> dict[str, Any]:
        """The observation as JSON has it."""
        return asdict(self) | {"since": None if self.since is None else self.since.isoformat(timespec="seconds")}


def titled(name: str, identity: str) -> str:
    """A condition with what it is of, unless that is a word of it: `the guard does not run`, `lag: realtime`."""
    return name if f" {identity} " in f" {name} " else f"{name}: {identity}"


@dataclass(frozen=True)
class Look:
    """One question to the world outside. Where it fails, or does not return, `name`, `kind`, `identity` are unknown."""

    name: str
    kind: str
    identity: str
    ask: Callable[[Settings], Iterable[Observation]]
    needs_stack: bool = True  # where the stack is down on purpose, nothing is to be seen of it
    every_seconds: float = 30.0  # that the watcher lets pass

    def unknown(self, why: str) -> Observation:
        """What is said instead of an answer; never that all is well."""
        said = why if why.startswith("expected ") else f"expected an answer, received {why}"
        return Observation(self.name, self.kind, self.identity, "unknown", said)

    def run(self, settings: Settings) -> list[Observation]:
        """What is seen."""
        seen: list[Observation] = []
        try:
            for one in self.ask(settings):
                seen.append(encodable(one))  # one by one: what was seen before a look fails stays
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is what was seen, and hides no other look
            said = (of_a_file(failure) if isinstance(failure, OSError) else None) or failure
            seen.append(encodable(self.unknown(one_line(said) or type(failure).__name__)))
        return seen


def encodable(one: Observation) -> Observation:
    """The same, halves of surrogate pairs shown as escapes: words of others may hold some, and no file takes them."""
    texts = (one.identity, one.sentence, one.mend, *(each for each in one.numbers.values() if isinstance(each, str)))
    if not any(map(_HALF.search, texts)):
        return one
    numbers = {name: visible(each) if isinstance(each, str) else each for name, each in one.numbers.items()}
    return replace(
        one, identity=visible(one.identity), sentence=visible(one.sentence), mend=visible(one.mend), numbers=numbers
    )


def one_line(failure: BaseException) -> str:
    """What an error says."""
    return " ".join(str(failure).split())


def moment(seconds: float | None) -> datetime | None:
    """A time (UTC) of seconds since 1970; None where there is none, or 0."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
