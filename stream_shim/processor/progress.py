"""Whether a processor moves: a group that stands still looks healthy from outside, as its members' heartbeats go on."""

import time
from collections.abc import Collection, Mapping

from kafka import KafkaConsumer, TopicPartition

SHOWN_SECONDS = 40.0  # so long nothing moves, and it is shown
ENDED_SECONDS = 50.0  # so long, and the processor ends: whoever starts it again begins with a new member of the group

_THE_GROUP = "its consumer group: a rebalance has not ended, or Kafka names no coordinator"
_THE_LOOP = "its own loop: a call to Kafka or to the destination does not return"


class Progress:
    """`look` is the main loop's, once a turn; what stands still since when may be asked from any thread."""

    def __init__(self) -> None:
        self._turned_at = time.monotonic()
        self._since: dict[str, float] = {}
        self._offsets: dict[TopicPartition, int] = {}

    def wait(self) -> None:
        """The loop turns, and waits for somebody who is named elsewhere: nothing is expected to move."""
        self._turned_at = time.monotonic()
        self._since = {}

    def look(
        self,
        is_member: bool,
        unplaced: Collection[TopicPartition],
        offsets: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        """Note what has not moved since the last turn: the next `offsets` to read, against the `ends` of the logs."""
        self._turned_at = now = time.monotonic()
        still = [] if is_member else [_THE_GROUP]
        still += [f"{p.topic}, partition {p.partition}, which is assigned and not yet placed" for p in unplaced]
        still += [
            f"{p.topic}, partition {p.partition}, at offset {offset} of {ends[p]}"
            for p, offset in offsets.items()
            if ends.get(p, offset) > offset and self._offsets.get(p) == offset and p not in unplaced
        ]
        self._offsets = dict(offsets)
        self._since = {what: self._since.get(what, now) for what in still}

    def still(self) -> tuple[float, str]:
        """(seconds for which something has not moved, the longest of all; a sentence about it)."""
        since = self._since
        what, began = min([*since.items(), (_THE_LOOP, self._turned_at)], key=lambda item: item[1])
        seconds = time.monotonic() - began
        return seconds, f"expected what lags to be read on, it stands still for {seconds:.0f} s: {what}"


class OpenTransactions:
    """Partitions that are read as far as a producer's transaction that has not ended.

    Kafka gives nothing behind its begin, committed or not, and calls that the end: no lag shows it. It is shown, and
    ends no processor, as another one would come no further.
    """

    def __init__(self) -> None:
        self._since: dict[tuple[TopicPartition, int], float] = {}
        self._beyond: dict[TopicPartition, int] = {}

    def look(
        self, consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Note where the next `offsets` to read are the `ends` of what may be read, and more is written."""
        written = {p: consumer.highwater(p) for p in ends.keys() & consumer.assignment()}
        now = time.monotonic()
        self._beyond = {p: (written.get(p) or 0) - end for p, end in ends.items() if offsets.get(p) == end}
        held = [(p, ends[p]) for p, beyond in self._beyond.items() if beyond > 0]
        self._since = {place: self._since.get(place, now) for place in held}

    def said(self) -> str:
        """A sentence about those that have been open for long, or nothing."""
        beyond, now = self._beyond, time.monotonic()
        return "; ".join(
            f"expected the transaction that begins at offset {offset} of {p.topic}, partition {p.partition}, to end, "
            f"it is open for {now - since:.0f} s, and {beyond.get(p, 0):,} offsets wait behind its begin"
            for (p, offset), since in self._since.items()
            if now - since > SHOWN_SECONDS
        )
