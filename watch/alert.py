"""An alert: what is said of a cause, which channel took it, and its row in the history."""

import json
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import msgspec

from tidemark.output import iso

log = logging.getLogger("tidemark.alert")

SCHEMA = 1
Word = Literal["raised", "resolved"]

TABLE = """
create table if not exists alert (
    id text primary key, raised_at real not null, resolved_at real, said text not null
) without rowid;
create index if not exists alert_raised on alert (raised_at);
"""


class Refusal(TypedDict):
    """That a channel refuses the next word of an alert: since when, how often, and when it was given up."""

    since: float
    times: int
    given_up_at: float | None


@dataclass
class Alert:
    """One cause that holds, or held. Moments are seconds since 1970; `took`: by word and channel, when it was taken."""

    id: str
    cause: str
    condition: str
    kind: str
    identity: str
    severity: str
    text: str
    mend: str
    runbook: str
    since: float
    raised_at: float
    resolved_at: float | None = None
    channels: list[str] = field(default_factory=list)
    took: dict[str, dict[str, float]] = field(default_factory=lambda: {"raised": {}, "resolved": {}})
    refused: dict[str, Refusal] = field(default_factory=dict)  # by channel

    def words(self) -> list[Word]:
        """What there is to say of it."""
        return ["raised"] if self.resolved_at is None else ["raised", "resolved"]

    def payload(self, word: Word) -> dict[str, Any]:
        """What every channel is given (docs/alerts.md)."""
        at = self.raised_at if word == "raised" or self.resolved_at is None else self.resolved_at
        return {
            "schema": SCHEMA, "id": self.id, "state": word, "cause": self.cause, "condition": self.condition,
            "kind": self.kind, "identity": self.identity, "severity": self.severity, "text": self.text,
            "since": iso(self.since), "at": iso(at), "mend": self.mend, "runbook": self.runbook,
        }  # fmt: skip

    def row(self) -> dict[str, Any]:
        """The alert for people and programs: the payload, when it was over, and which channel has taken what."""
        over = None if self.resolved_at is None else iso(self.resolved_at)
        word: Word = "raised" if self.resolved_at is None else "resolved"
        lacking = [channel for channel in self.channels if any(channel not in self.took[each] for each in self.words())]
        refused = {
            channel: {"since": iso(one["since"]), "times": one["times"], "is_given_up": one["given_up_at"] is not None}
            for channel, one in self.refused.copy().items()  # a channel's thread may add one
        }
        moments = {"raised_at": iso(self.raised_at), "resolved_at": over}
        return self.payload(word) | moments | {"not_taken_by": lacking, "refused_by": refused}


def kept(connection: sqlite3.Connection, limit: int) -> list[Alert]:
    """The open alerts, then so many of the last that are over, the latest first."""
    return alerts_of(
        connection.execute(
            "select said from alert where resolved_at is null union all select * from (select said from alert "
            "where resolved_at is not null order by resolved_at desc limit ?)",
            (limit,),
        )
    )


def alerts_of(rows: Iterable[tuple[str]]) -> list[Alert]:
    """Those of rows of `said`; one that is none is said and left out."""
    found = []
    for (said,) in rows:
        try:
            found.append(msgspec.convert(json.loads(said), Alert))
        except (ValueError, TypeError) as error:
            log.error("expected an alert in the history, received %s that says: %s; it is left out", said[:200], error)
    return found
