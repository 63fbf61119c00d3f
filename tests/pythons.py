"""The Pythons that pyproject.toml promises, and where this machine has them."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOW, END = map(int, re.findall(r"3\.(\d+)", PROJECT["project"]["requires-python"]))
PROMISED = [f"3.{minor}" for minor in range(LOW, END)]
OWN = f"3.{sys.version_info.minor}"


def uv() -> Path:
    """The uv that make uses: the user's, else the one that it installed."""
    return Path(os.path.realpath(shutil.which("uv") or ROOT / ".uv/bin/uv"))


@functools.cache
def pythons() -> dict[str, Path]:
    """The interpreter of each promised version that is here: of these tests, on PATH, of pyenv, or of uv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    path = os.pathsep.join([*map(str, sorted(pyenv.glob("versions/*/bin"))), os.environ["PATH"]])
    listed = subprocess.run(
        [uv(), "python", "list", "--only-installed", "--output-format", "json"],
        env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {}
    for each in reversed(json.loads(listed.stdout)):
        version = f"{each['version_parts']['major']}.{each['version_parts']['minor']}"
        if each["implementation"] == "cpython" and each["variant"] == "default":
            found[version] = Path(each["path"])
    found[OWN] = Path(sys._base_executable)  # type: ignore[attr-defined]
    return {version: found[version] for version in PROMISED if version in found}


def chosen() -> list[str]:
    """The versions to run the demo on: all that are here, or with ONLY=newest the newest but the tests' own."""
    here = list(pythons())
    if os.environ.get("ONLY") == "newest":
        return [version for version in here if version != OWN][-1:] or here
    return here


def report() -> str:
    """Which promised Pythons are here, and which are absent."""
    here = ", ".join(f"{version} ({path})" for version, path in pythons().items())
    absent = ", ".join(version for version in PROMISED if version not in pythons())
    return f"promised Pythons here: {here}; absent: {absent or 'none'}; taken: {', '.join(chosen())}"


if __name__ == "__main__":
    print(report())
