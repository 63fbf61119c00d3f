"""Turns: one at a time, waited for within a limit, and nothing that a person could hold."""

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from realtime.tables import TURNS
from tests.conftest import Stack
from tidemark import turns


def test_who_waits_is_told_who_holds_the_turn_and_since_when(stack: Stack) -> None:
    with turns.held(stack.settings, "warehouse", "promoter", "probe", 1):
        with pytest.raises(turns.TurnTaken, match=r"probe: .* within 0.2 s \(pid \d+ of promoter since 2\d+-"):  # noqa: SIM117
            with turns.held(stack.settings, "warehouse", "promoter", "probe", 0.2):
                pass
        with turns.held(stack.settings, "warehouse", "ingest_writer", "another", 1):
            pass
    with turns.held(stack.settings, "warehouse", "ingest_writer", "probe", 1):
        pass


def test_those_who_share_a_turn_hold_it_together_and_keep_others_out(stack: Stack) -> None:
    with (
        psycopg.connect(stack.dsn("realtime", "stream_writer")) as one,
        psycopg.connect(stack.dsn("realtime", "stream_writer")) as two,
        psycopg.connect(stack.dsn("realtime", "promoter")) as other,
    ):
        other.execute("insert into realtime.turn values ('probe') on conflict do nothing")
        other.commit()
        turns.take(one, "probe", 1, shared=True, table=TURNS)
        turns.take(two, "probe", 1, shared=True, table=TURNS)
        before = other.execute("show lock_timeout").fetchone()
        both = ", ".join(f"pid {pid} of stream_writer" for pid in sorted((one.info.backend_pid, two.info.backend_pid)))
        with pytest.raises(turns.TurnTaken, match=rf"\(one of {both}\): wait for it$"):
            turns.take(other, "probe", 0.2, table=TURNS)
        assert other.execute("show lock_timeout").fetchone() == before


@pytest.mark.parametrize(
    "statement",
    [
        "select from {} for share",
        "select from {}",
        "lock table {} in access share mode",
    ],
)
@pytest.mark.parametrize(("database", "table"), [("realtime", "realtime.turn"), ("warehouse", "ops.turn")])
def test_no_person_may_lock_what_writers_wait_for(stack: Stack, database: str, table: str, statement: str) -> None:
    with psycopg.connect(stack.dsn(database, "bi_reader")) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(statement.format(table).encode())
