"""Values as the text that was sent: no rounding, no dates read, nested JSON as it stands."""

import msgspec
from msgspec import Raw

from ingest.sources import Row

_TEXT = msgspec.json.Decoder(str)


def text_of(value: Raw) -> str | None:
    """A JSON string's content, None for null, and for anything else its own bytes (1.10 stays 1.10)."""
    sent = bytes(value)
    if sent == b"null":
        return None
    return _TEXT.decode(sent) if sent.startswith(b'"') else sent.decode()


def text_row(record: dict[str, Raw]) -> Row:
    """One JSON object as text, field by field."""
    return {name: text_of(value) for name, value in record.items()}
