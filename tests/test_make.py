"""Which Python `make` takes, run for real: its PATH holds the tools that it needs and the interpreters of the test."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.pythons import END, LOW, PROJECT, ROOT, uv

TOOLS = ("make", "bash", "sh", "sed", "awk", "grep", "sort", "head", "tail", "rm", "mkdir", "touch", "cat", "dirname")
BASE = Path(sys._base_executable)  # type: ignore[attr-defined]  # the interpreter below the environment of the tests
MINOR = f"python3.{sys.version_info.minor}"
# What a version manager leaves on PATH for a Python that is not chosen.
BROKEN = "#!/bin/sh\necho 'command not found' >&2\nexit 127\n"
NO_VENV = f'#!/bin/sh\n[ "$1 $2" = "-m venv" ] && exit 1\nexec {BASE} "$@"\n'


@dataclass(frozen=True)
class Checkout:
    """Makefile and pyproject.toml in a folder of their own, and the one folder of its PATH."""

    folder: Path
    bin: Path

    def promise(self, pythons: str) -> None:
        """Let pyproject.toml promise other Pythons."""
        text = (ROOT / "pyproject.toml").read_text()
        promised = re.sub('requires-python = ".*"', f'requires-python = "{pythons}"', text)
        (self.folder / "pyproject.toml").write_text(promised)

    def put(self, name: str, what: str | Path) -> None:
        """Put an interpreter on PATH: a link to one, or a script."""
        if isinstance(what, Path):
            (self.bin / name).symlink_to(what)
        else:
            (self.bin / name).write_text(what)
            (self.bin / name).chmod(0o755)

    def make(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `make`, by default only to make the environment; never raises on its exit code."""
        dropped = ("UV_PYTHON", "MAKE", "MFLAGS", "VIRTUAL_ENV", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        return subprocess.run(
            ["make", *(arguments or [".venv/bin/python"])], cwd=self.folder, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
            env=kept | {"PATH": str(self.bin), "UV_PYTHON_DOWNLOADS": "never"} | environ,
        )  # fmt: skip

    def version(self) -> str:
        """What the environment that was made runs on: `Python 3.12.1`."""
        return subprocess.check_output([self.folder / ".venv/bin/python", "--version"], text=True).strip()


@pytest.fixture
def bare(tmp_path: Path) -> Checkout:
    """A machine with neither uv nor Python."""
    checkout = Checkout(tmp_path / "tidemark", tmp_path / "bin")
    checkout.folder.mkdir()
    checkout.bin.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"expected {tool} on PATH"
        checkout.put(tool, Path(found))
    shutil.copy(ROOT / "Makefile", checkout.folder)
    shutil.copy(ROOT / "pyproject.toml", checkout.folder)
    return checkout


@pytest.fixture
def checkout(bare: Checkout) -> Checkout:
    """A machine with uv, without Python."""
    bare.put("uv", uv())
    return bare


def check_sentence(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """It failed with one sentence of its own, then make's line, and nothing was made."""
    assert done.returncode == 2, done.stdout
    sentence, of_make = done.stderr.splitlines()
    assert sentence.startswith("make: expected ")
    assert of_make.startswith("make: *** ")
    for words in said:
        assert words in sentence


def test_python3_is_taken_where_it_fits(checkout: Checkout) -> None:
    checkout.put("python3", BASE)
    done = checkout.make()
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert checkout.version() == f"Python {sys.version.split()[0]}"


def test_another_python_on_path_is_taken_where_python3_does_not_run(checkout: Checkout) -> None:
    checkout.put("python3", BROKEN)
    checkout.put("python3.99", BROKEN)
    checkout.put(MINOR, BASE)
    done = checkout.make()
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert checkout.version() == f"Python {sys.version.split()[0]}"


def test_an_environment_whose_interpreter_is_gone_is_made_anew(checkout: Checkout) -> None:
    checkout.put(MINOR, BASE)
    python = checkout.folder / ".venv/bin/python"
    assert checkout.make().returncode == 0
    for file in ("requirements.lock", ".venv/.installed"):
        (checkout.folder / file).touch()
    assert checkout.make("-q", ".venv/.installed").returncode == 0
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert checkout.make("-q", ".venv/.installed").returncode == 1  # it would install again
    done = checkout.make()
    assert done.returncode == 0, done.stderr
    assert checkout.version() == f"Python {sys.version.split()[0]}"


def test_a_python_that_was_named_and_does_not_fit_is_refused_in_a_sentence(checkout: Checkout) -> None:
    checkout.promise(">=3.98,<3.99")
    checkout.put("python3", BASE)
    check_sentence(checkout.make(PYTHON="python3"), "Python >=3.98,<3.99", f"found Python {sys.version.split()[0]}")
    check_sentence(checkout.make(PYTHON="nowhere"), "nowhere: command not found")


def test_without_a_fitting_python_and_without_downloads_one_sentence_says_what_to_do(checkout: Checkout) -> None:
    checkout.promise(">=3.98,<3.99")
    checkout.put("python3", BASE)
    check_sentence(checkout.make(), "Python >=3.98,<3.99", "UV_PYTHON_DOWNLOADS=never", "install one, or set PYTHON")


def test_a_download_that_cannot_be_had_ends_in_the_same_sentence(checkout: Checkout) -> None:
    checkout.promise(">=3.98,<3.99")
    done = checkout.make(UV_PYTHON_DOWNLOADS="automatic")
    assert done.stdout.startswith("found no Python >=3.98,<3.99: uv fetches one into ")
    check_sentence(done, "found neither (error: ")


def test_uv_fetches_a_python_where_none_fits_and_a_line_says_so(checkout: Checkout, tmp_path: Path) -> None:
    archive = tmp_path / "python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(BASE.resolve(), f"python/bin/{MINOR}")
        for file in Path(sysconfig.get_path("stdlib")).glob("_sysconfigdata_*.py"):
            packed.add(file, f"python/lib/{MINOR}/{file.name}")
    version = sys.version_info
    downloads = {
        "cpython-here": {
            "name": "cpython", "major": version.major, "minor": version.minor, "patch": version.micro,
            "prerelease": "", "arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu",
            "url": archive.as_uri(), "sha256": sha256(archive.read_bytes()).hexdigest(), "variant": None, "build": "1",
        }
    }  # fmt: skip
    listed = tmp_path / "downloads.json"
    listed.write_text(json.dumps(downloads))
    done = checkout.make(UV_PYTHON_DOWNLOADS="automatic", UV_PYTHON_DOWNLOADS_JSON_URL=str(listed))
    assert done.returncode == 0, done.stderr
    assert f"uv fetches one into {checkout.folder}/.uv/python" in done.stdout
    assert (checkout.folder / ".venv/bin/python").resolve().is_relative_to(checkout.folder / ".uv/python")


@pytest.mark.parametrize("python", [BASE, NO_VENV], ids=["venv", "pip alone"])
def test_a_python_that_does_not_fit_still_brings_uv(bare: Checkout, python: str | Path) -> None:
    bare.promise(">=3.98,<3.99")
    bare.put(MINOR, python)
    done = bare.make()
    assert (bare.folder / ".uv/bin/uv").exists(), done.stderr
    assert done.stdout == "installing uv into .uv\n"
    check_sentence(done, "UV_PYTHON_DOWNLOADS=never")


@pytest.mark.parametrize("python", [BASE, NO_VENV], ids=["venv", "pip alone"])
def test_settings_of_pip_that_put_packages_elsewhere_do_not_count(
    bare: Checkout, tmp_path: Path, python: str | Path
) -> None:
    bare.put(MINOR, python)
    elsewhere = {"PIP_USER": "1", "PIP_TARGET": str(tmp_path / "target"), "PIP_PREFIX": str(tmp_path / "prefix")}
    done = bare.make(".uv/bin/uv", **elsewhere)
    assert (done.returncode, done.stdout) == (0, "installing uv into .uv\n"), done.stderr
    assert (bare.folder / ".uv/bin/uv").exists()
    assert not (tmp_path / "target").exists()
    assert not (tmp_path / "prefix").exists()


def test_a_uv_below_a_path_with_a_space_is_taken(bare: Checkout, tmp_path: Path) -> None:
    place = tmp_path / "Max Muster"
    place.mkdir()
    (place / "uv").symlink_to(uv())
    bare.put(MINOR, BASE)
    done = bare.make(PATH=f"{place}:{bare.bin}")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert not (bare.folder / ".uv").exists()


def test_a_uv_that_does_not_run_is_not_taken(bare: Checkout) -> None:
    bare.put("uv", BROKEN)
    bare.put(MINOR, BASE)
    done = bare.make()
    assert (done.returncode, done.stdout) == (0, "installing uv into .uv\n"), done.stderr


def test_where_the_home_cannot_be_written_the_cache_of_uv_is_in_the_checkout(
    checkout: Checkout, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.touch()
    checkout.put(MINOR, BASE)
    done = checkout.make(HOME=str(home), XDG_CACHE_HOME="", UV_CACHE_DIR="")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (checkout.folder / ".uv/cache").is_dir()


def test_without_uv_and_without_python_one_sentence_says_what_to_do(bare: Checkout) -> None:
    bare.put("python3", BROKEN)
    check_sentence(bare.make(), "expected uv on PATH, or a Python with pip", "(no Python)", "install uv or python3-pip")


def test_every_place_that_names_the_promised_pythons_agrees() -> None:
    assert PROJECT["project"]["requires-python"] == f">=3.{LOW},<3.{END}"
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py3{LOW}"
    assert PROJECT["tool"]["mypy"]["python_version"] == f"3.{LOW}"
    assert f"--python-version 3.{LOW} " in (ROOT / "Makefile").read_text()
    assert f"Python 3.{LOW} to 3.{END - 1} " in (ROOT / "README.md").read_text().replace("\n", " ")


def test_a_wheel_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    program = "from setuptools import build_meta; build_meta.build_wheel('.')"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("expected an editable install from a checkout (`make setup`)")
