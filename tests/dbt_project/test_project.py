"""dbt by hand, what a run leaves alone, and who may read what."""

import fcntl
import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.dbt_project.conftest import Databases
from tidemark import dbt
from tidemark.access import apply as access
from tidemark.access.access_file import read_access
from tidemark.access.passwords import set_password
from tidemark.dbt import DbtError


def test_dbt_works_by_hand_from_another_folder_with_nothing_ingested(warehouse: Databases, tmp_path: Path) -> None:
    """The pasted line is all it needs, on a warehouse that holds no table yet; deprecations are errors."""
    shell = f'eval "$(python -m tidemark.cli env)" && cd {tmp_path} && "$@"'
    silence = '["ConfigTargetPathDeprecation", "DeprecationsSummary"]'  # as dbt_project.yml has it
    options = ["--warn-error-options", f'{{"error": ["Deprecations"], "silence": {silence}}}']
    for command in (["build", "--exclude-resource-type", "unit_test", *options], ["docs", "generate", "--no-compile"]):
        done = subprocess.run(
            ["sh", "-c", shell, "sh", "dbt", *command],
            env=environ(warehouse), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert list(tmp_path.iterdir()) == []
    by_hand = warehouse.stack.settings.home / "dbt" / "by_hand" / "warehouse"
    assert (by_hand / "assets" / "architecture.svg").exists()


def environ(databases: Databases) -> dict[str, str]:
    """The environment of the stack's own commands, with this Python first."""
    import sys

    found = databases.stack.environ
    return found | {"PATH": f"{Path(sys.executable).parent}:{found['PATH']}"}


def test_readers_may_read_marts_and_live_and_nothing_else(live: Databases, warehouse: Databases) -> None:
    """Of every relation that dbt built, as the roles that the grants name."""
    dbt.run(warehouse.stack.settings, ["run"])
    for database, open_schemas in (("warehouse", {"marts"}), ("realtime", {"live"})):
        relations = warehouse.query(
            database,
            "select n.nspname, c.relname, has_schema_privilege('bi_reader', n.oid, 'usage') "
            "and has_table_privilege('bi_reader', c.oid, 'select'), "
            "has_table_privilege('catalog_reader', c.oid, 'select'), "
            "has_table_privilege('promoter', c.oid, 'select') "
            "from pg_class c join pg_namespace n on n.oid = relnamespace "
            "where relkind in ('r', 'v', 'p') and n.nspname in ('staging', 'intermediate', 'marts', 'live')",
            "owner",
        )
        assert {schema for schema, *_ in relations} >= open_schemas
        assert [r for r in relations if r[2] != (r[0] in open_schemas)] == []
        assert [r for r in relations if not r[3] or (r[0] == "marts" and not r[4])] == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        warehouse.query("warehouse", "select * from staging.stg_fred__series")


def test_what_a_team_reads_it_reads_after_a_rebuild_and_after_each_run(warehouse: Databases, tmp_path: Path) -> None:
    """By dbt's own swap of a table, and by an incremental run, which takes away what its own list does not name."""
    file = tmp_path / "access.yml"
    file.write_text(
        "teams: {research: {read: [live, marts]}}\npeople: {analyst1: {team: research}}\n"
        "services: {bi_reader: {team: research}}\n"
    )
    settings = warehouse.stack.with_settings(access_file=file)
    access.apply_access(settings)
    try:
        words = make_conninfo(
            warehouse.stack.dsn("warehouse", "bi_reader"), user="analyst1",
            password=set_password(settings, read_access(file), "analyst1"),
        )  # fmt: skip
        for options in (["--full-refresh"], [], ["--full-refresh"]):
            dbt.run(warehouse.stack.settings, ["run", "--select", "+fct_economic_observations", *options])
            with psycopg.connect(words) as analyst:
                analyst.execute("select count(*) from marts.fct_economic_observations")
                analyst.execute("select count(*) from asof.fct_economic_observations('2024-11-03'::date)")
    finally:
        access.apply_access(warehouse.stack.settings, another_file=True)


def test_a_failed_run_names_what_failed_and_a_selection_of_nothing_fails(warehouse: Databases) -> None:
    """An ingestion table that lacks what every load notes."""
    with pytest.raises(DbtError, match="expected nodes that the selection names, found none"):
        dbt.run(warehouse.stack.settings, ["build", "--select", "fct_nothing"])
    with psycopg.connect(warehouse.stack.dsn("warehouse", "ingest_writer")) as connection:
        connection.execute('create table ingestion.ecb__reference_rates ("Date" text)')
    with pytest.raises(DbtError, match=r"1 of 1 nodes failed: stg_ecb__reference_rates \(error: .*load_id"):
        dbt.run(warehouse.stack.settings, ["run", "--select", "stg_ecb__reference_rates"])


def test_a_view_is_replaced_where_it_stands(warehouse: Databases) -> None:
    """What reads it, and the run does not name, stays; where its columns changed, it goes."""
    warehouse.build("int_market_ticks_united")
    with psycopg.connect(warehouse.stack.dsn("warehouse", "transformer")) as connection:
        connection.execute("create view staging.reader as select * from staging.stg_realtime__market_ticks")
    warehouse.build("stg_realtime__market_ticks")
    assert warehouse.query("warehouse", "select * from staging.reader", "transformer") == []
    with psycopg.connect(warehouse.stack.dsn("warehouse", "transformer")) as connection:
        connection.execute("create view staging.stg_fred__series as select 1 as other")
    warehouse.build("stg_fred__series")
    assert warehouse.query("warehouse", "select title from staging.stg_fred__series", "transformer") == []


def test_a_view_that_did_not_change_is_left_alone_and_no_lock_is_waited_for_without_a_limit(
    warehouse: Databases,
) -> None:
    """Somebody who holds what a replacement would need holds up nobody whose view is as it was."""
    views = ["staging.stg_realtime__market_ticks", "intermediate.int_market_ticks_united"]
    made = "select xmin::text from pg_class where oid = any('{%s}'::regclass[]) order by oid" % ",".join(views)
    warehouse.build("int_market_ticks_united")
    before = warehouse.query("warehouse", made, "transformer")
    with psycopg.connect(warehouse.stack.dsn("warehouse", "transformer")) as reader:
        reader.execute("select * from intermediate.int_market_ticks_united")
        warehouse.build("int_market_ticks_united")
    assert warehouse.query("warehouse", made, "transformer") == before
    [shown] = dbt.run(
        warehouse.stack.settings, ["show", "--inline", "select current_setting('lock_timeout') as limit_of_a_lock"]
    )
    assert shown.agate_table.rows[0][0] == "1min"


def test_a_run_whose_turn_does_not_come_says_so(warehouse: Databases) -> None:
    folder = dbt.artifacts(warehouse.stack.settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DbtError, match=r"expected its turn within 0\.2 s, the run before has not ended"):
            dbt.run(warehouse.stack.settings, ["parse"], turn_seconds=0.2)
    dbt.run(warehouse.stack.settings, ["parse"])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('{source_system: cme, pattern: "^CL", contract_sise: 10, effective_at: 1983-03-30, known_at: 2026-11-29}',
         "entry 1 of instruments: expected the keys .*: nothing reads contract_sise"),
        ("{source_system: cme, pattern: '^CL', known_at: 2026-11-29}", "entry 1 of instruments: .*: effective_at is missing"),
    ],
)  # fmt: skip
def test_a_line_of_the_project_that_nothing_would_read_is_refused_by_its_place(
    warehouse: Databases, entry: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DbtError, match=said):
        dbt.run(
            warehouse.stack.settings,
            [
                "run", "-s", "int_instruments_listed", "--vars", f"{{instruments: [{entry}]}}",
                "--target-path", str(tmp_path),  # its variables must not have dbt parse the project anew for the next test
            ],
        )  # fmt: skip
