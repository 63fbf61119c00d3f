"""What a polling source has sent already: a file in the state folder. If it is lost, values are sent again."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidemark.settings import Settings

KEPT = 200_000  # identities; the oldest go first


@dataclass
class Cursor:
    """`seen`: identity's hash to value's hash, oldest first; `validators`: headers of the next conditional request."""

    path: Path
    seen: dict[str, str] = field(default_factory=dict)
    validators: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, settings: Settings, source: str) -> "Cursor":
        """The cursor as it was last saved, or an empty one."""
        path = settings.home / "cursors" / f"{source}.json"
        if not path.exists():
            return cls(path)
        saved = json.loads(path.read_text())
        return cls(path, saved["seen"], saved["validators"])

    def is_new(self, identity: str, value: Any) -> bool:
        """True, once, for an identity that is new or whose value has changed since."""
        key, now = _short(identity), _short(value)
        if self.seen.get(key) == now:
            return False
        self.seen.pop(key, None)
        self.seen[key] = now
        return True

    def save(self) -> None:
        """Write it whole, or not at all."""
        while len(self.seen) > KEPT:
            self.seen.pop(next(iter(self.seen)))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"seen": self.seen, "validators": self.validators}))
        part.replace(self.path)


def _short(value: Any) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()[:20]
