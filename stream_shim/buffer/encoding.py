"""A datum as the record that its topic gets: the lane sends what this makes, `tidemark sources check` shows it."""

from typing import Any, NamedTuple

import msgspec

from stream_shim.buffer.topics import MAX_MESSAGE_BYTES
from tidemark.categories import key_fields, required_fields
from tidemark.numbers import Digits

MAX_RECORD_BYTES = MAX_MESSAGE_BYTES - 64 * 1024  # room for the key and for what Kafka adds


class Datum(NamedTuple):
    """What a parser makes of a message: the category's fields under their names, and all the rest in `attributes`.

    `time_ms` is the event's own time in milliseconds since 1970 UTC, which a replay's topics keep as the record's time.
    """

    topic: str
    fields: dict[str, Any]
    attributes: dict[str, Any]
    time_ms: int

    @property
    def whole(self) -> dict[str, Any]:
        """All of it as one object, as it stands on the wire."""
        return {**self.fields, "attributes": self.attributes}


class Encoded(NamedTuple):
    """A record as Kafka gets it."""

    topic: str
    key: bytes
    value: bytes
    time_ms: int


class Unsendable(ValueError):
    """Why a message is no record: one of few texts, to count by."""


class NoValue(Unsendable):
    """A record of a right shape whose value its source left empty: it is counted, and nothing is wrong."""


def _of_ours(value: Any) -> Any:
    if isinstance(value, Digits):
        return value.on_the_wire()
    raise TypeError(f"expected what JSON has, received {type(value).__name__}")


_encode = msgspec.json.Encoder(enc_hook=_of_ours).encode


def encode(datum: Datum) -> Encoded:
    """The record of a datum; its key orders: source_system and symbol, or publisher. Unsendable where it is none."""
    topic, fields, attributes, time_ms = datum
    if None in map(fields.get, required_fields(topic)):
        lacking = [name for name in required_fields(topic) if fields.get(name) is None]
        raise Unsendable(f"missing {', '.join(lacking)}")
    try:
        value = _encode({**fields, "attributes": attributes})
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        raise Unsendable(f"not encodable, {type(error).__name__}") from None
    if len(value) > MAX_RECORD_BYTES:
        raise Unsendable("too large for the topic")
    system, name = key_fields(topic)
    return Encoded(topic, f"{fields[system]}|{fields[name]}".encode(), value, time_ms)
