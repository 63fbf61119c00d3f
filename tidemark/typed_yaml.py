"""Files that people write, read into typed entries; a wrong one is refused with line, key and what was expected."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect

from tidemark.errors import ConfigurationError
from tidemark.yaml_text import content, line_of, read_yaml

Entry = TypeVar("Entry")
Step = str | int
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"  # of an entry that names files
Check = Callable[[dict[str, Entry]], None]

_WORDS = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "array": "a list",
    "object": "keys with values", "null": "nothing",
    "list": "a list", "dict": "keys with values", "NoneType": "nothing",
}  # fmt: skip


class WrongValue(ConfigurationError, ValueError):
    """What types cannot say of an entry: `path` are the keys to the value that is wrong."""

    def __init__(self, message: str, *path: Step) -> None:
        super().__init__(message)
        self.path = path


def check_name(name: str) -> None:
    """WrongValue where the name of an entry could name no file of the state folder."""
    if not re.fullmatch(NAME, name):
        raise WrongValue(f"expected a name of letters, digits and _ . -, at most 100, received {name!r}", name)


def read(path: Path, entry_type: type[Entry] | Any, check: Check[Entry] | None = None) -> dict[str, Entry]:
    """The file's entries by name. ConfigurationError where it is missing or wrong."""
    return parse(content(path), str(path), entry_type, check)


def parse(text: str, where: str, entry_type: type[Entry] | Any, check: Check[Entry] | None = None) -> dict[str, Entry]:
    """Entries by name; `where` is where the text is from. `check` raises WrongValue for what is wrong among them."""
    body, node = read_yaml(text, where)
    if not isinstance(body, dict | None):
        raise ConfigurationError(f"{where}, line 1: expected entries by name, received {_kind(body)}")
    entries: dict[str, Entry] = {}
    if isinstance(node, yaml.MappingNode) and body is not None:
        for (key, of_entry), value in zip(_pairs(node), body.values(), strict=True):
            entries[key.value] = _convert((key, of_entry), value, where, entry_type)
    if check is not None:
        try:
            check(entries)
        except WrongValue as error:
            raise ConfigurationError(_sentence(where, node, error.path, str(error))) from None
    return entries


def located(error: WrongValue, text: str, where: str, name: str) -> ConfigurationError:
    """The error with the place in `text`, a file or what stands below `name`, of what is wrong in that entry."""
    node = read_yaml(text, where)[1]
    if isinstance(node, yaml.MappingNode) and not any(key.value == name for key, _ in node.value):
        node = _below(name, node)
    return ConfigurationError(_sentence(where, node, (name, *error.path), str(error)))


def _below(name: str, node: yaml.Node) -> yaml.MappingNode:
    key = yaml.ScalarNode("tag:yaml.org,2002:str", name, node.start_mark, node.start_mark)
    return yaml.MappingNode("tag:yaml.org,2002:map", [(key, node)])


def parse_entry(text: str, name: str, where: str, entry_type: type[Entry] | Any) -> Entry:
    """One entry, of which the text is what stands below its name."""
    body, node = read_yaml(text, where)
    if node is None:
        raise ConfigurationError(f"{where}, line 1, {name}: expected the keys of an entry, received nothing")
    entry: Entry = _convert(_below(name, node).value[0], body, where, entry_type)
    return entry


def read_one(path: Path, file_type: type[Entry]) -> Entry:
    """A file whose keys are those of one struct. ConfigurationError where it is missing or wrong."""
    body, node = read_yaml(content(path), str(path))
    try:
        return msgspec.convert({} if body is None else body, file_type)
    except WrongValue as error:
        raise ConfigurationError(_sentence(str(path), node, error.path, str(error))) from None
    except msgspec.ValidationError as error:
        raise ConfigurationError(_sentence(str(path), node, *_described(error, body, file_type))) from None


def _pairs(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """Keys and values as the mapping has them: of what a merge brings and an own key replaces, the own."""
    return list({key.value: (key, value) for key, value in node.value}.values())


def _convert(pair: tuple[yaml.Node, yaml.Node], body: Any, where: str, entry_type: Any) -> Any:
    node = yaml.MappingNode("tag:yaml.org,2002:map", [pair])
    name = str(pair[0].value)
    try:
        if isinstance(body, dict) and "name" in body:
            raise WrongValue("expected no key `name`: an entry's name is what it stands under", "name")
        return msgspec.convert(body, entry_type)
    except WrongValue as error:
        raise ConfigurationError(_sentence(where, node, (name, *error.path), str(error))) from None
    except msgspec.ValidationError as error:
        steps, said = _described(error, body, entry_type)
        raise ConfigurationError(_sentence(where, node, (name, *steps), said)) from None


def _sentence(where: str, node: yaml.Node | None, path: Sequence[Step], said: str) -> str:
    return f"{where}, line {_line_of(node, path)}, {'.'.join(map(str, path))}: {said}"


def _line_of(node: yaml.Node | None, path: Sequence[Step]) -> int:
    """The line (from 1) of the deepest part of `path` that the file has."""
    line = 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                break
            line, node = line_of(found[-1][0]), found[-1][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = line_of(node)
        else:
            break
    return line


def _described(error: msgspec.ValidationError, body: Any, entry_type: Any) -> tuple[list[Step], str]:
    """The keys to what is wrong, and the sentence about it."""
    message, _, place = str(error).partition(" - at ")
    found = re.findall(r"\.([\w-]+)|\[(\d+)\]|\[(\.\.\.)\]", place)
    steps: list[Step] = [int(at) if at else key or any_key for key, at, any_key in found]
    if "..." in steps:
        steps = _named(steps, body, entry_type, str(error))
    if isinstance(error.__cause__, WrongValue):
        return [*steps, *error.__cause__.path], message
    fields = _fields_at(inspect.type_info(entry_type), body, steps)
    if unknown := re.search(r"unknown field `(.+?)`", message):
        return [*steps, unknown[1]], f"unknown key `{unknown[1]}`, expected {_choice(unknown[1], fields)}"
    if missing := re.search(r"missing required field `(.+?)`", message):
        return steps, f"expected the key `{missing[1]}`, received none"
    if choice := re.fullmatch(r"Invalid (?:enum )?value (.+)", message):
        return steps, _unlisted(choice[1].strip("'"), entry_type, body, steps)
    return steps, _reworded(message, _at(body, steps))


def _named(steps: list[Step], body: Any, entry_type: Any, said: str) -> list[Step]:
    """The steps with the key whose value is refused, which msgspec does not name: tried one by one."""
    at = steps.index("...")
    for key, value in _at(body, steps[:at]).items():
        try:
            msgspec.convert(_with(body, steps[:at], {key: value}), entry_type)
        except msgspec.ValidationError as error:
            if str(error) == said:
                return [*steps[:at], str(key), *steps[at + 1 :]]
    return [*steps[:at], *steps[at + 1 :]]


def _at(body: Any, steps: Sequence[Step]) -> Any:
    for step in steps:
        if isinstance(body, list) and isinstance(step, int):
            body = body[step]
        else:
            body = body.get(step) if isinstance(body, dict) else None
    return body


def _with(body: Any, steps: Sequence[Step], value: Any) -> Any:
    """A copy of `body` that has `value` there."""
    if not steps:
        return value
    copy: Any = list(body) if isinstance(body, list) else dict(body)
    copy[steps[0]] = _with(body[steps[0]], steps[1:], value)
    return copy


def _fields_at(info: Any, body: Any, steps: Sequence[Step]) -> list[str]:
    """The keys that the struct there may have."""
    for step in (*steps, None):
        info = _of_union(info, body)
        if isinstance(info, inspect.StructType):
            fields = {field.name: field.type for field in info.fields}
            if step is None:
                tag = [] if info.tag_field is None else [info.tag_field]
                return [*tag, *(name for name in fields if name != "name")]
            info = fields.get(str(step))
        else:
            info = getattr(info, "value_type", getattr(info, "item_type", None))
        body = _at(body, [step]) if step is not None else body
    return []


def _of_union(info: Any, body: Any) -> Any:
    """Of several types the one that the value there is meant to be."""
    if not isinstance(info, inspect.UnionType):
        return info
    structs = [one for one in info.types if isinstance(one, inspect.StructType)]
    tagged = [one for one in structs if isinstance(body, dict) and one.tag == body.get(one.tag_field)]
    words = [one for one in info.types if isinstance(one, inspect.LiteralType)]
    return next(iter((*tagged, *words, *structs)), None)


def _unlisted(value: str, entry_type: Any, body: Any, steps: list[Step]) -> str:
    """A word that is none of those that may stand there."""
    info = inspect.type_info(entry_type)
    if isinstance(info, inspect.UnionType) and len(steps) == 1:
        tags = [str(one.tag) for one in info.types if isinstance(one, inspect.StructType) and one.tag_field == steps[0]]
        if tags:
            return f"expected {_choice(value, tags)}, received {value!r}"
    allowed = _words_at(info, body, steps)
    return f"expected {_choice(value, allowed) if allowed else 'another word'}, received {value!r}"


def _words_at(info: Any, body: Any, steps: Sequence[Step]) -> list[str]:
    info = _of_union(info, body)
    if isinstance(info, inspect.LiteralType):
        return [str(value) for value in info.values]
    if not steps:
        key = getattr(info, "key_type", None)  # the keys of a mapping may be listed too
        return [str(value) for value in key.values] if isinstance(key, inspect.LiteralType) else []
    if isinstance(info, inspect.StructType):
        found = [field.type for field in info.fields if field.name == steps[0]]
        return _words_at(found[0], _at(body, steps[:1]), steps[1:]) if found else []
    return _words_at(getattr(info, "value_type", getattr(info, "item_type", None)), _at(body, steps[:1]), steps[1:])


def _choice(word: str, words: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, words, n=1, cutoff=0.5)
    return f"one of {', '.join(words)}" + (f" (did you mean `{near[0]}`?)" if near else "")


def _kind(value: Any) -> str:
    names = {str: "str", bool: "bool", int: "int", float: "float", list: "array", dict: "object", type(None): "null"}
    return _WORDS[names[type(value)]] if type(value) in names else type(value).__name__


def _reworded(message: str, value: Any) -> str:
    """What msgspec says, as the file's reader would."""
    if wrong := re.fullmatch(r"Expected `([\w |]+)`, got `(\w+)`", message):
        wanted = " or ".join(_WORDS.get(one, one) for one in wrong[1].split(" | "))
        got = _WORDS.get(wrong[2], wrong[2])
        quote = ": quote it" if wanted == "text" and wrong[2] in ("int", "float", "bool") else ""
        return f"expected {wanted}, received {got}{quote}"
    if bound := re.fullmatch(r"Expected `(?:int|float)` (>=|<=|>|<) (\S+)", message):
        words = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}[bound[1]]
        return f"expected a number of {words} {float(bound[2]):,.10g}, received {value}"
    if message.startswith("Expected `array` of length >= 1"):
        return "expected a list with something in it, received an empty one"
    if message.startswith("Expected `str` matching regex"):
        return "expected text, received an empty one"
    return message
