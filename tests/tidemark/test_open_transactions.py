"""Transactions that are left open: what does nothing is said, and a turn, which does nothing on purpose, is not."""

import psycopg

from tests.conftest import Stack
from tidemark import open_transactions, turns


def test_a_part_that_holds_a_turn_hangs_not_and_one_that_forgot_to_commit_does(stack: Stack) -> None:
    name = f"{turns.APPLICATION}of a person's"
    with (
        turns.held(stack.settings, "warehouse", "promoter", "test", 1.0),
        psycopg.connect(stack.dsn("warehouse", "transformer")) as part,
        psycopg.connect(stack.dsn("warehouse", "bi_reader"), application_name=name) as person,
        psycopg.connect(stack.dsn("warehouse", open_transactions.ROLE), autocommit=True) as looking,
    ):
        part.execute("select 1")
        person.execute("select 1")
        found = [one.role for one in open_transactions.hanging(looking, 0)]
    assert found == ["transformer", "bi_reader"]
