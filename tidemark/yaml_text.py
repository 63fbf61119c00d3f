"""YAML as a person writes it, read so that it means one thing: what YAML's versions read in two ways is refused."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tidemark.errors import ConfigurationError

_AMBIGUOUS_WORD = re.compile(r"yes|no|on|off", re.IGNORECASE)  # true and false of YAML 1.1, text of 1.2
MOST_NODES = 100_000  # of a file, each alias counted as what it stands for
_AMBIGUOUS_NUMBER = re.compile(r"[-+]?(?:0[0-7_]+|[\d_]+(?::[\d_]+)+(?:\.[\d_]*)?|[\d.]*\d_[\d_.]*)")


class _Loader(yaml.SafeLoader):
    """Reads dates as the text that they are."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the class attribute of yaml's own
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def content(path: Path) -> str:
    """The file's text. ConfigurationError where there is none, or it is not UTF-8."""
    try:
        return decoded(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ConfigurationError(f"expected a file at {path}, found none") from None
    except OSError as error:
        raise ConfigurationError(f"expected a file that can be read at {path}, received {error.strerror}") from None


def decoded(body: bytes, where: str) -> str:
    """The text of bytes; a byte order mark of UTF-8 goes."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{where}, line {line}: expected UTF-8, received the byte 0x{body[error.start]:02x}: save the file as UTF-8"
        ) from None


def read_yaml(text: str, where: str) -> tuple[Any, yaml.Node | None]:
    """The value and its node, which knows the lines. ConfigurationError names the line of what is wrong."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, None
            for wrong in _wrong(node, [], set()):
                raise ConfigurationError(f"{where}, {wrong}")
            if _nodes(node, {}) > MOST_NODES:
                raise ConfigurationError(
                    f"{where}: expected at most {MOST_NODES:,} values, received more, as an alias stands for all that "
                    "it names: write less, or fewer aliases"
                )
            return loader.construct_document(node), node
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{where}{_said(error, text)}") from None
    except RecursionError:
        raise ConfigurationError(f"{where}: expected YAML, received more levels than can be read") from None
    except ValueError as error:  # a number that Python does not make of it
        raise ConfigurationError(f"{where}: expected YAML, received {error}") from None


def _said(error: yaml.YAMLError, text: str) -> str:
    """`, line N: expected YAML, ..`, in one sentence."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, int(error.position)) + 1
        character = chr(error.character) if isinstance(error.character, int) else error.character
        return f", line {line}: expected YAML, received the character {character!r}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return f": expected YAML, received {' '.join(str(error).split())}"
    mark, begun = error.problem_mark or error.context_mark, error.context_mark
    if begun is not None and error.context and "quoted scalar" in error.context:
        return f", line {begun.line + 1}: expected YAML, received a quote that is not closed"
    problem, line = str(error.problem or error.context), mark.line + 1 if mark else 1
    if error.context == "expected a single document in the stream":
        problem = "another document after `---`"
    elif "\\t" in problem:
        problem = "a tab: indent with spaces"
    elif begun is not None and begun.line + 1 != line:
        problem = f"{problem}, of what begins in line {begun.line + 1}"
    return f", line {line}: expected YAML, received {' '.join(problem.split())}"


def line_of(node: yaml.Node) -> int:
    """The line, from 1, where a node begins."""
    return int(node.start_mark.line) + 1


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.ScalarNode):
        return []
    return node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]


def _nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, its aliases' too; `known` has those of nodes by id, each counted once."""
    if id(node) not in known:
        known[id(node)] = 1 + sum(_nodes(part, known) for part in _parts(node))
    return known[id(node)]


def _wrong(node: yaml.Node, above: list[yaml.Node], seen: set[int]) -> Iterator[str]:
    """What a reader of another version would read otherwise, keys that stand twice, and what holds itself.

    `seen` has the ids of nodes that were looked through: aliases name them again.
    """
    if id(node) in seen:
        return
    if node in above:
        yield f"line {line_of(node)}: expected a value, received an alias of what it stands in"
    elif isinstance(node, yaml.ScalarNode):
        if node.style is None and (_is_ambiguous(node)):
            yield (
                f"line {line_of(node)}: expected a value that YAML reads in one way only, received the bare "
                f"{node.value}: quote it if it is text, else write true, false or a plain number"
            )
    else:
        if isinstance(node, yaml.MappingNode):
            yield from _wrong_keys(node)
        for part in _parts(node):
            yield from _wrong(part, [*above, node], seen)
    seen.add(id(node))


def _is_ambiguous(node: yaml.ScalarNode) -> bool:
    if node.tag == "tag:yaml.org,2002:bool":
        return _AMBIGUOUS_WORD.fullmatch(node.value) is not None
    is_number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    return is_number and _AMBIGUOUS_NUMBER.fullmatch(node.value) is not None


def _wrong_keys(node: yaml.MappingNode) -> Iterator[str]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            yield f"line {line_of(key)}: expected a text as key, received a list or keys: quote what holds braces"
        elif key.value in lines and key.tag != "tag:yaml.org,2002:merge":
            yield (
                f"line {line_of(key)}, {key.value}: expected each key once, received it again; "
                f"it stands in line {lines[key.value]} already"
            )
        lines.setdefault(str(key.value), line_of(key))
