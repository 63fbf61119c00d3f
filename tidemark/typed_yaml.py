"""Files that people write, read into typed entries; a wrong one is refused with line, key and what was expected."""

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from tidemark.errors import ConfigurationError

Entry = TypeVar("Entry")


def read(path: Path, entry_type: type[Entry] | Any) -> dict[str, Entry]:
    """The file's entries by name. ConfigurationError where it is missing or wrong."""
    try:
        return parse(path.read_text(), str(path), entry_type)
    except FileNotFoundError:
        raise ConfigurationError(f"expected a file at {path}, found none") from None


def parse(text: str, path: str, entry_type: type[Entry] | Any) -> dict[str, Entry]:
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
