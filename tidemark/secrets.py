"""Values of the environment that a person's file names, and keeping them out of every text that people see."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from tidemark.errors import ConfigurationError
from tidemark.typed_yaml import WrongValue

VARIABLE = re.compile(r"\$\{(\w+)\}")
_known: dict[str, str] = {}  # value to the variable that it came from, of this process
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
            return know(found, name)
        raise ConfigurationError(f"expected the variable {name} (or {name}_FILE, a file that holds it), found neither")

    return VARIABLE.sub(value, text)


def _content(variable: str, path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"expected {variable} to name a file that can be read, received {path} ({error.strerror})"
        ) from None


def know(value: str, variable: str) -> str:
    """From now on `hide` takes the value out of any text."""
    _known[value] = variable
    return value


def hide(text: str) -> str:
    """`text` with every value that is known, as it is or in a URL, replaced by its variable's name."""
    for value, name in sorted(_known.items(), key=lambda known: -len(known[0])):  # one may be the beginning of another
        if len(value) >= _LEAST_SECRET:
            text = text.replace(value, f"${{{name}}}").replace(quote(value, safe=""), f"${{{name}}}")
    return text


def variables_of(entry: object) -> list[str]:
    """The environment's variables that an entry may read: each ${NAME} in it, and NAME_FILE."""
    names = VARIABLE.findall(msgspec.json.encode(entry).decode())
    return [variable for name in names for variable in (name, f"{name}_FILE")]


def refuse_literals(credentials: Mapping[Any, str]) -> None:
    """WrongValue where one is not ${NAME}: a literal would be in a file that people share, and `hide` misses it."""
    for key, value in credentials.items():
        if not VARIABLE.fullmatch(value):
            said = f"expected `credentials.{key}` as ${{NAME}}, the environment's value, received a literal"
            raise WrongValue(said, "credentials", str(key))
