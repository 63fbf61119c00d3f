"""Generated passwords: made once, never constants, readable by the owner alone."""

import json
import os
import secrets

from tidemark.connections import LOCAL_ADMINISTRATOR, ROLES, passwords, passwords_path
from tidemark.errors import StackError
from tidemark.settings import Settings


def ensure_passwords(settings: Settings) -> dict[str, str]:
    """Make the passwords that are missing; StackError where the file was lost while its cluster is still there."""
    path = passwords_path(settings)
    if not path.exists() and (settings.home / "postgres" / "data").exists():
        raise StackError(
            f"expected {path} beside the cluster whose passwords it holds, it is missing: restore it from a backup, "
            f"or move {settings.home / 'postgres'} away and run `tidemark up` again for an empty cluster"
        )
    known = passwords(settings) if path.exists() else {}
    missing = [role for role in (LOCAL_ADMINISTRATOR, *ROLES) if role not in known]
    if missing:
        known |= {role: secrets.token_urlsafe(24) for role in missing}
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(known, file, indent=2)
        fresh.replace(path)
    return known
