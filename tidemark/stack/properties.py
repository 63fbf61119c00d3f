"""Java's properties files: written whole, readable by their owner alone, whatever letters a value has."""

import os
from collections.abc import Mapping
from pathlib import Path


def escaped(value: str) -> str:
    r"""A value as Java reads it: it takes a file as Latin-1, a backslash as an escape, and drops leading blanks."""
    value = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    units = value.encode("utf-16-be")
    letters = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    text = "".join(chr(letter) if 32 <= letter < 127 else f"\\u{letter:04x}" for letter in letters)
    return f"\\{text}" if text.startswith(" ") else text


def write(path: Path, values: Mapping[str, str]) -> None:
    """Whole or not at all, and never readable by others: a value may be a password. Keys are as they are."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.writelines(f"{key}={escaped(value)}\n" for key, value in values.items())
    fresh.replace(path)
