"""The entries of destinations.yml: which topics go where."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct

from tidemark import typed_yaml
from tidemark.categories import CATEGORIES
from tidemark.errors import ConfigurationError
from tidemark.kafka_security import KafkaSecurity
from tidemark.kafka_security import read as read_security
from tidemark.secrets import fill, refuse_literals
from tidemark.settings import SaslMechanism, SecurityProtocol

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
        refuse_literals(self.credentials)
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


def read_destinations(path: Path) -> dict[str, DestinationEntry]:
    """The destinations by name."""
    entries: dict[str, DestinationEntry] = typed_yaml.read(path, DestinationEntry)
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
