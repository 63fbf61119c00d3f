"""Kind `databento`: trades and books of futures (CLZ26) and of every other dataset, by Databento's own client.

One record of the schema `trades` and the best level of one of `mbp-10`, decoded from DBN (prices in 1e-9, times in ns):

    TradeMsg(ts_recv=1609113600246821748, publisher_id=1, instrument_id=5482, ts_event=1609113600246507011, action='T',
             side='B', depth=0, price=3702750000000, size=1, flags=0, ts_in_delta=18113, sequence=145885)
    MBP10Msg(.., levels=[BidAskPair(bid_px=3702250000000, ask_px=3702750000000, bid_sz=19, ask_sz=13, ..), ..])

Source: Databento, "Live API" and "Schemas and data formats". A record is named by the mapping of its `instrument_id`
that came before it in the client's queue, which makes the gateway wait when Kafka does. The gateway tells each symbol
that it cannot resolve, and goes on with the others.
"""

import asyncio
import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import databento
import databento_dbn as dbn

from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors import until_stopped
from stream_shim.connectors.books import Pace, snapshot
from stream_shim.connectors.client_log import counted
from stream_shim.connectors.entries import DatabentoSource
from tidemark.errors import SourceError
from tidemark.secrets import fill, hide
from tidemark.settings import Settings

log = logging.getLogger("tidemark.connector")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_PRICE = 2**63 - 1
_MAYBE_BAD_BOOK = 1 << 2  # F_MAYBE_BAD_BOOK of a record's flags: the gateway has lost something that was in the book
_EVERY = "ALL_SYMBOLS"
_RAISED = (
    "connection lost",
    "gateway error: ",
    "CRAM authentication",
    "disconnecting client",
)  # what the client logs and raises
_PLAIN = ("publisher_id", "instrument_id", "depth", "flags", "ts_in_delta", "sequence")


def _time(time_ns: int) -> str:
    return f"{_EPOCH + timedelta(microseconds=time_ns // 1000):%Y-%m-%dT%H:%M:%S.%fZ}"


def _price(units: int) -> float | None:
    return None if units == _NO_PRICE else units / 1e9


def parse_trade(source_system: str, symbol: str | None, record: Any) -> Datum:
    """A trade as a market tick; the times' nanoseconds and the price's own digits go along as text."""
    fields = {
        "source_system": source_system,
        "symbol": symbol,
        "timestamp": _time(record.ts_event),
        "price": _price(record.price),
        "size": record.size,
    }
    rest = {name: int(getattr(record, name)) for name in _PLAIN}
    texts = {name: str(getattr(record, name)) for name in ("action", "side", "ts_event", "ts_recv", "price")}
    return Datum("market_tick", fields, {**rest, **texts}, record.ts_event // 10**6)


def parse_book(source_system: str, symbol: str, record: Any, depth: int) -> list[Datum]:
    """A record of mbp-10 is the whole book: its levels that have a price, `depth` a side at most."""
    fields = {"source_system": source_system, "symbol": symbol, "timestamp": _time(record.ts_event)}
    levels = record.levels[:depth]
    bids = [(level.bid_px / 1e9, float(level.bid_sz)) for level in levels if level.bid_px != _NO_PRICE]
    asks = [(level.ask_px / 1e9, float(level.ask_sz)) for level in levels if level.ask_px != _NO_PRICE]
    number = f"{record.ts_recv}.{record.sequence}"
    return snapshot(fields, number, record.ts_event // 10**6, bids, asks)


async def run(source: DatabentoSource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """The entry's streams until `stop`; SourceError where the gateway refuses, is lost, or gives no record in time."""
    live = databento.Live(
        key=fill(source.credentials["key"]), gateway=source.gateway, port=source.port,
        slow_reader_behavior="warn",  # by default the gateway skips records of books when we are slow
    )  # fmt: skip
    try:
        with counted(publisher, "databento", "asyncio", raised=_RAISED):
            await asyncio.to_thread(_subscribe, live, source)
            await until_stopped(stop, [_records(live, source, publisher)])
    except (databento.BentoError, OSError, ValueError) as error:
        said = hide(str(error)) or "the connection was lost"
        raise SourceError(f"{source.name}: expected records, received {type(error).__name__}: {said}") from None
    finally:
        if live.is_connected():
            live.terminate()
    if not stop.is_set():
        raise SourceError(f"{source.name}: expected records, the gateway closed the session")


def _subscribe(live: databento.Live, source: DatabentoSource) -> None:
    """Connect and ask; it blocks."""
    if source.trades:
        live.subscribe(source.dataset, "trades", _names(source.trades))
    if source.order_book:
        live.subscribe(source.dataset, "mbp-10", _names(source.order_book.symbols))


def _names(symbols: Iterable[str]) -> list[str]:
    """The symbols as the gateway names them, each once."""
    return list(dict.fromkeys(symbol.strip().upper() for symbol in symbols))


async def _records(live: databento.Live, source: DatabentoSource, publisher: Publisher) -> None:
    live._session._dbn_queue.enable()  # the iterator does so after it starts the session, and drops what comes between
    entry, records = source.order_book, aiter(live)
    pace = Pace(publisher, entry.every_seconds if entry else 0)
    names = Names(source, publisher)
    bad: set[str] = set()  # the symbols whose last book was none
    while True:
        following = asyncio.ensure_future(anext(records, None))
        if pace.waits and entry and not (await asyncio.wait([following], timeout=entry.every_seconds))[0]:
            pace.pause()
        try:
            record = await asyncio.wait_for(following, source.silence_seconds)
        except TimeoutError:
            publisher.silences[source.dataset] += 1
            raise SourceError(f"{source.name}: expected records, none in {source.silence_seconds} s") from None
        if record is None:
            return
        if isinstance(record, databento.TradeMsg):
            publisher.send(parse_trade(source.source_system, names.of(record), record))
        elif isinstance(record, databento.MBP10Msg):
            symbol = names.of(record)
            if symbol is None:
                publisher.reject("missing symbol", str(record))
            elif entry and _is_whole(source, publisher, symbol, record, bad):
                pace.offer(symbol, parse_book(source.source_system, symbol, record, entry.depth))
        else:
            names.take(record)


class Names:
    """The symbols by instrument_id as the gateway's records come, and those that it has not told yet."""

    def __init__(self, source: DatabentoSource, publisher: Publisher) -> None:
        self._source, self._publisher = source, publisher
        self._symbols: dict[int, str] = {}
        book = source.order_book.symbols if source.order_book else []
        self._untold = set(_names([*source.trades, *book])) - {_EVERY}

    def of(self, record: Any) -> str | None:
        """The symbol of a trade or a book, None where no mapping came. All mappings of a session come before these."""
        if self._untold:
            self._name_untold()
        return self._symbols.get(record.instrument_id)

    def take(self, record: Any) -> None:
        """A mapping, or what the gateway says of itself."""
        if isinstance(record, databento.SymbolMappingMsg):
            self._symbols[record.instrument_id] = str(record.stype_out_symbol)  # from here on
            self._untold.discard(str(record.stype_in_symbol))
            self._publisher.mend(str(record.stype_in_symbol))
        elif isinstance(record, databento.ErrorMsg):
            if record.code == dbn.ErrorCode.SYMBOL_RESOLUTION_FAILED:
                self._name_untold(record.err)
            elif record.code == dbn.ErrorCode.SKIPPED_RECORDS_AFTER_SLOW_READING:
                self._publisher.gaps[self._source.dataset] += 1
        elif isinstance(record, databento.SystemMsg):
            if record.code == dbn.SystemCode.SLOW_READER_WARNING:
                self._publisher.client_error("slow reader", f"this reader is slow: {record.msg}")
            elif record.is_heartbeat():
                self._name_untold()

    def _name_untold(self, said: str | None = None) -> None:
        """Symbols that the gateway does not resolve, those that its error names; it maps them should they be listed."""
        why = "did not resolve it" if said is None else f"said: {said}"
        for symbol in sorted(self._untold):
            if said is None or re.search(rf"(?<![\w.-]){re.escape(symbol)}(?![\w-]|\.\w)", said):
                self._untold.discard(symbol)
                self._publisher.degrade(symbol, f"expected a symbol of {self._source.dataset}, the gateway {why}")


def _is_whole(source: DatabentoSource, publisher: Publisher, symbol: str, record: Any, bad: set[str]) -> bool:
    """Whether a book is one; each that is not is a gap, and the first of several is a line in the log."""
    if not record.flags & _MAYBE_BAD_BOOK:
        bad.discard(symbol)
        return True
    publisher.gaps[symbol] += 1
    if symbol not in bad:
        bad.add(symbol)
        log.warning("%s: expected whole books of %s, received one that the gateway calls bad", source.name, symbol)
    return False
