"""The table of conditions (conditions.yml): which observations raise an alert, after how long, and how bad."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from tidemark import typed_yaml
from watch.observation import RUNBOOK, State

TABLE = Path(__file__).parent / "conditions.yml"
ANYTHING = "not seen"  # the condition of whatever is in its states
Severity = Literal["critical", "warning"]


class Condition(Struct, frozen=True, forbid_unknown_fields=True):
    """One entry; its name is that of the observations."""

    severity: Severity
    page: str
    states: list[State] = field(default_factory=lambda: ["failing"])
    for_seconds: Annotated[float, Meta(ge=0, le=86_400)] = field(default=0.0, name="for")
    unless: list[str] = field(default_factory=list)
    together: bool = False

    @property
    def runbook(self) -> str:
        """The page, below the checkout."""
        return f"{RUNBOOK}/{self.page}.md"


def read_conditions() -> dict[str, Condition]:
    """Every condition by the name of its observations; ConfigurationError where the table is wrong."""
    return typed_yaml.read(TABLE, Condition, _check)


def _check(conditions: dict[str, Condition]) -> None:
    """What an entry waits for is a condition too."""
    for name, condition in conditions.items():
        for number, other in enumerate(condition.unless):
            if other not in conditions and other.rpartition(": ")[0] not in conditions:
                raise typed_yaml.WrongValue(
                    f"expected a condition of this file, or one of one thing, received {other!r}",
                    name,
                    "unless",
                    number,
                )
