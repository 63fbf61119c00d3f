"""The entries of sources.yml, a class a kind: what a person says of a source, and which module runs it.

A new kind is a class here, in SourceEntry, and its module.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from stream_shim.connectors import decoding, refusals
from stream_shim.connectors.refusals import HTTP, SOCKET
from tidemark import typed_yaml
from tidemark.secrets import refuse_literals
from tidemark.typed_yaml import WrongValue
from tidemark.yaml_text import content

SIMULATED = "simulated"  # the source_system of all that is generated, whatever its kind
DATABENTO_LEVELS = 10
MONTH_SECONDS = 2_678_400  # the longest that anything is waited for: 31 days

Text = Annotated[str, Meta(pattern=r"\S")]
Texts = Annotated[list[Text], Meta(min_length=1)]
Silence = Annotated[float, Meta(ge=0.1, le=MONTH_SECONDS)]


class OrderBook(Struct, frozen=True, forbid_unknown_fields=True):
    """Which books a source gives, how deep, and the least interval between two snapshots by the book's own time."""

    symbols: Texts
    depth: Annotated[int, Meta(ge=1, le=1000)] = 10
    every_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 60.0

    def __post_init__(self) -> None:
        refusals.check_list(self.symbols, "symbols")


class Source(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What every source has. `name` is its key in the file."""

    name: str = ""
    source_system: Text = ""

    module: ClassVar[str]  # of this folder: its `run` is the connector, its `check`, if any, knows the entry's venue
    extra: ClassVar[str] = ""  # the optional dependency that brings the vendor's client

    def __post_init__(self) -> None:
        refuse_literals(getattr(self, "credentials", {}))


class StreamedSource(Source, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a venue sends by itself: silence for longer than `silence_seconds` is an alert."""

    silence_seconds: Silence = 60.0


class CcxtSource(StreamedSource, frozen=True, forbid_unknown_fields=True, tag="ccxt", kw_only=True):
    """An exchange by its ccxt id; `options` and `credentials` are ccxt's, `urls` replaces those of its table."""

    module = "exchange"

    exchange: Text
    trades: list[Text] = []
    order_book: OrderBook | None = None
    urls: dict[str, Text] = {}
    options: dict[str, Any] = {}
    credentials: dict[str, Text] = {}
    sequential_trade_ids: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_streams(self.trades, self.order_book)
        for name, url in self.urls.items():
            refusals.check_url(url, (*HTTP, *SOCKET), "urls", name)
            refusals.refuse_placeholders(url, ["hostname"], "urls", name)  # which ccxt fills
        refusals.refuse_secrets_among(self.options, "options")


class AlpacaSource(StreamedSource, frozen=True, forbid_unknown_fields=True, tag="alpaca", kw_only=True):
    """US equities' trades by Alpaca's own client (extra `alpaca`); `url` replaces that of its `feed`."""

    module = "alpaca"
    extra = "alpaca"

    symbols: Texts
    credentials: dict[Literal["key", "secret"], Text]
    feed: Literal["iex", "sip"] = "iex"
    url: Text | None = None
    silence_seconds: Silence = 345_600.0  # a long weekend

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_keys(self.credentials, "key", "secret")
        refusals.check_list(self.symbols, "symbols")
        if self.url is not None:
            refusals.check_url(self.url, SOCKET, "url")
            refusals.refuse_placeholders(self.url, [], "url")


class DatabentoSource(StreamedSource, frozen=True, forbid_unknown_fields=True, tag="databento", kw_only=True):
    """Trades and books of one Databento dataset by its own client (extra `databento`); raw symbols, like CLZ26.

    Books are ten levels deep at most; `gateway` and `port` replace those of the dataset.
    """

    module = "databento"
    extra = "databento"

    dataset: Text
    credentials: dict[Literal["key"], Text]
    trades: list[Text] = []
    order_book: OrderBook | None = None
    gateway: Text | None = None
    port: Annotated[int, Meta(ge=1, le=65_535)] = 13000
    silence_seconds: Silence = 345_600.0  # a long weekend

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_keys(self.credentials, "key")
        _check_streams(self.trades, self.order_book)
        if self.order_book is not None and self.order_book.depth > DATABENTO_LEVELS:
            said = f"expected a number of at most {DATABENTO_LEVELS}, received {self.order_book.depth}"
            raise WrongValue(said, "order_book", "depth")
        if self.gateway is not None and not re.fullmatch(r"[\w.:-]+", self.gateway):
            raise WrongValue("expected the name or address of a host, without a scheme, received another", "gateway")


def _check_streams(trades: list[str], order_book: OrderBook | None) -> None:
    if not trades and order_book is None:
        raise WrongValue("expected `trades` or `order_book`, or both, received neither")
    refusals.check_list(trades, "trades")


def _check_keys(credentials: Mapping[Any, str], *names: str) -> None:
    for name in names:
        if name not in credentials:
            raise WrongValue(f"expected the key `{name}`, received none", "credentials")


def _check_encoding(encoding: str) -> None:
    try:
        decoding.codec(encoding or "utf-8")
    except (LookupError, ValueError):
        said = f"expected the name of a charset (utf-8, windows-1252, shift_jis), received {encoding!r}"
        raise WrongValue(said, "encoding") from None


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
                raise WrongValue(f"expected one character that parts or quotes, received {sign!r}", name)
        if self.decimal == self.thousands:
            raise WrongValue(f"expected another than `decimal`, received {self.decimal!r} for both", "thousands")
        if self.delimiter == self.quote:
            raise WrongValue(f"expected another than `delimiter`, received {self.quote!r} for both", "quote")


class HttpSource(Source, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is polled over HTTP: `url` and `headers` may hold ${NAME}, the environment's value.

    `encoding` is the charset of the answer, where neither it nor the server names the right one.
    """

    url: Text
    headers: dict[str, Text] = {}
    encoding: str = ""
    timeout_seconds: Annotated[float, Meta(ge=0.1, le=3600)] = 30.0
    every_seconds: Annotated[float, Meta(le=MONTH_SECONDS)] = 3600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_encoding(self.encoding)
        if not self.url:
            return  # the defaults alone: in a file the type refuses it
        parts = refusals.check_url(self.url, HTTP, "url")
        refusals.check_headers(self.headers)
        refusals.check_interval(self.every_seconds, parts.hostname)
        refusals.check_placeholders(self.url, getattr(self, "requests", [{}]))


class FeedSource(HttpSource, frozen=True, forbid_unknown_fields=True, tag="feed", kw_only=True):
    """An RSS or Atom feed, polled; every entry that was not there before is a text event."""

    module = "feed"

    event_publisher: Text
    unit: Text
    every_seconds: Annotated[float, Meta(le=MONTH_SECONDS)] = 60.0


class PollSource(HttpSource, frozen=True, forbid_unknown_fields=True, tag="poll", kw_only=True):
    """A list of records over HTTP, polled; a new or revised one is a numeric event, or text if it is no number.

    `records` is the path to the list: `a.b` is the list b in the object a of JSON, where `a.0.b` is that of the first
    element of a list a, and `a.*.b` those of all; in XML it is the elements b of the root a; CSV is the list itself.
    With `body` the requests are POST, and its texts are filled as `url` is.
    """

    module = "poll"

    identity: Texts
    format: Literal["json", "csv", "xml"] = "json"
    requests: Annotated[list[dict[Text, Text]], Meta(min_length=1)] = msgspec.field(default_factory=lambda: [{}])
    records: str = ""
    rename: dict[str, Text] = {}
    dialect: Dialect = Dialect()
    body: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format == "xml" and not self.records:
            raise WrongValue("expected `records`, the path root.element of one record in XML, received none")
        if self.format == "csv" and self.records:
            raise WrongValue(f"expected no `records`: CSV is the list itself, received {self.records!r}", "records")
        refusals.check_list(self.identity, "identity")
        refusals.check_requests(self.requests)
        for number, (name, new) in enumerate(self.rename.items()):
            if new == "source_system":
                raise WrongValue("expected another name: `source_system` is a key of the entry itself", "rename", name)
            if new in list(self.rename.values())[:number]:
                raise WrongValue(f"expected each new name once, received {new!r} again", "rename", name)
        refusals.check_body(self.body, self.requests)
        of_csv = {"delimiter": ",", "quote": '"', "skip_lines": 0}
        for name, usual in of_csv.items():
            if getattr(self.dialect, name) != usual and self.format != "csv":
                raise WrongValue(f"expected none: only CSV has one, received format {self.format!r}", "dialect", name)


class ReplaySource(Source, frozen=True, forbid_unknown_fields=True, tag="replay", kw_only=True):
    """What a destination of kind `lake` has written: `path` is that destination's, `topics` are some of its topics.

    `speed` 1 is the session's own pace, 10 ten times as fast; 0 is at once.
    """

    module = "replay"

    path: Text
    topics: Annotated[
        list[Literal["market_tick", "order_book_l2", "economic_event_numeric", "economic_event_text"]],
        Meta(min_length=1),
    ]
    speed: Annotated[float, Meta(ge=0, le=1_000_000)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        refusals.check_list(self.topics, "topics")


SourceEntry = CcxtSource | AlpacaSource | DatabentoSource | FeedSource | PollSource | ReplaySource


def check_source(name: str, text: str) -> SourceEntry:
    """One entry, of what stands below its name. ConfigurationError with the lines of that text where it is wrong."""
    typed_yaml.check_name(name)
    entry: SourceEntry = typed_yaml.parse_entry(text, name, "the entry", SourceEntry)
    return _named(name, entry)


def read_sources(path: Path) -> dict[str, SourceEntry]:
    """The streaming sources by name, each with its name and source_system filled in."""
    return parse_sources(content(path), path)


def parse_sources(text: str, path: Path) -> dict[str, SourceEntry]:
    """The same of a text that is, or is to be, in that file."""
    entries: dict[str, SourceEntry] = typed_yaml.parse(text, str(path), SourceEntry, _check_all)
    return {name: _named(name, entry) for name, entry in entries.items()}


def _named(name: str, entry: SourceEntry) -> SourceEntry:
    return msgspec.structs.replace(entry, name=name, source_system=entry.source_system or name)


def _check_all(entries: dict[str, SourceEntry]) -> None:
    """What is said of one source is never taken for another's: their rows are told apart by it."""
    owners: dict[str, str] = {}
    for name, entry in entries.items():
        typed_yaml.check_name(name)
        system = entry.source_system or name
        if system in owners and system != SIMULATED:
            raise WrongValue(
                f"expected a source_system of its own, received {system!r}, which is that of {owners[system]}: their "
                "records could not be told apart",
                name, "source_system",
            )  # fmt: skip
        owners[system] = name
