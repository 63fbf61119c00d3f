"""What a processor writes to. `prepare` is the processor's own time, `commit` the writer's: they overlap."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from realtime.positions import LogState, Position
from stream_shim.processor.segments import Segment
from tidemark.errors import TidemarkError

TopicAndPartition = tuple[str, int]


@dataclass(slots=True)
class Written:
    """What one commit brought: rows and rejects by topic."""

    rows: dict[str, int]
    rejects: dict[str, int]


class NotTaken(TidemarkError):
    """The destination cannot take rows now; nothing was committed, and the same batch may be tried again."""

    retriable = True


class Destination(Protocol):
    """One place that wants topics, for one processor. `commit` has a thread of its own, beside `prepare`.

    At least once: the processor commits to Kafka after `commit` has returned, and a kill in between repeats a batch.
    Exactly once where the destination keeps its own positions (KeepsPositions), in the transaction of what it writes.
    """

    def prepare(self, segments: list[Segment]) -> Any:
        """What `commit` takes: the segments, in order, mapped and serialized. Pure: it reads and writes nothing."""

    def commit(self, prepared: Any) -> Written | None:
        """Write all that was prepared, and say how many rows and rejects of each topic that were.

        None, of one that Gathers: it is taken, and written later.
        NotTaken: nothing is taken now, and the same batch comes again after a wait. Fenced: another consumer is ahead,
        nothing was written, and the positions are asked for anew. Any other error ends the processor.
        """

    def close(self) -> None:
        """Give back what is held open; nothing is called afterwards."""


@runtime_checkable
class KeepsPositions(Protocol):
    """A destination that stores how far it was written, with what it wrote."""

    def positions(self, logs: dict[TopicAndPartition, LogState]) -> dict[TopicAndPartition, Position]:
        """The epoch and the offset to read each of these partitions on from, asked when they are newly assigned.

        EpochEnded where a topic is not the one that was read, which ends the processor; NotTaken. Whether the log still
        holds what was read is the processor's to find out, by the position's mark.
        """


@runtime_checkable
class Gathers(Protocol):
    """A destination that writes many batches at once. Their positions wait with them: a kill reads them again."""

    def write(self, all_of_it: bool) -> Written | None:
        """Write what was gathered, once it is much or old, or if `all_of_it` is asked for; None: nothing was written.

        Called by the writer after each `commit`, and now and then. NotTaken: it stays gathered, and is tried again.
        """


@runtime_checkable
class PreparesDays(Protocol):
    """A destination that must make room for the days ahead."""

    def keep_up(self) -> None:
        """Make it, now and then, beside `commit`. NotTaken: it is tried again soon, and reading goes on meanwhile."""

    def headroom_days(self) -> int | None:
        """How many days after today are prepared, for metrics and alerts; None before the first were."""
