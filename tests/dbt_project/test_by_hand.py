"""dbt's commands after the pasted line: what they may do to what people read, and where they write."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Stack
from tests.dbt_project.conftest import Databases, tick
from tidemark import dbt
from tidemark.dbt.project import dev_schema

# Each command as `dbt` would run it, one after the other: dbt's own start takes longer than most of them.
RUN = """
import contextlib, io, json, sys
from dbt.cli.main import dbtRunner
for command in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        done = dbtRunner().invoke(["--no-use-colors", *command])
    print(json.dumps([done.success, said.getvalue() + str(done.exception or "")]))
"""
ROWS = [tick(1, "08 10:00:01"), tick(2, "08 10:00:02"), tick(3, "08 10:01:00")]
TICKS = "select count(1) from marts.fct_market_ticks"


def start(stack: Stack, folder: Path, commands: Sequence[Sequence[str]], **more: str) -> subprocess.Popen[str]:
    """A shell in which the README's line was pasted, and then these commands of dbt."""
    line = f'eval "$({sys.executable} -m tidemark.cli env)" && cd "$1" && exec {sys.executable} -c "$2" "$3"'
    return subprocess.Popen(
        ["sh", "-c", line, "sh", str(folder), RUN, json.dumps(commands)],
        env=stack.environ | more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def answers(process: subprocess.Popen[str]) -> list[tuple[bool, str]]:
    """Of each command whether it went well, and what it said."""
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return [tuple(json.loads(line)) for line in out.splitlines()]


def run(stack: Stack, folder: Path, *commands: Sequence[str], **more: str) -> list[tuple[bool, str]]:
    """The commands in one shell."""
    return answers(start(stack, folder, commands, **more))


def of_owner(databases: Databases, statement: str) -> list[tuple[Any, ...]]:
    return databases.query("warehouse", statement, "owner")


def test_a_partial_run_takes_nothing_from_those_who_read(warehouse: Databases, tmp_path: Path) -> None:
    """Whatever came before it; what would take rows is refused in a sentence."""
    warehouse.promote("market_tick", ROWS, "first")
    ticks = ["--select", "fct_market_ticks"]
    first, again, refused, sampled, stored, fresh, shown, empty = run(
        warehouse.stack, tmp_path,
        ["run", "--empty", "--select", "+fct_market_ticks"],
        ["run", *ticks],
        ["run", "--empty", "--full-refresh", *ticks],
        ["run", "--sample", "3 hours", *ticks],
        ["test", "--store-failures", *ticks],
        ["source", "freshness"],
        ["show", "--limit", "5", *ticks],
        ["build", "--empty", "--exclude-resource-type", "unit_test"],
    )  # fmt: skip
    assert first[0] and again[0], first[1] + again[1]
    assert not refused[0]
    assert "expected --target dev, received warehouse, whose tables would lose their rows" in refused[1]
    assert not sampled[0]
    assert "expected --target dev, received warehouse, whose tables would never get the rest" in sampled[1]
    assert stored[0], stored[1]
    assert not fresh[0]
    assert "PASS freshness of realtime.market_tick" in fresh[1]
    assert "ERROR STALE freshness of fred.observations" in fresh[1]  # never loaded
    assert shown[1].count("market_tick:1:0:") == 3
    assert empty[0], empty[1]
    assert warehouse.query("warehouse", TICKS) == [(3,)]
    views = "select count(1) from staging.stg_realtime__market_ticks"
    assert warehouse.query("warehouse", views, "transformer") == [(3,)]
    assert list(tmp_path.iterdir()) == []
    audit = "select has_schema_privilege('bi_reader', 'dbt_test__audit', 'usage')"
    assert of_owner(warehouse, audit) == [(False,)]


@pytest.mark.faults
def test_a_dev_target_builds_into_schemas_of_its_own_and_drops_them(warehouse: Databases, tmp_path: Path) -> None:
    """Nobody else reads them, production is neither written nor needed, and a name of production is refused."""
    warehouse.promote("market_tick", ROWS, "first")
    mine = f"select nspname from pg_namespace where nspname ~ '^{dev_schema()}' order by 1"
    dev = ["--target", "dev"]
    built, again, refused = run(
        warehouse.stack, tmp_path,
        ["run", "--select", "+fct_bars_1m", *dev],
        ["build", "--select", "fct_bars_1m", *dev],
        ["run-operation", "drop_dev"],
    )  # fmt: skip
    assert built[0] and again[0], built[1] + again[1]
    assert "expected --target dev or dev_realtime, received warehouse" in refused[1]
    assert of_owner(warehouse, f"select sum(trade_count) from {dev_schema()}_marts.fct_bars_1m") == [(3,)]
    assert of_owner(warehouse, mine) == [(f"{dev_schema()}_{name}",) for name in ("intermediate", "marts", "staging")]
    assert of_owner(warehouse, "select to_regclass('marts.fct_bars_1m')") == [(None,)]
    granted = (
        "select nspname, relname from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace "
        "cross join lateral aclexplode(coalesce(relacl, nspacl)) as entry "
        f"where nspname ~ '^{dev_schema()}' and entry.grantee <> 'transformer'::regrole"
    )
    assert of_owner(warehouse, granted) == []
    [dropped] = run(warehouse.stack, tmp_path, ["run-operation", "drop_dev", *dev])
    assert dropped[0], dropped[1]
    assert of_owner(warehouse, mine) == []
    [misnamed] = run(warehouse.stack, tmp_path, ["parse", "--no-partial-parse", *dev], DBT_DEV_SCHEMA="marts")
    assert "expected a name of at most 46 letters that begins with dev_" in misnamed[1]


@pytest.mark.faults
def test_targets_at_once_have_artifacts_of_their_own_and_a_retry_repeats_its_own(
    live: Databases, warehouse: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that failed on `realtime`, beside one on the warehouse; our own runs see nothing of either."""
    settings = warehouse.stack.settings
    monkeypatch.setenv("DBT_EMPTY", "not a truth")  # of a person's shell: not meant for our runs
    dbt.run(settings, ["parse"])
    ours = {path: path.read_bytes() for path in dbt.artifacts(settings).glob("*.json")}
    monkeypatch.delenv("DBT_EMPTY")
    bars = ["run", "--select", "live_bars_1m", "--target", "realtime", "--vars", "{late_ticks_seconds: x y}"]
    at_once = start(live.stack, tmp_path, [bars]), start(warehouse.stack, tmp_path, [["run", "--select", "staging"]])
    [failed], [well] = map(answers, at_once)
    assert not failed[0]
    assert well[0], well[1]
    mended, nothing = run(
        warehouse.stack, tmp_path,
        ["retry", "--target", "realtime", "--vars", "{late_ticks_seconds: 60}"],
        ["retry"],
    )  # fmt: skip
    assert "1 of 1 OK created sql view model live.bars_1m" in mended[1]
    assert "Nothing to do" in nothing[1]
    by_hand = settings.home / "dbt" / "by_hand"
    for target, model in (("warehouse", "stg_fred__series"), ("realtime", "live_bars_1m")):
        manifest = json.loads((by_hand / target / "manifest.json").read_text())
        assert f"model.tidemark.{model}" in manifest["nodes"]
    assert {path: path.read_bytes() for path in dbt.artifacts(settings).glob("*.json")} == ours


def test_a_choice_of_dev_schema_stays_and_one_folder_for_all_targets_goes(stack: Stack) -> None:
    shown = subprocess.run(
        ["sh", "-c", f'eval "$({sys.executable} -m tidemark.cli env)"; echo $DBT_DEV_SCHEMA $DBT_TARGET_PATH'],
        env=stack.environ | {"DBT_DEV_SCHEMA": "dev_mine", "DBT_TARGET_PATH": "/elsewhere"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.split() == ["dev_mine"]
