"""The entries of destinations.yml: which topics go where."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidemark import typed_yaml
from tidemark.categories import CATEGORIES
from tidemark.kafka_security import KafkaSecurity
from tidemark.kafka_security import read as read_security
from tidemark.secrets import fill, refuse_literals
from tidemark.settings import SaslMechanism, SecurityProtocol
from tidemark.typed_yaml import WrongValue
from tidemark.yaml_text import content

_BOOTSTRAP = r"[\w.-]+:\d{1,5}(?:\s*,\s*[\w.-]+:\d{1,5})*|\[[0-9A-Fa-f:.]+\]:\d{1,5}"
_SECURITY = ("security_protocol", "sasl_mechanism", "credentials", "ca_file", "certificate_file", "key_file")
ROLL_SECONDS = 300  # of a lake that says nothing else
_OF_KIND: dict[str, tuple[str, ...]] = {
    "postgres": (),
    "lake": ("path", "roll_seconds", "roll_mb"),
    "kafka": ("bootstrap", "prefix", *_SECURITY),
}


class DestinationEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One destination and the topics that it wants. `path` and what begins with `roll_` are the lake's, else kafka's.

    A lake's file is written once its lines are `roll_mb` (of 1,000,000 bytes, before gzip) or it is `roll_seconds` old.
    `processors` is the most that `tidemark stream run` has of it, for postgres: with 2 a second one starts by the lag.
    `security_protocol`, `sasl_mechanism` and the PEM files are as in TIDEMARK_KAFKA_*; credentials are ${NAME}.
    """

    kind: Literal["postgres", "lake", "kafka"]
    topics: Annotated[list[str], Meta(min_length=1)]
    processors: Annotated[int, Meta(ge=1, le=2)] = 1
    path: str = ""
    roll_seconds: Annotated[int, Meta(ge=1, le=86_400)] | None = None
    roll_mb: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    bootstrap: str = ""
    prefix: str = ""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism | None = None
    credentials: dict[Literal["username", "password"], str] = {}
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        refuse_literals(self.credentials)
        for name in ("path", "roll_seconds", "roll_mb", "bootstrap", "prefix", *_SECURITY[1:]):
            if getattr(self, name) and name not in _OF_KIND[self.kind]:
                raise WrongValue(f"expected no `{name}` for kind {self.kind}, received {getattr(self, name)!r}", name)
        if self.processors > 1 and self.kind != "postgres":
            raise WrongValue(
                f"expected one processor for kind {self.kind}, received {self.processors}: only postgres keeps its "
                "positions with its rows; elsewhere records would double whenever a partition changes hands",
                "processors",
            )
        for number, topic in enumerate(self.topics):
            if topic not in CATEGORIES:
                raise WrongValue(f"expected topics of {sorted(CATEGORIES)}, received {topic!r}", "topics", number)
            if topic in self.topics[:number]:
                raise WrongValue(f"expected each topic once, received {topic} again", "topics", number)
        if self.kind == "kafka" and not re.fullmatch(_BOOTSTRAP, self.bootstrap):
            raise WrongValue(
                f"expected host:port of the other cluster, received {self.bootstrap or 'none'}", "bootstrap"
            )

    def security(self, name: str, environment: Mapping[str, str] = os.environ) -> KafkaSecurity:
        """How the other cluster is entered, for kind kafka; ConfigurationError, with the key, where it does not fit."""
        filled = {key: fill(value, environment) for key, value in self.credentials.items()}
        values = {key: getattr(self, key) for key in _SECURITY if key != "credentials"} | filled

        def where(key: str) -> str:
            return f"destination {name}, {'credentials.' if key in {'username', 'password'} else ''}{key}"

        return read_security(values, where)


def read_destinations(path: Path) -> dict[str, DestinationEntry]:
    """The destinations by name."""
    return parse_destinations(content(path), path)


def parse_destinations(text: str, path: Path) -> dict[str, DestinationEntry]:
    """The same of a text that is in that file."""
    entries: dict[str, DestinationEntry] = typed_yaml.parse(text, str(path), DestinationEntry, _check_all)
    return entries


def _check_all(entries: dict[str, DestinationEntry]) -> None:
    """Destinations that are told apart, and none that is another's too."""
    postgres = [name for name, entry in entries.items() if entry.kind == "postgres"]
    if len(postgres) > 1:
        raise WrongValue(
            f"expected one destination of kind postgres, received {', '.join(postgres)}: they keep the same "
            "positions, and each would hold the other back for ever",
            postgres[1],
        )
    places: dict[tuple[str, ...], str] = {}
    for name, entry in entries.items():
        typed_yaml.check_name(name)
        place = (entry.kind, entry.path or name if entry.kind == "lake" else entry.bootstrap, entry.prefix)
        if place in places and entry.kind != "postgres":
            raise WrongValue(f"expected a place of its own, it is that of {places[place]}: records would double", name)
        places[place] = name
