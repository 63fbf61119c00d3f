"""How a Kafka cluster is entered: checked settings of SASL and TLS, as kafka-python and as librdkafka name them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from tidemark.errors import ConfigurationError
from tidemark.settings import SaslMechanism, SecurityProtocol

PROTOCOLS, MECHANISMS = get_args(SecurityProtocol), get_args(SaslMechanism)
# The part of a setting's name that says what it is, the same for a variable and for an entry of destinations.yml.
NAMES = (
    "security_protocol", "sasl_mechanism", "username", "password", "ca_file", "certificate_file", "key_file",
)  # fmt: skip


class _Hidden(str):
    """A password that shows itself in no log: kafka-python logs all its options while it is debugged."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True)
class KafkaSecurity:
    """How to enter one cluster; None is not said. `read` makes it, and checks that it fits together."""

    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def kafka_python(self) -> dict[str, Any]:
        """The options of kafka-python's clients; the server's name is checked against its certificate."""
        found = {
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": None if self.password is None else _Hidden(self.password),
            "ssl_cafile": self.ca_file,
            "ssl_certfile": self.certificate_file,
            "ssl_keyfile": self.key_file,
        }
        return {key: value for key, value in found.items() if value is not None}

    def librdkafka(self) -> dict[str, str]:
        """The same for kcat and for every other client that is made on librdkafka."""
        found = {
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password,
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.certificate_file,
            "ssl.key.location": self.key_file,
        }
        return {key: value for key, value in found.items() if value is not None}


def read(values: Mapping[str, str | None], name: Callable[[str], str]) -> KafkaSecurity:
    """The security that `values` (NAMES) say. ConfigurationError where they do not fit; `name` says where one is set.

    PLAIN without TLS is refused: whoever stands between, or holds the port, would read the password.
    """
    given = {key: value for key, value in values.items() if value}
    protocol = given.get("security_protocol") or "PLAINTEXT"
    _expect_one_of(name("security_protocol"), protocol, PROTOCOLS)
    if protocol.startswith("SASL_"):
        given.setdefault("sasl_mechanism", MECHANISMS[0])
        _expect_one_of(name("sasl_mechanism"), given["sasl_mechanism"], MECHANISMS)
        for key in ("username", "password"):
            if key not in given:
                raise ConfigurationError(f"{name(key)}: expected one, as {name('security_protocol')} is {protocol}")
        if given["sasl_mechanism"] == "PLAIN" and protocol != "SASL_SSL":
            raise ConfigurationError(
                f"{name('security_protocol')}: expected SASL_SSL with the mechanism PLAIN, received {protocol}: "
                "the password would be sent in the clear"
            )
    else:
        _refuse(given, ("sasl_mechanism", "username", "password"), name, "SASL_SSL or SASL_PLAINTEXT", protocol)
    if protocol.endswith("SSL"):
        _check_files(given, name)
    else:
        _refuse(given, ("ca_file", "certificate_file", "key_file"), name, "SSL or SASL_SSL", protocol)
    return KafkaSecurity(**{**given, "security_protocol": protocol})


def _expect_one_of(where: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigurationError(f"{where}: expected one of {', '.join(known)}, received {value!r}")


def _refuse(
    given: Mapping[str, str], keys: tuple[str, ...], name: Callable[[str], str], needed: str, protocol: str
) -> None:
    for key in keys:
        if key in given:
            raise ConfigurationError(
                f"{name('security_protocol')}: expected {needed}, as {name(key)} is set, received {protocol}"
            )


def _check_files(given: Mapping[str, str], name: Callable[[str], str]) -> None:
    for key, other in (("certificate_file", "key_file"), ("key_file", "certificate_file")):
        if key in given and other not in given:
            raise ConfigurationError(f"{name(other)}: expected a PEM file beside {name(key)}, received none")
    for key in ("ca_file", "certificate_file", "key_file"):
        if key in given and not Path(given[key]).is_file():
            raise ConfigurationError(f"{name(key)}: expected a PEM file, found none at {given[key]}")
