"""Puts the units where systemd looks for them, and takes them away again."""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tidemark.errors import ConfigurationError, StackError
from tidemark.service.units import (
    environment,
    environment_file,
    environment_text,
    read_environment,
    reads_environment,
    unit_files,
)
from tidemark.settings import Settings
from tidemark.stack.checks import FOLDERS, make_home
from tidemark.state_file import read_text

SYSTEM_UNITS = Path("/etc/systemd/system")
NO_BUS = (
    "the systemd of your user does not run in this session: `loginctl enable-linger` once, and "
    "`export XDG_RUNTIME_DIR=/run/user/$(id -u)`; or the machine's services, with --system"
)
WITHOUT = "with `install --no-start` and `remove --no-stop` it is not asked"


def units_folder(system: bool) -> Path:
    """Where systemd reads the units of the machine, or those of who calls."""
    if system:
        return SYSTEM_UNITS
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def install(settings: Settings, name: str, system: bool, forget: Collection[str] = ()) -> tuple[list[Path], list[str]]:
    """Write the environment and the units; what was written, and the names that only an earlier shell had set.

    Those stay as they were, but the ones to `forget`, which this shell must not set: ConfigurationError.
    """
    folder, environ = units_folder(system), environment_file(settings)
    make_home_of_caller(settings.home, os.environ)
    before = read_environment(read_text(environ) or "", str(environ))
    here = environment(settings, os.environ)
    for wrong in forget:
        if wrong in here:
            raise ConfigurationError(f"expected {wrong} to be unset in this shell, to forget it: `unset {wrong}` first")
        if wrong not in before:
            known = ", ".join(sorted(set(before) - set(here))) or "none"
            raise ConfigurationError(f"expected a name that {environ} keeps from before ({known}), received {wrong}")
    kept = {variable: value for variable, value in before.items() if variable not in {*here, *forget}}
    text = environment_text(kept | here)
    part = environ.with_name(f"{environ.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_text(text)
    _give(settings.home, [part])
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
    return [environ, *units], sorted(kept)


def make_home_of_caller(home: Path, environ: Mapping[str, str]) -> None:
    """Make the state folder, of whoever asked sudo where there is none yet: the services run as its owner."""
    made = [path for path in (home, *home.parents) if not path.exists()]
    make_home(home)
    if made and os.geteuid() == 0 and "SUDO_UID" in environ:
        os.chown(home, int(environ["SUDO_UID"]), int(environ.get("SUDO_GID", -1)))
    _give(home, [*made, *(home / name for name in FOLDERS)])


def _give(home: Path, paths: Sequence[Path]) -> None:
    """Let what root made belong to who owns the state folder."""
    if os.geteuid() == 0:
        owner = home.stat()
        for path in paths:
            os.chown(path, owner.st_uid, owner.st_gid)


def remove(settings: Settings, name: str, system: bool) -> list[Path]:
    """Remove the units, and their environment where no other unit reads it; what there was of them."""
    files = [units_folder(system) / file for file in unit_files(settings, name, system)]
    there = [path for path in files if path.exists()]
    for path in there:
        path.unlink()
    kept = environment_file(settings)
    if kept.exists() and not _is_read(settings):
        kept.unlink()
        there.insert(0, kept)
    return there


def _is_read(settings: Settings) -> bool:
    """Whether a unit of the machine or of who calls reads the environment: that of another --name."""
    line = reads_environment(settings)
    units = [path for system in (True, False) for path in units_folder(system).glob("*.service")]
    return any(line in path.read_text(errors="replace").splitlines() for path in units)


def systemctl(system: bool, *arguments: str) -> None:
    """Ask systemd; StackError with what it said where it refuses, or is not there."""
    program = shutil.which("systemctl")
    command = ["systemctl", *([] if system else ["--user"]), *arguments]
    if program is None:
        raise StackError(
            f"expected systemd, there is no systemctl on PATH: where it is, `{' '.join(command)}`; {WITHOUT}"
        )
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        remedy = f"; {NO_BUS}" if not system and re.search(r"\bbus\b|XDG_RUNTIME_DIR", said[0]) else ""
        raise StackError(f"expected `{' '.join(command)}` to be done, systemd said: {said[0]}{remedy}")
