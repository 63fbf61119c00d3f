"""`make demo` as a newcomer runs it, on every promised Python that the machine has: `make demo-pythons`."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loopback.session import Session
from tests.demo.test_demo import Databases, check_trades
from tests.pythons import OWN, ROOT, chosen, pythons


@pytest.fixture
def checkout() -> Iterator[Path]:
    """The files of this checkout that are not ignored, in a folder that also an unprivileged server can reach."""
    listed = subprocess.check_output(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, text=True)
    with tempfile.TemporaryDirectory(prefix="tidemark-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():  # what was deleted and not yet committed is listed too
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, Path(folder) / name)
        yield Path(folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each Python to take, which are looked for only when these tests are asked for."""
    metafunc.parametrize("version", chosen() if metafunc.config.option.markexpr == "pythons" else [OWN])


@pytest.mark.pythons
def test_make_demo_accounts_for_every_record_on_each_promised_python(
    version: str, checkout: Path, new_stack: Any, generated: Session
) -> None:
    of_make = ("MAKE", "MFLAGS", "VIRTUAL_ENV", "PYTHON")
    environ = {name: value for name, value in new_stack.environ.items() if not name.startswith(of_make)}
    done = subprocess.run(
        ["make", "demo"], cwd=checkout, env=environ | {"PYTHON": str(pythons()[version])},
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "balance 0" in done.stdout
    python = checkout / ".venv/bin/python"
    assert subprocess.check_output([python, "--version"], text=True).startswith(f"Python {version}.")
    check_trades(Databases(new_stack.settings), generated)
