"""The guard as a process: what it takes over, what it says, and what is put back on the server."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.errors import AdminShutdown
from psycopg.sql import SQL, Identifier

from tests.conftest import Stack
from tests.stream_shim.conftest import suspend, until
from tidemark.access import access_file
from tidemark.access import apply as access
from tidemark.connections import connect
from tidemark.credentials import PARTS
from tidemark.guard.journal import DETAIL_CHARACTERS, Action, Journal
from tidemark.guard.shortfalls import shortfalls
from tidemark.guard.watch import _BLOCKING, PATIENCE_SECONDS
from tidemark.stack import guard, local, process
from watch import guarded

PUT_BACK_SECONDS = 60


def guards_pid(stack: Stack) -> int:
    """The pid of the guard that runs."""
    running = process.find(stack.settings.home, guard.NAME)
    assert running is not None
    return running.pid


def test_up_takes_a_changed_file_of_limits_over(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "access.yml"
    file.write_text(access_file.DEFAULTS.read_text())
    mine = Stack(stack.with_settings(access_file=file))
    try:
        local.up(mine.settings)
        before = guards_pid(mine)
        file.write_text(
            file.read_text().replace("bi_reader: {team: readers}", "bi_reader: {team: readers, statement: 0.5s}")
        )
        said = local.up(mine.settings)
        assert said[0] == "the guard watched with other settings: it was ended and started anew"
        # The guard, which is there first, may have set it before.
        assert said[1:] in ([], ["access: bi_reader: statement_timeout: 5min to 0.5s"])
        assert guards_pid(mine) != before
        with (
            closing(psycopg.connect(mine.dsn("realtime", "bi_reader"), autocommit=True)) as session,
            pytest.raises(AdminShutdown),
        ):
            session.execute("set statement_timeout to 0")
            session.execute("select pg_sleep(60)")
        assert local.up(mine.settings) == []
    finally:
        local.up(stack.settings)


def test_a_guard_that_ended_or_reports_no_more_falls_short_and_up_starts_it(stack: Stack) -> None:
    settings, beat = stack.settings, guard.beat_path(stack.settings.home)
    assert guard.silence(settings) == ""
    running = psutil.Process(guards_pid(stack))
    suspend(running)
    try:
        os.utime(beat, (time.time() - guard.SILENT_SECONDS - 1,) * 2)
        assert guard.read_beat(settings) == {}
    finally:
        running.send_signal(signal.SIGKILL)
    until(lambda: process.find(settings.home, guard.NAME) is None, "the guard to be gone")
    [said] = guard.shortfalls(settings)
    assert said.startswith("the guard does not run, it last reported at 2")
    assert said in stack.run("status").stdout
    local.up(settings)
    assert guard.silence(settings) == ""


def test_who_waits_in_a_database_of_others_is_no_part_of_ours(stack: Stack) -> None:
    found: dict[bool, int] = {False: 0, True: 0}
    with psycopg.connect(stack.dsn("realtime"), autocommit=True) as owner:
        owner.execute("create database of_others")
        try:
            _hold_up_in(stack, found, owner)
        finally:
            owner.execute("drop database of_others with (force)")
    assert found[True] and not found[False]


def _hold_up_in(stack: Stack, found: dict[bool, int], owner: psycopg.Connection) -> None:
    there = "of_others"
    with (
        psycopg.connect(stack.dsn("realtime"), autocommit=True, dbname=there) as waiter,
        closing(psycopg.connect(stack.dsn("realtime", "bi_reader"), dbname=there)) as holder,
    ):
        waiter.execute("create table public.probe as select 1 as n; grant select on public.probe to bi_reader")
        holder.execute("select n from public.probe")

        thread = threading.Thread(target=waiter.execute, args=("drop table public.probe",))
        thread.start()

        def look() -> bool:
            for local_server in (False, True):
                parameters = {"parts": list(PARTS), "local": local_server, "databases": ["realtime"], "sees": True}
                found[local_server] += owner.execute(_BLOCKING.encode(), parameters).rowcount
            return found[True] > 0

        until(look, "somebody to be held up", PATIENCE_SECONDS * 10)
        holder.close()
        thread.join()


def test_what_the_guard_did_is_seen_until_it_is_over_and_what_it_put_back_is_told_apart(stack: Stack) -> None:
    journal = Journal(stack.settings)
    for reason in ("probe", "probe", "changed settings"):
        journal.note(Action("berta", "realtime", reason, "why"))
    journal.close()
    found = {one.title: one for one in guarded.look(stack.settings) if "berta" in one.identity}
    assert {title: one.state for title, one in found.items()} == {
        "guard: ended a session: probe, berta": "warning", "guard: put back: changed settings, berta": "warning",
    }  # fmt: skip
    assert found["guard: ended a session: probe, berta"].sentence == "guard: probe, berta: 2 times, the last: why"
    with psycopg.connect(stack.dsn("realtime"), autocommit=True) as owner:
        owner.execute("update guard.action set last_at = last_at - interval '1 hour' where role_name = 'berta'")
    assert [one for one in guarded.look(stack.settings) if "berta" in one.identity] == []


def test_of_what_a_reader_wrote_a_little_is_kept_on_one_line(stack: Stack) -> None:
    journal = Journal(stack.settings)
    journal.note(Action("anna", "realtime", "long probe", "put back: x=\n" + "y" * 1_000_000))
    journal.close()
    with psycopg.connect(stack.dsn("realtime")) as connection:
        [(kept,)] = connection.execute(
            "select last_detail from guard.action where role_name = 'anna' and reason = 'long probe'"
        ).fetchall()
    assert len(kept) == DETAIL_CHARACTERS
    assert kept.startswith("put back: x=\\ny")


def test_what_is_lacking_of_any_person_is_said_with_the_name(stack: Stack) -> None:
    with (
        psycopg.connect(stack.dsn("realtime"), autocommit=True) as owner,
        connect(stack.settings, "realtime", "guard", autocommit=True) as connection,
    ):
        assert shortfalls(connection) == []
        owner.execute("create role carla login in role tidemark_access")
        try:
            found = shortfalls(connection)
        finally:
            owner.execute("drop role carla")
        assert [sentence.partition(":")[0] for sentence in found] == [
            "it cannot put back what carla may change of their roles",
            "temporary files of carla are not limited",
            "carla may fill the server's log",
        ]


def test_what_refuses_people_is_said_where_it_is_missing_and_put_back_by_up(stack: Stack) -> None:
    function = "select prosrc from pg_proc where proname = 'refuse_people'"
    names = {"may lock pg_settings", "people may hold up what changes a database"}

    def said() -> set[str]:
        with connect(stack.settings, "realtime", "guard") as connection:
            return {name for name in names if any(name in sentence for sentence in shortfalls(connection))}

    with psycopg.connect(stack.dsn("realtime"), autocommit=True) as owner:
        assert said() == set()
        [(before,)] = owner.execute(function).fetchall()
        assert "{" + ",".join(PARTS) + "}" in before
        owner.execute("grant update on pg_catalog.pg_settings to public")
        owner.execute("alter event trigger refuse_people disable")
        owner.execute(
            "create or replace function access.refuse_people() returns event_trigger language plpgsql as "
            "$$begin null; end$$"
        )
        assert said() == names
        access.apply(stack.settings)
        assert said() == set()
        assert owner.execute(function).fetchall() == [(before,)]


@pytest.fixture
def lets_md5_in(stack: Stack) -> Iterator[None]:
    """The server asks for md5 where a role's password was set so."""
    file = stack.settings.home / "postgres" / "data" / "pg_hba.conf"
    before = file.read_text()
    with psycopg.connect(stack.dsn("realtime"), autocommit=True) as owner:
        try:
            file.write_text(f"host all bi_reader 127.0.0.1/32 md5\n{before}")
            owner.execute("select pg_reload_conf()")
            yield
        finally:
            file.write_text(before)
            owner.execute("select pg_reload_conf()")


@pytest.mark.usefixtures("lets_md5_in")
@pytest.mark.parametrize("by", ["the guard", "up"])
def test_a_password_that_a_reader_set_as_md5_is_put_back(stack: Stack, by: str) -> None:
    with psycopg.connect(stack.dsn("realtime", "bi_reader")) as reader:
        reader.execute("set client_min_messages to error")  # the server warns of md5
        reader.execute("set password_encryption to 'md5'")
        reader.execute(SQL("alter role {} password 'another one'").format(Identifier("bi_reader")))
        reader.commit()
    if by == "up":
        access.apply(stack.settings)
        connect(stack.settings, "realtime", "bi_reader").close()

    def opens() -> bool:
        try:
            psycopg.connect(stack.dsn("realtime", "bi_reader")).close()
        except psycopg.OperationalError as error:
            assert "server requested a hashed password" in str(error)
            return False
        return True

    until(opens, "the password to be put back", PUT_BACK_SECONDS)
