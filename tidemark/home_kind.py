"""What a state folder is for: live sources, or a replay that the next demo makes anew."""

from typing import Literal

from tidemark.errors import StackError
from tidemark.settings import Settings
from tidemark.state_file import read_text

HomeKind = Literal["live", "replay"]


def home_kind(settings: Settings) -> HomeKind:
    """Whether the state folder holds live topics (the broker's clock counts) or a replay (the event's own does)."""
    return "replay" if (read_text(settings.home / "mark") or "").strip() == "replay" else "live"


def refuse_a_replay(settings: Settings) -> None:
    """StackError where the state folder is a demo's: what a live source sent to it would be lost."""
    if home_kind(settings) == "replay":
        raise StackError(
            f"expected a state folder for live sources, {settings.home} is a demo's replay, which the next demo makes "
            "anew: set TIDEMARK_HOME to another folder, and run `tidemark up`"
        )
