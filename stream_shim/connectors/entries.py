"""The entries of sources.yml, a class a kind: what a person says of a source, and which module runs it.

A new kind is a class here, in SourceEntry, and its module.
"""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from stream_shim.connectors import decoding
from tidemark import typed_yaml
from tidemark.errors import ConfigurationError
from tidemark.secrets import refuse_literals


class OrderBook(Struct, frozen=True, forbid_unknown_fields=True):
    """Which books a source gives, how deep, and the least interval between two snapshots by the book's own time."""

    symbols: list[str]
    depth: int = 10
    every_seconds: float = 1.0


class Source(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What every source has. `name` is its key in the file."""

    name: str = ""
    source_system: str = ""

    module: ClassVar[str]  # of this folder: its `run` is the connector, its `check`, if any, knows the entry's venue
    extra: ClassVar[str] = ""  # the optional dependency that brings the vendor's client

    def __post_init__(self) -> None:
        refuse_literals(getattr(self, "credentials", {}))


class StreamedSource(Source, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a venue sends by itself: silence for longer than `silence_seconds` is an alert."""

    silence_seconds: float = 60.0


class CcxtSource(StreamedSource, frozen=True, forbid_unknown_fields=True, tag="ccxt", kw_only=True):
    """An exchange by its ccxt id; `options` and `credentials` are ccxt's, `urls` replaces those of its table."""

    module = "exchange"

    exchange: str
    trades: list[str] = []
    order_book: OrderBook | None = None
    urls: dict[str, str] = {}
    options: dict[str, Any] = {}
    credentials: dict[str, str] = {}
    sequential_trade_ids: bool = False


class AlpacaSource(StreamedSource, frozen=True, forbid_unknown_fields=True, tag="alpaca", kw_only=True):
    """US equities' trades by Alpaca's own client (extra `alpaca`); `url` replaces that of its `feed`."""

    module = "alpaca"
    extra = "alpaca"

    symbols: list[str]
    credentials: dict[Literal["key", "secret"], str]
    feed: Literal["iex", "sip"] = "iex"
    url: str | None = None
    silence_seconds: float = 345_600.0  # a long weekend


class DatabentoSource(StreamedSource, frozen=True, forbid_unknown_fields=True, tag="databento", kw_only=True):
    """Trades and books of one Databento dataset by its own client (extra `databento`); raw symbols, like CLZ26.

    Books are ten levels deep at most; `gateway` and `port` replace those of the dataset.
    """

    module = "databento"
    extra = "databento"

    dataset: str
    credentials: dict[Literal["key"], str]
    trades: list[str] = []
    order_book: OrderBook | None = None
    gateway: str | None = None
    port: int = 13000
    silence_seconds: float = 345_600.0  # a long weekend


class Dialect(Struct, frozen=True, forbid_unknown_fields=True):
    """How a CSV is written: what parts and quotes its cells, and how many lines come before its header.

    `decimal` and `thousands` are the signs in numbers, of XML and JSON texts too; a blank stands for any space.
    """

    delimiter: str = ","
    decimal: str = "."
    thousands: str = ""
    quote: str = '"'
    skip_lines: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0

    def __post_init__(self) -> None:
        for name in ("delimiter", "decimal", "quote", *(("thousands",) if self.thousands else ())):
            sign = getattr(self, name)
            if len(sign) != 1 or sign.isalnum() or sign in "\r\n+-":
                raise ValueError(f"expected `{name}` of one character that parts or quotes, received {sign!r}")
        if self.decimal == self.thousands:
            raise ValueError(f"expected another `thousands` than `decimal`, received {self.decimal!r} for both")
        if self.delimiter == self.quote:
            raise ValueError(f"expected another `quote` than `delimiter`, received {self.quote!r} for both")


class HttpSource(Source, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is polled over HTTP: `url` and `headers` may hold ${NAME}, the environment's value.

    `encoding` is the charset of the answer, where neither it nor the server names the right one.
    """

    url: str
    headers: dict[str, str] = {}
    encoding: str = ""
    timeout_seconds: float = 30.0
    every_seconds: float = 3600.0

    @property
    def round_seconds(self) -> float:
        """The longest that the requests of one poll may take."""
        return self.timeout_seconds

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            decoding.codec(self.encoding or "utf-8")
        except (LookupError, ValueError):
            raise ValueError(
                f"expected `encoding` to name a charset (utf-8, windows-1252, shift_jis), received {self.encoding!r}"
            ) from None


class FeedSource(HttpSource, frozen=True, forbid_unknown_fields=True, tag="feed", kw_only=True):
    """An RSS or Atom feed, polled; every entry that was not there before is a text event."""

    module = "feed"

    event_publisher: str
    unit: str
    every_seconds: float = 60.0


class PollSource(HttpSource, frozen=True, forbid_unknown_fields=True, tag="poll", kw_only=True):
    """A list of records over HTTP, polled; a new or revised one is a numeric event, or text if it is no number.

    `records` is the path to the list: `a.b` is the list b in the object a of JSON, where `a.0.b` is that of the first
    element of a list a, and `a.*.b` those of all; in XML it is the elements b of the root a; CSV is the list itself.
    With `body` the requests are POST, and its texts are filled as `url` is.
    """

    module = "poll"

    identity: list[str]
    format: Literal["json", "csv", "xml"] = "json"
    requests: list[dict[str, str]] = msgspec.field(default_factory=lambda: [{}])
    records: str = ""
    rename: dict[str, str] = {}
    dialect: Dialect = Dialect()
    body: dict[str, Any] | None = None

    @property
    def round_seconds(self) -> float:
        """The longest that the requests of one poll may take."""
        return self.timeout_seconds * len(self.requests)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format == "xml" and not self.records:
            raise ValueError("expected `records`, the path root.element of one record in XML, received none")
        if self.format == "csv" and self.records:
            raise ValueError(f"expected no `records`: CSV is the list itself, received {self.records!r}")
        of_csv = {"delimiter": ",", "quote": '"', "skip_lines": 0}
        named = [name for name, usual in of_csv.items() if getattr(self.dialect, name) != usual]
        if named and self.format != "csv":
            raise ValueError(f"expected no `dialect.{named[0]}`: only CSV has one, received format {self.format!r}")


class ReplaySource(Source, frozen=True, forbid_unknown_fields=True, tag="replay", kw_only=True):
    """What a destination of kind `lake` has written: `path` is that destination's, `topics` are some of its topics.

    `speed` 1 is the session's own pace, 10 ten times as fast; 0 is at once.
    """

    module = "replay"

    path: str
    topics: list[Literal["market_tick", "order_book_l2", "economic_event_numeric", "economic_event_text"]]
    speed: Annotated[float, msgspec.Meta(ge=0)] = 1.0


SourceEntry = CcxtSource | AlpacaSource | DatabentoSource | FeedSource | PollSource | ReplaySource


def check_source(text: str) -> None:
    """ConfigurationError where the YAML of one entry, with its name in the first line, is wrong."""
    typed_yaml.parse(text, "the entry", SourceEntry)


def read_sources(path: Path) -> dict[str, SourceEntry]:
    """The streaming sources by name, each with its name and source_system filled in."""
    entries: dict[str, SourceEntry] = typed_yaml.read(path, SourceEntry)
    for name in entries:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):  # it names files of the state folder
            raise ConfigurationError(f"{path}: expected a name of letters, digits and _ . -, received {name!r}")
    return {
        name: msgspec.structs.replace(entry, name=name, source_system=entry.source_system or name)
        for name, entry in entries.items()
    }
