"""The lane's three files, read into typed entries; a wrong one is refused with line, key and what was expected."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

import msgspec
import yaml
from msgspec import Struct

from tidemark.categories import CATEGORIES, json_schema, required_fields
from tidemark.errors import ConfigurationError
from tidemark.kafka_security import KafkaSecurity
from tidemark.kafka_security import read as read_security
from tidemark.settings import SaslMechanism, SecurityProtocol

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class OrderBook(Struct, frozen=True, forbid_unknown_fields=True):
    """Which books a source gives, how deep, and the least interval between two snapshots by the book's own time."""

    symbols: list[str]
    depth: int = 10
    every_seconds: float = 1.0


def _refuse_literals(credentials: Mapping[Any, str]) -> None:
    for key, value in credentials.items():
        if not _VARIABLE.fullmatch(value):  # a literal would be in a file that people share, and `hide` misses it
            raise ValueError(f"expected `credentials.{key}` as ${{NAME}}, the environment's value, received a literal")


class Source(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What every source has. `name` is its key in the file."""

    name: str = ""
    source_system: str = ""

    def __post_init__(self) -> None:
        _refuse_literals(getattr(self, "credentials", {}))


class CcxtSource(Source, frozen=True, forbid_unknown_fields=True, tag="ccxt", kw_only=True):
    """An exchange by its ccxt id; `options` and `credentials` are ccxt's, `urls` replaces those of its table."""

    exchange: str
    trades: list[str] = []
    order_book: OrderBook | None = None
    urls: dict[str, str] = {}
    options: dict[str, Any] = {}
    credentials: dict[str, str] = {}
    silence_seconds: float = 60.0
    sequential_trade_ids: bool = False


class AlpacaSource(Source, frozen=True, forbid_unknown_fields=True, tag="alpaca", kw_only=True):
    """US equities' trades by Alpaca's own client (extra `alpaca`); `url` replaces that of its `feed`."""

    symbols: list[str]
    credentials: dict[Literal["key", "secret"], str]
    feed: Literal["iex", "sip"] = "iex"
    url: str | None = None
    silence_seconds: float = 345_600.0  # a long weekend


class DatabentoSource(Source, frozen=True, forbid_unknown_fields=True, tag="databento", kw_only=True):
    """Trades and books of one Databento dataset by its own client (extra `databento`); raw symbols, like CLZ26.

    Books are ten levels deep at most; `gateway` and `port` replace those of the dataset.
    """

    dataset: str
    credentials: dict[Literal["key"], str]
    trades: list[str] = []
    order_book: OrderBook | None = None
    gateway: str | None = None
    port: int = 13000
    silence_seconds: float = 345_600.0  # a long weekend


class HttpSource(Source, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is polled over HTTP: `url` and `headers` may hold ${NAME}, the environment's value."""

    url: str
    headers: dict[str, str] = {}
    timeout_seconds: float = 30.0


class FeedSource(HttpSource, frozen=True, forbid_unknown_fields=True, tag="feed", kw_only=True):
    """An RSS or Atom feed, polled; every entry that was not there before is a text event."""

    event_publisher: str
    unit: str
    every_seconds: float = 60.0


class PollSource(HttpSource, frozen=True, forbid_unknown_fields=True, tag="poll", kw_only=True):
    """A list of records over HTTP, polled; a new or revised one is a numeric event, or text if it is no number.

    `records` is the path to the list: `a.b` is the list b in the object a of JSON, and the elements b of the root a of
    XML; CSV is the list itself.
    """

    identity: list[str]
    format: Literal["json", "csv", "xml"] = "json"
    requests: list[dict[str, str]] = msgspec.field(default_factory=lambda: [{}])
    records: str = ""
    rename: dict[str, str] = {}
    every_seconds: float = 3600.0

    def __post_init__(self) -> None:
        if self.format == "xml" and not self.records:
            raise ValueError("expected `records`, the path root.element of one record in XML, received none")
        if self.format == "csv" and self.records:
            raise ValueError(f"expected no `records`: CSV is the list itself, received {self.records!r}")


class ReplaySource(Source, frozen=True, forbid_unknown_fields=True, tag="replay", kw_only=True):
    """What a destination of kind `lake` has written: `path` is that destination's, `topics` are some of its topics.

    `speed` 1 is the session's own pace, 10 ten times as fast; 0 is at once.
    """

    path: str
    topics: list[Literal["market_tick", "order_book_l2", "economic_event_numeric", "economic_event_text"]]
    speed: Annotated[float, msgspec.Meta(ge=0)] = 1.0


SourceEntry = CcxtSource | AlpacaSource | DatabentoSource | FeedSource | PollSource | ReplaySource


class TopicEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one topic, its schema, and its mapping: column of the table ← field on the wire."""

    schema: dict[str, Any]
    mapping: dict[str, str]
    partitions: int = 1
    replication: int = 1
    grace_days: int = 4


_SECURITY = ("security_protocol", "sasl_mechanism", "credentials", "ca_file", "certificate_file", "key_file")
_OF_KIND: dict[str, tuple[str, ...]] = {
    "postgres": (),
    "lake": ("path",),
    "kafka": ("bootstrap", "prefix", *_SECURITY),
}


class DestinationEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One destination and the topics that it wants. `path` is the lake's, all else is kafka's.

    `security_protocol`, `sasl_mechanism` and the PEM files are as in TIDEMARK_KAFKA_*; credentials are ${NAME}.
    """

    kind: Literal["postgres", "lake", "kafka"]
    topics: list[str]
    path: str = ""
    bootstrap: str = ""
    prefix: str = ""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism | None = None
    credentials: dict[Literal["username", "password"], str] = {}
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        _refuse_literals(self.credentials)
        for name in ("path", "bootstrap", "prefix", *_SECURITY[1:]):
            if getattr(self, name) and name not in _OF_KIND[self.kind]:
                raise ValueError(f"expected no `{name}` for kind {self.kind}, received {getattr(self, name)!r}")

    def security(self, name: str, environment: Mapping[str, str] = os.environ) -> KafkaSecurity:
        """How the other cluster is entered, for kind kafka; ConfigurationError, with the key, where it does not fit."""
        filled = {key: fill(value, environment) for key, value in self.credentials.items()}
        values = {key: getattr(self, key) for key in _SECURITY if key != "credentials"} | filled

        def where(key: str) -> str:
            return f"destination {name}, {'credentials.' if key in {'username', 'password'} else ''}{key}"

        return read_security(values, where)


Entry = TypeVar("Entry")


def _line_of(node: yaml.Node | None, path: list[str | int]) -> int:
    """The line (from 1) of the deepest part of `path` that the file has."""
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _read(path: Path, entry_type: type[Entry] | Any) -> dict[str, Entry]:
    try:
        return _parse(path.read_text(), str(path), entry_type)
    except FileNotFoundError:
        raise ConfigurationError(f"expected a file at {path}, found none") from None


def _parse(text: str, path: str, entry_type: type[Entry] | Any) -> dict[str, Entry]:
    """Entries by name; `path` is where the text is from, for the sentence about a wrong one."""
    try:
        raw, node = yaml.safe_load(text) or {}, yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: expected YAML, received {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{path}, line 1: expected entries by name, received {type(raw).__name__}")
    entries = {}
    for name, body in raw.items():
        try:
            entries[str(name)] = msgspec.convert(body, entry_type)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at ")
            steps = [int(step) if step.isdigit() else step for step in re.findall(r"[\w-]+", where)]
            unknown = re.search(r"(?:unknown field|expected no) `(.+?)`", message)
            line = _line_of(node, [str(name), *steps, *([unknown[1]] if unknown else [])])
            key = ".".join(str(step) for step in (name, *steps))
            raise ConfigurationError(f"{path}, line {line}, {key}: {message}") from None
    return entries


def check_source(text: str) -> None:
    """ConfigurationError where the YAML of one entry, with its name in the first line, is wrong."""
    _parse(text, "the entry", SourceEntry)


def read_sources(path: Path) -> dict[str, SourceEntry]:
    """The streaming sources by name, each with its name and source_system filled in."""
    entries: dict[str, SourceEntry] = _read(path, SourceEntry)
    for name in entries:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):  # it names files of the state folder
            raise ConfigurationError(f"{path}: expected a name of letters, digits and _ . -, received {name!r}")
    return {
        name: msgspec.structs.replace(entry, name=name, source_system=entry.source_system or name)
        for name, entry in entries.items()
    }


def read_topics(path: Path) -> dict[str, TopicEntry]:
    """The topics by name; each is a category, with all of its fields in the schema and in the mapping."""
    entries: dict[str, TopicEntry] = _read(path, TopicEntry)
    if set(entries) != set(CATEGORIES):
        raise ConfigurationError(f"{path}: expected the topics {sorted(CATEGORIES)}, received {sorted(entries)}")
    for topic, entry in entries.items():
        if set(entry.mapping) != set(required_fields(topic)):
            raise ConfigurationError(
                f"{path}, {topic}.mapping: expected the columns {list(required_fields(topic))}, "
                f"received {list(entry.mapping)}"
            )
        category = json_schema(topic)
        fields = {entry.mapping.get(name, name): kind for name, kind in category["properties"].items()}
        for field, kind in fields.items():
            found = entry.schema.get("properties", {}).get(field, {})
            if not found.items() >= kind.items():
                raise ConfigurationError(
                    f"{path}, {topic}.schema.properties.{field}: expected {kind}, received {found}"
                )
        if set(entry.schema.get("required", ())) != {entry.mapping[name] for name in category["required"]}:
            required = entry.schema.get("required")
            raise ConfigurationError(
                f"{path}, {topic}.schema.required: expected {category['required']}, received {required}"
            )
    return entries


def read_destinations(path: Path) -> dict[str, DestinationEntry]:
    """The destinations by name."""
    entries: dict[str, DestinationEntry] = _read(path, DestinationEntry)
    postgres = [name for name, entry in entries.items() if entry.kind == "postgres"]
    if len(postgres) > 1:
        raise ConfigurationError(
            f"{path}: expected one destination of kind postgres, received {', '.join(postgres)}: they keep the same "
            "positions, and each would hold the other back for ever"
        )
    for name, entry in entries.items():
        unknown = sorted(set(entry.topics) - set(CATEGORIES))
        if unknown:
            raise ConfigurationError(
                f"{path}, {name}.topics: expected topics of {sorted(CATEGORIES)}, received {unknown}"
            )
        if entry.kind == "kafka" and not entry.bootstrap:
            raise ConfigurationError(
                f"{path}, {name}.bootstrap: expected host:port of the other cluster, received none"
            )
    return entries


def variables_of(entry: object) -> list[str]:
    """The environment's variables that an entry may read: each ${NAME} in it, and NAME_FILE."""
    names = _VARIABLE.findall(msgspec.json.encode(entry).decode())
    return [variable for name in names for variable in (name, f"{name}_FILE")]


_filled: dict[str, str] = {}  # value to its variable, of this process
_LEAST_SECRET = 6  # characters; a shorter one cannot be told from other text


def fill(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Put the environment's values where `text` says ${NAME}; NAME_FILE may name a file that holds the value.

    The result may hold a secret: it goes into a request and nowhere else; `hide` takes it out of any other text.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        found = environment.get(name, "")
        if not found and environment.get(f"{name}_FILE"):
            found = _content(f"{name}_FILE", Path(environment[f"{name}_FILE"]))
        if found:
            _filled[found] = name
            return found
        raise ConfigurationError(f"expected the variable {name} (or {name}_FILE, a file that holds it), found neither")

    return _VARIABLE.sub(value, text)


def _content(variable: str, path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"expected {variable} to name a file that can be read, received {path} ({error.strerror})"
        ) from None


def hide(text: str) -> str:
    """`text` with every value that `fill` has given out, as it is or in a URL, replaced by its variable's name."""
    for value, name in _filled.items():
        if len(value) >= _LEAST_SECRET:
            text = text.replace(value, f"${{{name}}}").replace(quote(value, safe=""), f"${{{name}}}")
    return text
