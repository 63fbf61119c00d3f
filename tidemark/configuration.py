"""docs/configuration.md: the table of every setting, from the descriptions in tidemark/settings.py."""

import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tidemark.settings import PROJECT, Settings

PAGE = PROJECT / "docs" / "configuration.md"

HEAD = """\
# Configuration

Every setting is an environment variable, read once when a command starts. Nothing needs to be set: without any, the
local stack is used. `make docs` writes this page from `tidemark/settings.py`.

| variable | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = (_row(f"TIDEMARK_{name.upper()}", field) for name, field in Settings.model_fields.items())
    return HEAD + "".join(rows)


def _row(variable: str, field: FieldInfo) -> str:
    return f"| `{variable}` | {_default(field.default)} | {field.description} |\n"


def _default(value: Any) -> str:
    match value:
        case None | SecretStr():
            return ""
        case Path() if value.is_relative_to(PROJECT):
            return f"`{value.relative_to(PROJECT)}` in the checkout"
        case tuple():
            return f"`{json.dumps(value)}`"
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
