"""Which part of the platform each observation is of, and how a part is: as bad as the worst that is seen of it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import yaml

from tidemark.output import visible
from tidemark.secrets import hide
from tidemark.settings import PROJECT
from watch.history import Thing
from watch.observation import WELL, WORST_FIRST, Number, State
from watch.status_file import Seen

MEANINGS = Path(__file__).parent / "meanings.yml"
BALANCE = "balance is not 0"
MOST_CHARACTERS = 300  # of a sentence

BALANCE_GROUP, SOURCES, TOPICS, DESTINATIONS = "Balance", "Sources", "Topics", "Destinations"
DATABASES, FLOWS, CONTRACTS, MARTS, PLATFORM = "Databases", "Flows", "Contracts", "Marts", "Servers"
GROUPS = (BALANCE_GROUP, SOURCES, TOPICS, DESTINATIONS, DATABASES, FLOWS, CONTRACTS, MARTS, PLATFORM)
_GROUP_OF = {
    "source": SOURCES, "connector": SOURCES, "feed": SOURCES, "source table": SOURCES, "topic": TOPICS,
    "processor": DESTINATIONS, "destination": DESTINATIONS, "database": DATABASES, "account": DATABASES, "flow": FLOWS,
    "flows": FLOWS, "contracts": CONTRACTS, "models": CONTRACTS, "mart": MARTS,
}  # fmt: skip
# Of these no identity is shown: they are paths, hosts, or names of people and roles.
_UNNAMED = {
    "state folder": "state folder", "disk": "disks", "credential": "certificates and keys", "guard": "guard",
    "certificate": "certificates and keys", "api key": "certificates and keys",
}  # fmt: skip

_OF_A_ROW = re.compile(r"\s*(DETAIL:|CONTEXT:|QUERY:|HINT:|LINE \d+:|Failing row contains).*", re.DOTALL)
_ADDRESS = re.compile(
    r"(\w+://\S+)|((?<![\w.])(\d{1,3}(\.\d{1,3}){3}|localhost|[\w-]+(\.[\w-]+)+|\[[\da-f:]+\]):\d{2,5}(/\w+)?)"
)
_PATH = re.compile(r"(?<![\w<….])/(?:[\w.+-]+/)+[\w.+-]*")
_FOR_OPERATORS = re.compile(r"[…`]|\blogs/")


@dataclass(frozen=True)
class Condition:
    """One condition of a part, as anyone may read it."""

    title: str
    state: State
    sentence: str
    meaning: str
    since: datetime | None


@dataclass(frozen=True)
class Part:
    """One source, topic, destination, database, flow, contract, mart or server. `things`: of what its history is."""

    group: str
    name: str
    state: State
    since: datetime | None
    sentence: str
    meaning: str
    conditions: tuple[Condition, ...]
    things: frozenset[Thing]
    numbers: tuple[tuple[str, dict[str, Number]], ...]  # by the title of the condition; none of what is not seen now


def part_of(name: str, kind: str, identity: str) -> tuple[str, str]:
    """The group and the part that an observation is of."""
    if name == BALANCE:
        return BALANCE_GROUP, identity
    if kind in _UNNAMED:
        return PLATFORM, _UNNAMED[kind]
    group = _GROUP_OF.get(kind, PLATFORM)
    if group in (SOURCES, TOPICS, DESTINATIONS, DATABASES):  # of `binance: BTC/USDT` and `binance market_tick`: binance
        identity = identity.partition(":")[0].partition(" ")[0].partition("#")[0]
    if kind == "flow":  # the schedule `ingest-ecb` begins the work `ingest ecb`, and `check-daily` begins `check`
        return group, identity.replace(" ", "-").removesuffix("-daily")
    if group == CONTRACTS:
        return group, "contracts" if kind == "contracts" else f"models of {identity}"
    return group, identity if kind not in ("lane", "entries", "flows") else f"{kind}: {identity}"


def parts(observations: Sequence[Seen], known: Iterable[Thing], home: Path) -> list[Part]:
    """The parts, by group, the worst of each first. `known`: what the history has, whether or not it is seen now."""
    found: dict[tuple[str, str], list[Seen]] = {}
    for one in observations:
        found.setdefault(part_of(one.name, one.kind, one.identity), []).append(one)
    things: dict[tuple[str, str], set[Thing]] = {}
    for thing in [*known, *(Thing.of(one) for one in observations)]:
        things.setdefault(part_of(*thing), set()).add(thing)
    made = [_part(key, seen, frozenset(things[key]), home) for key, seen in found.items()]
    return sorted(made, key=lambda part: (GROUPS.index(part.group), WORST_FIRST.index(part.state), part.name.lower()))


def _part(key: tuple[str, str], seen: list[Seen], things: frozenset[Thing], home: Path) -> Part:
    seen = sorted(seen, key=lambda one: WORST_FIRST.index(one.state))
    state = seen[0].state
    conditions = tuple(_condition(one, home) for one in seen)
    worst = [each for each in conditions if each.state == state]
    since = min((each.since for each in worst if each.since), default=None)
    if state in WELL:
        since = max((one.state_since for one in seen if one.state_since), default=None)
        sentence = next((each.sentence for each in conditions if each.sentence), _well(len(conditions)))
    else:
        sentence = worst[0].sentence or worst[0].title
    numbers = tuple(
        (each.title, one.numbers) for each, one in zip(conditions, seen, strict=True) if one.state != "unknown"
    )
    return Part(
        key[0], visible(key[1]), state, since, sentence, worst[0].meaning if state not in WELL else "",
        conditions, things, numbers,
    )  # fmt: skip


def _well(count: int) -> str:
    return f"all {count} conditions that are looked at hold" if count > 1 else "what is looked at holds"


def _condition(one: Seen, home: Path) -> Condition:
    is_well = one.state in WELL
    sentence = public(one.sentence, home)
    # What the guard did, and may not do, names who reads, and what.
    names_people = one.kind == "guard" or (one.identity, one.state) == ("guard", "warning")
    if names_people or (is_well and _FOR_OPERATORS.search(sentence)):
        sentence = ""
    title = one.name if one.kind in _UNNAMED else one.title
    since = one.state_since if is_well else one.since or one.state_since
    return Condition(visible(title), one.state, sentence, "" if is_well else meaning(one.name, one.state), since)


def public(text: str, home: Path) -> str:
    """What anyone may read of a sentence: no secret, address, path of this machine, nor anything of a row."""
    text = _OF_A_ROW.sub("", hide(text))
    for path in (str(home.resolve()), str(home), str(PROJECT)):
        text = text.replace(path, "…")
    text = _PATH.sub("…", _ADDRESS.sub("…", text))
    text = visible(" ".join(text.split()))
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def meaning(condition: str, state: State = "failing") -> str:
    """What a condition means to who reads the data."""
    if state == "unknown":
        return "It could not be seen, so nobody knows how this is now."
    return _meanings().get(condition, "")


@cache
def _meanings() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(MEANINGS.read_text())
    return found
