"""One access file: who may read what in both databases, brought there, taken back, and shown."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.conninfo import make_conninfo
from psycopg.errors import AdminShutdown, InsufficientPrivilege
from psycopg.sql import SQL, Identifier

from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tidemark.access import access_file, bring, key_file
from tidemark.access import apply as access
from tidemark.access.access_file import read_access
from tidemark.access.audit import audit
from tidemark.access.commands import access as access_commands
from tidemark.access.keys import KeyRefused, Keys
from tidemark.access.passwords import set_password
from tidemark.connections import DATABASES
from tidemark.credentials import PARTS
from tidemark.dbt.live import ensure_live
from tidemark.errors import ConfigurationError
from tidemark.guard.journal import Journal
from tidemark.settings import Settings
from tidemark.stack import local

FILE = """\
teams:
  readers: {read: [live, marts]}
  research: {read: [live, marts]}
  operations: {read: [live, marts, ops, quality]}
people:
  analyst1: {team: research}
  operator1: {team: operations}
services:
  bi_reader: {team: readers}
  powerbi: {team: research, connections: 10, statement: 5min}
"""


@pytest.fixture
def mine(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """The stack with FILE as its access file, applied; afterwards as it was."""
    file = tmp_path / "access.yml"
    file.write_text(FILE)
    found = Stack(stack.with_settings(access_file=file))
    ensure_live(stack.settings)
    try:
        access.apply_access(found.settings)
        yield found
    finally:
        access.apply_access(stack.settings, another_file=True)
        key_file.path_of(stack.settings).unlink(missing_ok=True)


def rewrite(mine: Stack, *changes: tuple[str, str]) -> list[bring.Row]:
    """Other text in the file, applied: what was changed."""
    text = mine.settings.access_file.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    mine.settings.access_file.write_text(text)
    return access.apply_access(mine.settings)


def entering(mine: Stack, database: str, name: str, password: str | None = None) -> str:
    """libpq's words of a person."""
    return make_conninfo(
        mine.dsn(database, "bi_reader"), user=name,
        password=password or set_password(mine.settings, read_access(mine.settings.access_file), name),
    )  # fmt: skip


def may(connection: psycopg.Connection, statement: str) -> bool:
    """Whether the session may do it."""
    try:
        connection.execute(statement.encode())
    except InsufficientPrivilege:
        return False
    return True


def command(mine: Stack, *arguments: str) -> Result:
    """`tidemark access ..` in this process."""
    environ = {name: value for name, value in mine.environ.items() if name.startswith("TIDEMARK_")}
    file = {"TIDEMARK_ACCESS_FILE": str(mine.settings.access_file)}
    return CliRunner().invoke(access_commands, arguments, env=environ | file)


def test_another_file_takes_nobodys_login_by_mistake(mine: Stack, stack: Stack) -> None:
    """A shell that lacks the variable reads the file that comes with Tidemark."""
    for another in (access.apply, access.apply_access):
        with pytest.raises(
            ConfigurationError, match=r"access.yml, which was applied last, .*analyst1, operator1, powerbi"
        ):
            another(stack.settings)
    assert access.apply_access(mine.settings) == []


def test_a_second_apply_changes_nothing_and_plan_says_before_what_it_does(mine: Stack) -> None:
    assert bring.plan(mine.settings, read_access(mine.settings.access_file)) == []
    assert access.apply_access(mine.settings) == []
    mine.settings.access_file.write_text(FILE.replace("[live, marts, ops, quality]", "[live, marts, ops]"))
    planned = json.loads(command(mine, "plan", "--json").stdout)
    assert {"database": "warehouse", "role": "operations", "change": "revoke usage on schema quality"} in planned
    assert {row["role"] for row in planned} == {"operations"}
    try:
        applied = mine.run("access", "apply", "--json", TIDEMARK_ACCESS_FILE=str(mine.settings.access_file))
        assert (applied.returncode, json.loads(applied.stdout)) == (0, planned)
        assert applied.stderr == "the guard watched with other settings: it was started anew\n"
        said = command(mine, "plan").stdout
        assert said == f"nothing to change: the databases are as {mine.settings.access_file} says\n"
    finally:
        access.apply_access(local_settings(mine), another_file=True)
        local.up(local_settings(mine))


def local_settings(mine: Stack) -> Settings:
    """Those of the session's stack."""
    return mine.with_settings(access_file=access_file.DEFAULTS)


def test_what_a_team_reads_its_members_read_and_nothing_else(mine: Stack) -> None:
    reads = {"analyst1": ["marts.fresh"], "operator1": ["marts.fresh", "ops.promotion", "quality.results"]}
    with psycopg.connect(mine.dsn("warehouse", "transformer")) as dbt:
        dbt.execute("drop table if exists marts.fresh; create table marts.fresh (a int)")
        dbt.execute("drop table if exists staging.fresh; create table staging.fresh (a int)")
    try:
        for name, allowed in reads.items():
            with psycopg.connect(entering(mine, "warehouse", name), autocommit=True) as session:
                tried = {
                    table: may(session, f"select * from {table}")
                    for table in ("marts.fresh", "ops.promotion", "quality.results", "staging.fresh", "ops.publication")
                }
                assert tried == {table: table in [*allowed, "ops.publication"] for table in tried}
                assert may(session, "select asof.moment()")
                assert not may(session, "set role research") and not may(session, "set role transformer")
                assert not may(session, "create temporary table t (a int)")
        with psycopg.connect(entering(mine, "realtime", "analyst1"), autocommit=True) as session:
            assert may(session, "select * from live.last_price")
            assert not may(session, "select * from realtime.market_tick")
    finally:
        with psycopg.connect(mine.dsn("warehouse", "transformer")) as dbt:
            dbt.execute("drop table marts.fresh, staging.fresh")


def test_the_rights_survive_a_swap_of_the_table_and_a_function_made_anew(mine: Stack) -> None:
    with (
        psycopg.connect(mine.dsn("warehouse", "transformer"), autocommit=True) as dbt,
        psycopg.connect(entering(mine, "warehouse", "analyst1"), autocommit=True) as session,
    ):
        dbt.execute("create table marts.probe (a int)")
        try:
            dbt.execute("create table marts.probe__dbt_tmp (a int)")
            dbt.execute("alter table marts.probe rename to probe__dbt_backup")
            dbt.execute("alter table marts.probe__dbt_tmp rename to probe; drop table marts.probe__dbt_backup cascade")
            dbt.execute("create or replace function asof.probe() returns int language sql as 'select 1'")
            dbt.execute("revoke execute on function asof.probe() from public")
            assert may(session, "select * from marts.probe") and may(session, "select asof.probe()")
        finally:
            dbt.execute("drop table if exists marts.probe; drop function if exists asof.probe()")


def test_a_removed_line_revokes_ends_the_sessions_and_drops_the_role_in_both_databases(mine: Stack) -> None:
    key_id, key = key_file.make(mine.settings, "analyst1", 60)
    password = set_password(mine.settings, read_access(mine.settings.access_file), "analyst1")
    sessions = [psycopg.connect(entering(mine, database, "analyst1", password)) for database in DATABASES]
    changed = rewrite(mine, ("  analyst1: {team: research}\n", ""))
    said = [(row["role"], row["change"]) for row in changed]
    assert ("analyst1", "let it log in no more, end its sessions") in said
    assert said[-2:] == [("analyst1", "drop the role"), (bring.KEYS, f"revoke the key {key_id}")]
    for session in sessions:
        with closing(session), pytest.raises(AdminShutdown):
            session.execute("select 1")
    with pytest.raises(KeyRefused, match="was revoked"):
        Keys(mine.settings).check(key)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(entering(mine, "realtime", "analyst1", password))
    assert bring.plan(mine.settings, read_access(mine.settings.access_file)) == []
    kept = audit(mine.settings, 5)["changes"]
    assert ("analyst1", "drop the role") in [(row["role"], row["change"]) for row in kept]


def test_a_role_that_another_database_names_stays_without_a_login_and_is_no_change_any_more(mine: Stack) -> None:
    with psycopg.connect(mine.dsn("realtime"), autocommit=True) as owner:
        owner.execute("create database of_others")
        try:
            with psycopg.connect(mine.dsn("realtime"), dbname="of_others") as other:
                other.execute("create table t (a int); grant select on t to powerbi")
            rewrite(mine, ("  powerbi: {team: research, connections: 10, statement: 5min}\n", ""))
            assert owner.execute("select rolcanlogin from pg_roles where rolname = 'powerbi'").fetchall() == [(False,)]
            assert bring.plan(mine.settings, read_access(mine.settings.access_file)) == []
        finally:
            owner.execute("drop database of_others with (force)")
        access.apply_access(mine.settings)
        assert owner.execute("select from pg_roles where rolname = 'powerbi'").fetchall() == []


def test_what_was_granted_by_hand_is_shown_as_such_and_goes_with_the_next_apply(mine: Stack) -> None:
    with psycopg.connect(mine.dsn("warehouse"), autocommit=True) as owner:
        owner.execute("grant select on ops.promotion to analyst1; grant usage on schema ops to analyst1")
        owner.execute("grant select (promotion_id) on ops.promotion to powerbi")
        owner.execute("grant promoter to powerbi with admin option")
        owner.execute("create role outsider login; grant research to outsider")
        try:
            rights = audit(mine.settings, 0)["rights"]
            by_hand = [row for row in rights if row["role"] == "analyst1" and row["by"] == "directly, by hand"]
            assert {(row["schema"], row["right"], row["on"]) for row in by_hand} == {
                ("ops", "select", "promotion"), ("ops", "usage", "ops"),
            }  # fmt: skip
            assert {row["by"] for row in rights if row["role"] == "analyst1" and row["schema"] == "marts"} == {
                "research"
            }
            outsider = [row for row in audit(mine.settings, 0)["roles"] if row["role"] == "outsider"]
            assert [(row["kind"], row["member_of"]) for row in outsider] == [
                ("login, not of the access file", "research")
            ]
            changed = [(row["role"], row["change"]) for row in access.apply_access(mine.settings)]
            assert sorted(changed) == [
                ("analyst1", "revoke select on ops.promotion"),
                ("analyst1", "revoke usage on schema ops"),
                ("powerbi", "revoke select on column promotion_id of ops.promotion"),
                ("powerbi", "take it out of promoter"),
            ]
            assert owner.execute("select pg_has_role('outsider', 'research', 'usage')").fetchall() == [(True,)]
        finally:
            owner.execute("drop owned by outsider; drop role outsider")


def test_the_api_reads_as_a_person_and_by_itself_nothing(mine: Stack) -> None:
    for database, allowed, refused in (
        ("warehouse", "select * from ops.publication", "select * from ops.promotion"),
        ("realtime", "select * from live.last_price", "select * from realtime.market_tick"),
    ):
        with psycopg.connect(mine.dsn(database, "api_reader"), autocommit=True) as api:
            assert not may(api, allowed)
            for name in ("analyst1", "bi_reader"):
                api.execute(SQL("set role {}").format(Identifier(name)))
                assert may(api, allowed) and not may(api, refused)
                api.execute("reset role")
            for other in (*PARTS, "research", "operations", "tidemark", "tidemark_access"):
                with pytest.raises(InsufficientPrivilege):
                    api.execute(SQL("set role {}").format(Identifier(other)))


def test_limits_are_set_and_taken_from_the_file_and_the_guard_has_them(mine: Stack) -> None:
    found = "select rolconnlimit, array_to_string(rolconfig, ' ') from pg_roles where rolname = 'powerbi'"
    with psycopg.connect(mine.dsn("realtime"), autocommit=True) as owner:
        [(connections, configuration)] = owner.execute(found).fetchall()
        assert connections == 10 and "statement_timeout=300s" in configuration
        said = [
            row["change"] for row in rewrite(mine, ("connections: 10, statement: 5min", "statement: 90s, locks: 7"))
        ]
        assert said == ["connections: 10 to 20", "statement_timeout: 5min to 90s"]
        assert "statement_timeout=90s" in owner.execute(found).fetchall()[0][1]
        # What a role may lift, the guard puts back; it may, as it has ADMIN on the role.
        [(admin,)] = owner.execute(
            "select admin_option from pg_auth_members where roleid = 'powerbi'::regrole and member = 'guard'::regrole"
        ).fetchall()
        assert admin
    assert read_access(mine.settings.access_file).limits_of("powerbi").locks == 7


def test_a_role_that_is_not_ours_is_refused_by_its_name_and_nothing_is_changed(mine: Stack) -> None:
    with psycopg.connect(mine.dsn("realtime"), autocommit=True) as owner:
        owner.execute("create role outsider login connection limit 3")
        try:
            for name in ("outsider", "of_superusers"):
                if name == "of_superusers":
                    owner.execute("create role of_superusers superuser")
                before = owner.execute("select * from pg_roles order by 1").fetchall()
                text = FILE + f"  newcomer: {{team: research}}\n  {name}: {{team: research}}\n"
                mine.settings.access_file.write_text(text)
                with pytest.raises(
                    ConfigurationError, match=f"access.yml, {name}: expected a name that no other role has"
                ):
                    access.apply_access(mine.settings)
                assert owner.execute("select * from pg_roles order by 1").fetchall() == before
        finally:
            mine.settings.access_file.write_text(FILE)
            owner.execute("drop role outsider; drop role of_superusers")


def test_a_password_is_printed_once_or_written_into_a_new_file_and_opens_both_databases(
    mine: Stack, tmp_path: Path
) -> None:
    printed = command(mine, "password", "analyst1")
    assert printed.exit_code == 0, printed.stderr
    file = tmp_path / "secret"
    written = command(mine, "rotate", "powerbi", "--output", str(file))
    assert (written.exit_code, written.stdout, file.stat().st_mode & 0o777) == (0, "", 0o600)
    for name, password in (("analyst1", printed.stdout.strip()), ("powerbi", file.read_text().strip())):
        assert re.fullmatch(r"[A-Za-z0-9_-]{32}", password)
        for database in DATABASES:
            psycopg.connect(entering(mine, database, name, password)).close()
        assert password not in (mine.settings.home / "logs" / "postgres.log").read_text()
    for arguments, said in (
        (("password", "powerbi", "--output", str(file)), "--output: expected a new file"),
        (("password", "promoter"), "expected a person or service of it"),
    ):
        refused = command(mine, *arguments).exception
        assert isinstance(refused, ConfigurationError) and said in str(refused)


def test_a_key_is_made_listed_and_revoked_by_commands_that_never_show_it_again(mine: Stack) -> None:
    made = command(mine, "key", "analyst1", "--expires", "90d", "--scope", "live", "--rate", "10")
    assert made.exit_code == 0, made.stderr
    key = made.stdout.strip()
    caller = Keys(mine.settings).check(key)
    assert (caller.scope, caller.requests_per_second) == (("live",), 10)
    [listed] = json.loads(command(mine, "keys", "--json").stdout)
    shown = (listed["key"], listed["name"], listed["state"], listed["scope"])
    assert shown == (caller.key_id, "analyst1", "opens", "live")
    assert key[-43:] not in json.dumps(listed)
    rotated = command(mine, "rotate", caller.key_id, "--grace", "1h").stdout.strip()
    assert Keys(mine.settings).check(rotated).scope == ("live",)
    assert command(mine, "revoke", caller.key_id).exit_code == 0
    with pytest.raises(KeyRefused, match="was revoked"):
        Keys(mine.settings).check(key)
    for options, said in (
        (("--expires", "90 parsecs"), "expected a duration of more than 0 with its unit"),
        (("--expires", "90d", "--scope", "ops"), "expected some of live, marts, which analyst1 reads, received 'ops'"),
    ):
        refused = command(mine, "key", "analyst1", *options).exception
        assert isinstance(refused, ConfigurationError) and said in str(refused)


def test_the_guard_notes_when_it_saw_each_role_last_and_not_at_every_look(mine: Stack) -> None:
    rewrite(mine, ("people:\n", "people:\n  newcomer: {team: research}\n"))

    def seen() -> Any:
        return {row["role"]: row["last_session"] for row in audit(mine.settings, 0)["roles"]}["newcomer"]

    assert seen() is None
    with psycopg.connect(entering(mine, "warehouse", "newcomer")):
        until(lambda: seen() is not None, "the guard to see the session")
    journal, before = Journal(mine.settings), threading.active_count()
    try:
        with psycopg.connect(mine.dsn("realtime")) as owner:
            for minute in range(2):
                journal.saw("somebody", f"database {minute}")
                journal.flush()
            found = owner.execute("select last_database from guard.role_seen where role_name = 'somebody'").fetchall()
        assert found == [("database 0",)]
    finally:
        journal.close()
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "team: research}",
            "team: reserch}",
            r"line 6, people.analyst1.team: expected one of the teams .* received 'reserch'",
        ),
        ("analyst1:", "promoter:", r"line 6, people.promoter: expected a name that is not taken"),
        ("analyst1:", "api_reader:", r"people.api_reader: expected a name that is not taken"),
        ("analyst1:", "tidemark:", r"people.tidemark: expected a name that is not taken"),
        ("analyst1:", "public:", r"people.public: expected a name that is not taken"),
        ("analyst1:", "pg_read_all_data:", r"people.pg_read_all_data: expected a name that is not taken"),
        (
            "analyst1:",
            f"{'a' * 64}:",
            r"people.a+: expected a name of at most 63 bytes, as Postgres has them, received 64",
        ),
        ("analyst1:", '"an;drop":', r"people.an;drop: expected a name of lower-case letters"),
        (
            "analyst1:",
            "research:",
            r"line 6, people.research: expected each name once, received it as one of teams too",
        ),
        ("analyst1:", "powerbi:", r"services.powerbi: expected each name once, received it as one of people too"),
        ("operator1: {team: operations}", "analyst1: {team: research}", r"line 7, analyst1: expected each key once"),
        (
            "[live, marts, ops, quality]",
            "[live, mart]",
            r"line 4, teams.operations.read.1: expected one of live, marts",
        ),
        ("[live, marts, ops, quality]", "[]", r"line 4, teams.operations.read: expected a list with something in it"),
        (
            "connections: 10",
            "connections: -1",
            r"services.powerbi.connections: expected a number of at least 1, received -1",
        ),
        ("5min", "5 parsecs", r"line 10, services.powerbi.statement: expected a duration .* received '5 parsecs'"),
        ("5min", "-5min", r"services.powerbi.statement: expected a duration"),
        ("5min", "300", r"services.powerbi.statement: expected a duration .* with its unit"),
        ("5min", "1000000d", r"services.powerbi.statement: expected a duration"),
        ("5min", "25d", r"services.powerbi.statement: expected a duration from 0.001s to 24d"),
        ("5min", "0.0004s", r"services.powerbi.statement: expected a duration from 0.001s to 24d"),  # 0 would be none
        ("connections", "conections", r"unknown key `conections`.*did you mean `connections`"),
        ("teams:", "roles: {}\nteams:", r"line 1, roles: unknown key `roles`, expected one of teams"),
        ("  bi_reader: {team: readers}\n", "", ""),
        (FILE, "]", r"line 1: expected YAML"),
        (FILE, "5", r"line 1.*expected keys with values, received a whole number"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence_that_names_the_place(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    file = tmp_path / "access.yml"
    assert before in FILE
    file.write_text(FILE.replace(before, after, 1))
    if not said:
        assert "bi_reader" not in read_access(file).members
        return
    with pytest.raises(ConfigurationError, match=said) as refused:
        read_access(file)
    assert str(refused.value).startswith(str(file)) and "\n" not in str(refused.value)


def test_up_refuses_a_wrong_file_before_it_starts_or_ends_anything(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "access.yml"
    file.write_text(FILE.replace("team: research}", "team: none}", 1))
    done = stack.run("up", TIDEMARK_ACCESS_FILE=str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert "people.analyst1.team: expected one of the teams of this file (readers, research, operations)" in done.stderr
    former = stack.run("access", "plan", TIDEMARK_PEOPLE_FILE=str(file))
    assert (former.returncode, "expected TIDEMARK_ACCESS_FILE in its place" in former.stderr) == (2, True)


def test_the_shipped_file_gives_the_bi_reader_what_it_had(stack: Stack) -> None:
    file = read_access(access_file.DEFAULTS)
    assert file.members == {"bi_reader": "readers"}
    with psycopg.connect(stack.dsn("warehouse")) as owner:
        direct = owner.execute(
            "select count(*) from pg_shdepend where refobjid = 'bi_reader'::regrole and deptype = 'a'"
        ).fetchone()
    assert direct == (0,)  # all of it by its team
