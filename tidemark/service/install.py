"""Puts the units where systemd looks for them, and takes them away again."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tidemark.errors import StackError
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
WITHOUT = "with `install --no-start` and `remove --no-stop` it is not asked"


def units_folder(system: bool) -> Path:
    """Where systemd reads the units of the machine, or those of who calls."""
    if system:
        return SYSTEM_UNITS
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def install(settings: Settings, name: str, system: bool) -> list[Path]:
    """Write the environment and the units; what was written. Variables that this shell lacks stay as they were."""
    folder, environ = units_folder(system), environment_file(settings)
    make_home_of_caller(settings.home, os.environ)
    before = read_environment(read_text(environ) or "")
    text = environment_text(before | environment(settings, os.environ))
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
    return [environ, *units]


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
        raise StackError(f"expected `{' '.join(command)}` to be done, systemd said: {said[0]}")
