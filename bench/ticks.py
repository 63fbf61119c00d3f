"""Simulated ticks: the same number is always the same tick, in the form in which ccxt gives a trade of Binance."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

SYMBOLS = 500
SOURCE = "simulated"
START = datetime(2024, 8, 8, tzinfo=UTC)
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"

_ATTRIBUTES = (
    '{"info":{"e":"trade","E":%(ms)d,"s":"%(venue_symbol)s","t":%(number)d,"p":"%(price).8f","q":"%(size).8f",'
    '"b":%(number)d,"a":%(number)d,"T":%(ms)d,"m":true,"M":true},"timestamp":%(ms)d,"id":"%(number)d","side":"%(side)s",'
    '"cost":%(cost)r,"fee":{"cost":null,"currency":null},"fees":[]}'
)
_BRIEF = '{"id":"%(number)d","side":"%(side)s","cost":%(cost)r,"info":{"e":"trade","p":"%(price).8f"}}'
_SCHEMA = (
    '{"schema":{"type":"struct","optional":false,"name":"market_tick","fields":['
    '{"field":"source_system","type":"string","optional":false},{"field":"symbol","type":"string","optional":false},'
    '{"field":"timestamp","type":"string","optional":false,"name":"io.debezium.time.ZonedTimestamp","version":1},'
    '{"field":"price","type":"double","optional":false},{"field":"size","type":"double","optional":false},'
    '{"field":"attributes","type":"string","optional":false,"name":"io.debezium.data.Json","version":1}]},"payload":%s}'
)


class Tick(NamedTuple):
    """One trade; `time` as the wire has it, `attributes` as JSON text."""

    symbol: str
    time: str
    price: float
    size: float
    attributes: str


def symbol(index: int) -> str:
    """The name of one of the SYMBOLS symbols."""
    return f"S{index % SYMBOLS:03d}/USDT"


def tick(number: int, step: timedelta = timedelta(milliseconds=1), whole: bool = True) -> Tick:
    """The tick of a number: symbols take turns, prices stay within 1 % of each symbol's own, time goes on by `step`.

    `whole`: the attributes hold the venue's own message whole, as ccxt gives it, about 300 bytes; else 80 bytes of it.
    """
    index = number * 7919 % SYMBOLS  # 7919 is prime: each symbol has its turn once in SYMBOLS ticks
    at = START + number * step
    price = round((index + 1) * 100 + number * 104729 % 10007 / 10007 * (index + 1), 2)
    size = (number * 15485863 % 99991 + 1) / 100_000
    attributes = (_ATTRIBUTES if whole else _BRIEF) % {
        "ms": int(at.timestamp() * 1000), "venue_symbol": f"S{index:03d}USDT", "number": number, "price": price,
        "size": size, "side": "buy" if number % 3 else "sell", "cost": round(price * size, 8),
    }  # fmt: skip
    return Tick(symbol(index), at.strftime(TIME_FORMAT), price, size, attributes)


def wire(one: Tick) -> bytes:
    """The record as a connector publishes it."""
    return (
        f'{{"source_system":"{SOURCE}","symbol":"{one.symbol}","timestamp":"{one.time}","price":{one.price!r},'
        f'"size":{one.size!r},"attributes":{one.attributes}}}'
    ).encode()


def wire_with_schema(one: Tick) -> bytes:
    """The same record as Kafka Connect takes it: its schema goes along, and the JSON column is a text."""
    attributes = one.attributes.replace('"', '\\"')
    payload = (
        f'{{"source_system":"{SOURCE}","symbol":"{one.symbol}","timestamp":"{one.time}","price":{one.price!r},'
        f'"size":{one.size!r},"attributes":"{attributes}"}}'
    )
    return (_SCHEMA % payload).encode()


def key(one: Tick) -> bytes:
    """The record's key, as connectors make it."""
    return f"{SOURCE}|{one.symbol}".encode()


def copy_line(one: Tick, offset: int, received_at: str) -> str:
    """The row as a line of COPY's text format, in the order of categories.table_columns."""
    values = (SOURCE, one.symbol, one.time, one.price, one.size, one.attributes, 1, 0, offset, received_at)
    return "\t".join(map(str, values)) + "\n"


def blocks(lines: Iterator[str], count: int = 2000) -> Iterator[bytes]:
    """Lines gathered into blocks of bytes."""
    gathered: list[str] = []
    for line in lines:
        gathered.append(line)
        if len(gathered) == count:
            yield "".join(gathered).encode()
            gathered.clear()
    yield "".join(gathered).encode()
