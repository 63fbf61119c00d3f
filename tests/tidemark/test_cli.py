"""The command line's shell: quick to help, and honest about what went wrong."""

import subprocess
import sys

import pytest

HEAVY = {
    "kafka", "dlt", "dbt", "prefect", "soda_core", "metadata", "ccxt", "psycopg", "aiohttp", "pyarrow", "jgo",
    "pydantic", "rich",
}  # fmt: skip


def test_help_imports_no_heavy_module_and_lists_every_rooms_commands() -> None:
    script = (
        "import sys\n"
        "from tidemark.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stderr.split()) == set()
    for command in (
        "up",
        "down",
        "status",
        "env",
        "stream",
        "sources",
        "quarantine",
        "logs",
        "ingest",
        "promote",
        "account",
        "check",
        "backup",
        "restore",
        "catalog",
        "serve",
        "demo",
    ):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("arguments", [["nonsense"], ["env", "--role"], ["up", "--sideways"]])
def test_wrong_usage_ends_with_code_2(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidemark.cli", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
