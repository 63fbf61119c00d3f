"""Puts the units where systemd looks for them, and takes them away again."""

import os
import shutil
import subprocess
from pathlib import Path

from tidemark.errors import StackError
from tidemark.service.units import environment, environment_file, environment_text, read_environment, unit_files
from tidemark.settings import Settings
from tidemark.stack.checks import make_home

SYSTEM_UNITS = Path("/etc/systemd/system")


def units_folder(system: bool) -> Path:
    """Where systemd reads the units of the machine, or those of who calls."""
    if system:
        return SYSTEM_UNITS
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def install(settings: Settings, name: str, system: bool) -> list[Path]:
    """Write the environment and the units; what was written. Variables that this shell lacks stay as they were."""
    folder, environ = units_folder(system), environment_file(settings)
    make_home(settings.home)
    before = read_environment(environ.read_text()) if environ.exists() else {}
    text = environment_text(before | environment(settings, os.environ))
    part = environ.with_suffix(".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text)
    part.replace(environ)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        units = {folder / file: unit for file, unit in unit_files(settings, name, system).items()}
        for path, unit in units.items():
            path.write_text(unit)
            path.chmod(0o644)
    except OSError as error:
        as_root = ": as root, or without --system for your own services" if system else ""
        raise StackError(f"expected to write the units into {folder}, received {error.strerror}{as_root}") from None
    return [environ, *units]


def remove(settings: Settings, name: str, system: bool) -> list[Path]:
    """Remove the units and their environment; what there was of them."""
    files = [units_folder(system) / file for file in unit_files(settings, name, system)]
    there = [path for path in (environment_file(settings), *files) if path.exists()]
    for path in there:
        path.unlink()
    return there


def systemctl(system: bool, *arguments: str) -> None:
    """Ask systemd; StackError with what it said where it refuses, or is not there."""
    program = shutil.which("systemctl")
    command = ["systemctl", *([] if system else ["--user"]), *arguments]
    if program is None:
        raise StackError(f"expected systemd, there is no systemctl on PATH: where it is, `{' '.join(command)}`")
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise StackError(f"expected `{' '.join(command)}` to be done, systemd said: {said[0]}")
