"""`status.json`: what the watcher saw last. The page, the API, `tidemark status` and the metrics read that alone.

What is not there, cannot be read, or is older than it says it may be, is unknown: never well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import msgspec

from tidemark.output import iso, utc
from tidemark.settings import Settings
from tidemark.stack import watcher
from tidemark.state_file import Unreadable, read_whole
from watch.observation import WELL, WORST_FIRST, Observation, State

SCHEMA = 1
VALID_SECONDS = 30.0  # it is written every few seconds
Row = dict[str, Any]


@dataclass(frozen=True)
class Seen(Observation):
    """An observation as the watcher keeps it. Moments are UTC by the watcher's clock.

    `since` is of what is wrong, where something says it; `state_since` is since when the watcher has seen this state.
    """

    observed_at: datetime | None = None
    state_since: datetime | None = None

    def row(self) -> Row:
        """The observation as JSON has it."""
        moments = {name: _text(getattr(self, name)) for name in ("since", "observed_at", "state_since")}
        return asdict(self) | moments

    @classmethod
    def of(cls, one: Observation, observed_at: datetime | None) -> "Seen":
        """What a look gave, at that moment."""
        names = ("name", "kind", "identity", "state", "sentence", "since", "mend", "numbers")
        return cls(**{name: getattr(one, name) for name in names}, observed_at=observed_at)


class _Row(TypedDict):
    """One observation in the file."""

    name: str
    kind: str
    identity: str
    state: State
    sentence: str
    since: datetime | None
    mend: str
    numbers: dict[str, float | int | str | None]
    observed_at: datetime | None
    state_since: datetime | None


class File(TypedDict):
    """The whole file. `configuration` is a digest of the settings with which the watcher was started.

    `marts`: one row a mart (mart, state, sentence, published_at, run, newest_at, promised_seconds, age_seconds).
    `alerts`: those that are open, as they were posted. `forecasts`: by name a list of rows (watch/forecasts.py).
    """

    schema: int
    pid: int
    configuration: str
    kind: str
    observed_at: datetime
    valid_until: datetime
    summary: dict[str, Any]
    observations: list[_Row]
    marts: list[Row]
    alerts: list[Row]
    forecasts: dict[str, list[Row]]


@dataclass(frozen=True)
class Status:
    """What is known now. `unknown` says why nothing is: the observations that were seen before are then unknown too.

    `observed_at` and `valid_until` are None where no file says them. `kind` is live, replay or empty.
    """

    unknown: str = ""
    observed_at: datetime | None = None
    valid_until: datetime | None = None
    kind: str = ""
    observations: Sequence[Seen] = ()
    marts: Sequence[Row] = ()
    alerts: Sequence[Row] = ()
    forecasts: Mapping[str, Sequence[Row]] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Any]:
        """The worst state, and how many observations are of each."""
        if self.unknown and not self.observations:
            return summary([]) | {"state": "unknown"}
        return summary(self.observations)


def summary(observations: Sequence[Observation]) -> dict[str, Any]:
    """`state`: the worst of all, `waiting` and `ok` alike being well; then the number of each state."""
    counts = {str(state): sum(one.state == state for one in observations) for state in WORST_FIRST}
    bad = next((state for state in WORST_FIRST if state not in WELL and counts[state]), None)
    return {"state": bad or ("ok" if observations else "unknown"), **counts}


def read_status(settings: Settings, now: datetime | None = None) -> Status:
    """What the watcher saw last, by a reader's clock; of a file that says nothing, or too old, that it is unknown."""
    now = now or datetime.now(UTC)
    try:
        found = read_whole(watcher.status_path(settings.home))
        file = None if found is None else msgspec.convert(found, File)
    except (Unreadable, msgspec.ValidationError) as error:
        return Status(f"expected {watcher.status_path(settings.home)} to say how things are, received: {error}")
    if file is None:
        return Status("the watcher does not run: it has said nothing yet; `tidemark up` starts it")
    if file["schema"] != SCHEMA:
        return Status(f"expected {watcher.status_path(settings.home)} of schema {SCHEMA}, received {file['schema']}")
    valid_until = min(file["valid_until"], file["observed_at"] + timedelta(seconds=VALID_SECONDS))
    status = Status(
        "", file["observed_at"], valid_until, file["kind"], [Seen(**row) for row in file["observations"]],
        file["marts"], file["alerts"], file["forecasts"],
    )  # fmt: skip
    ahead = file["observed_at"] - now > timedelta(seconds=VALID_SECONDS)  # a clock was set back since
    return _aged(status) if ahead or now > valid_until else status


def _aged(status: Status) -> Status:
    """The same of a watcher that sees nothing any more."""
    assert status.observed_at is not None
    why = f"the watcher does not run: nothing was seen since {utc(status.observed_at)}; `tidemark up` starts it"
    return replace(
        status,
        unknown=why,
        observations=[
            replace(one, state="unknown", sentence=f"not seen since then; last it was {one.state}: {one.sentence}",
                    mend="tidemark up", state_since=status.valid_until)
            for one in status.observations
        ],
        marts=[mart | {"state": "unknown"} for mart in status.marts],
        forecasts={},
    )  # fmt: skip


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)


def content(
    settings: Settings, observations: Sequence[Seen], now: datetime, *, pid: int, configuration: str, kind: str,
    marts: Sequence[Row] = (), alerts: Sequence[Row] = (), forecasts: Mapping[str, Sequence[Row]] | None = None,
) -> Row:  # fmt: skip
    """What is written to the file."""
    return {
        "schema": SCHEMA,
        "pid": pid,
        "configuration": configuration,
        "kind": kind,
        "observed_at": _text(now),
        "valid_until": _text(now + timedelta(seconds=VALID_SECONDS)),
        "summary": summary(observations),
        "observations": [one.row() for one in observations],
        "marts": list(marts),
        "alerts": list(alerts),
        "forecasts": {name: list(rows) for name, rows in (forecasts or {}).items()},
    }
