"""Keeps modules out of a process that runs for ever: what libraries import where it is there, and nothing here uses."""

import sys


def leave_out(*names: str) -> None:
    """To import one of them is a ModuleNotFoundError from now on, which its importers take for not installed.

    That is Python's own rule for None in `sys.modules`. One that is imported already stays.
    """
    for name in names:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
