"""What the kinds that give order books share: a snapshot as records, and the least interval between two of them."""

from collections.abc import Iterable

from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher

Level = tuple[float, float]  # price, size


def snapshot(
    fields: dict[str, str], number: object, time_ms: int, bids: Iterable[Level], asks: Iterable[Level]
) -> list[Datum]:
    """A book as one record a level, best first, all with the same snapshot_id, snapshot_size and time.

    `fields` are source_system, symbol, and the book's own time as the wire's text; `number` is the venue's.
    """
    levels = [(side, rank, level) for side, of in (("bid", bids), ("ask", asks))
              for rank, level in enumerate(of, start=1)]  # fmt: skip
    named = {"source_system": fields["source_system"], "symbol": fields["symbol"]}
    shared = {
        "snapshot_id": f"{fields['source_system']}:{fields['symbol']}:{number}",
        "snapshot_size": len(levels),
        "timestamp": fields["timestamp"],
    }
    return [
        Datum(
            "order_book_l2",
            {**named, "side": side, "level": rank, "price": level[0], "size": level[1]},
            shared,
            time_ms,
        )
        for side, rank, level in levels
    ]


class Pace:
    """At most one snapshot an interval, by the book's own time; the last before a pause is sent when it lasts."""

    def __init__(self, publisher: Publisher, every_seconds: float) -> None:
        self._publisher, self._interval_ms = publisher, int(every_seconds * 1000)
        self._sent_ms: dict[str, int] = {}
        self._waiting: dict[str, list[Datum]] = {}
        self._last: dict[str, list[Datum]] = {}

    def offer(self, symbol: str, book: list[Datum]) -> None:
        """Send the book, or keep it until the next one or a pause."""
        if book:
            self._waiting[symbol] = self._last[symbol] = book
            if book[0].time_ms >= self._sent_ms.get(symbol, -self._interval_ms) + self._interval_ms:
                self._send(symbol)

    def offer_if_changed(self, symbol: str, book: list[Datum]) -> None:
        """The same for a book that may be the last one still."""
        if [datum.fields for datum in book] != [datum.fields for datum in self._last.get(symbol, [])]:
            self.offer(symbol, book)

    @property
    def waits(self) -> bool:
        """Whether a book would be sent in a pause."""
        return bool(self._waiting)

    def pause(self) -> None:
        """Nothing came for as long as the interval: what waits is the newest there is."""
        for symbol in list(self._waiting):
            self._send(symbol)

    def _send(self, symbol: str) -> None:
        book = self._waiting.pop(symbol)
        self._sent_ms[symbol] = book[0].time_ms
        for datum in book:
            self._publisher.send(datum)
