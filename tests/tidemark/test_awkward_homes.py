"""A state folder of any name, in a shell as people have them: everything runs, and is found again."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import Stack, new_settings
from tests.ingest.loopback import serving, zipped
from tidemark.stack import local, postgres

# What a URL, a format, a shell, a glob or a configuration file reads as its own.
AWKWARD = "a b@c é%s 100% %(x)d #1? [f] ~&=k'l\\"
SHELL = {"TZ": ":Nowhere/Odd", "LANG": "xx_YY.bogus", "LC_MESSAGES": "tlh", "LC_NUMERIC": "de_DE.UTF-8"}


@pytest.fixture(scope="module")
def awkward(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("homes") / AWKWARD
    mine = Stack(new_settings(home))
    yield mine
    local.down(mine.settings)


def run(stack: Stack, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`tidemark` as a shell without HOME, with another umask and odd settings of places runs it."""
    kept = {name: value for name, value in stack.environ.items() if name != "HOME" and not name.startswith("LC_")}
    return subprocess.run(
        [sys.executable, "-m", "tidemark.cli", *arguments], env=kept | SHELL | environ, capture_output=True,
        text=True, check=False, stdin=subprocess.DEVNULL, umask=0o077,
    )  # fmt: skip


@pytest.mark.faults
def test_everything_runs_in_a_folder_of_any_name_in_an_odd_shell(awkward: Stack, stack: Stack) -> None:
    kafka = {"TIDEMARK_KAFKA_BOOTSTRAP": f"127.0.0.1:{stack.settings.kafka_port}"}
    history = zipped("Date,USD,\n2024-01-02,1.10,\n2024-01-03,1.20,\n")
    with serving(lambda path, query: history) as ecb:
        for command in ("up", "ingest run ecb", "ingest rebuild ecb", "env --role ingest_writer"):
            done = run(awkward, *command.split(), **kafka, TIDEMARK_ECB_URL=ecb.url)
            assert done.returncode == 0, f"{command}: {done.stderr}"
    asked = '"$1" -Atc "select count(*) from ingestion.ecb__reference_rates"'
    psql = ["bash", "-c", f"{done.stdout}\n{asked}", "bash", str(postgres.programs() / "psql")]
    assert subprocess.run(psql, capture_output=True, text=True, check=True).stdout == "2\n"
    home = awkward.settings.home
    assert (home / "prefect" / "prefect.db").stat().st_size > 0
    assert [path.name for path in home.parent.iterdir()] == [AWKWARD]
    assert sorted(path.name for path in (home / "dlt").iterdir()) == ["ecb_to_lake", "ecb_to_warehouse"]
