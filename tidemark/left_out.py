"""Keeps modules out of a process that runs for ever: what libraries import where it is there, and nothing here uses."""

import sys


def leave_out(*names: str) -> None:
    """To import one of them is a ModuleNotFoundError from now on, which its importers take for not installed.

    None in `sys.modules` says the same to Python's own imports; compiled ones, as pyarrow's, take it for the module.
    """
    sys.meta_path.insert(0, _Without(names))


class _Without:
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """As `sys.meta_path` asks."""
        if name in self._names:
            raise ModuleNotFoundError(f"expected nothing here to need {name}, it was asked for", name=name)
