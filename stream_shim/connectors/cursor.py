"""What a polling source has sent already: a file in the state folder. If it is lost, values are sent again."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tidemark.settings import Settings

log = logging.getLogger("tidemark.connector")

KEPT = 200_000  # identities; those not met for longest go first
_CONDITIONS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}


@dataclass
class Cursor:
    """`seen`: identity's hash to value's hash; `validators`: by request, headers that make the next one conditional."""

    path: Path
    seen: dict[str, str] = field(default_factory=dict)
    validators: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, settings: Settings, source: str) -> "Cursor":
        """The cursor as it was last saved, or an empty one."""
        path = settings.home / "cursors" / f"{source}.json"
        if not path.exists():
            return cls(path)
        try:
            saved = json.loads(path.read_text())
            return cls(path, dict(saved["seen"]), dict(saved["validators"]))
        except (ValueError, KeyError, TypeError):
            log.warning("expected a cursor in %s, received something else; values are sent again", path)
            return cls(path)

    def is_new(self, identity: str, value: Any) -> bool:
        """True, once, for an identity that is new or whose value has changed since."""
        key, now = _short(identity), _short(value)
        before = self.seen.pop(key, None)
        self.seen[key] = now
        return before != now

    def knows(self, identity: str) -> bool:
        """Whether it was sent."""
        return _short(identity) in self.seen

    def conditions(self, request: object) -> dict[str, str]:
        """Headers that ask for what has changed since the request was last answered whole."""
        return self.validators.get(_short(request), {})

    def save(self, request: object = None, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """Keep what was sent, and what the answer's headers say of its version: whole, or not at all.

        Call it only when Kafka has acknowledged all that `is_new` let pass.
        """
        self.validators[_short(request)] = {
            ours: headers[name] for name, ours in _CONDITIONS.items() if name in headers
        }
        while len(self.seen) > KEPT:
            self.seen.pop(next(iter(self.seen)))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps({"seen": self.seen, "validators": self.validators}))
        part.replace(self.path)


def _short(value: object) -> str:
    return hashlib.sha256(str(value).encode(errors="surrogatepass")).hexdigest()[:20]
