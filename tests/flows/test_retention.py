"""What is older than its retention leaves the databases, nothing else does, and every balance stays zero."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import psycopg
import pytest
from psycopg import sql

from flows import retention
from flows.account import account
from flows.errors import CheckFailed, NotLetGo
from flows.running import run_flow
from realtime.quarantined import Wanted, drop, show
from tests.conftest import Stack
from tidemark.categories import CATEGORIES
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import admin
from tidemark.settings import PROJECT, Settings


def rows(stack: Stack, database: str, query: str) -> list[Any]:
    with psycopg.connect(stack.dsn(database)) as connection:
        return connection.execute(sql.SQL(query)).fetchall()


def age(stack: Stack, table: str, entry: retention.Entry, days: dict[str, str]) -> None:
    """Set the clock of rows so many days back: by the condition that finds them."""
    with psycopg.connect(stack.dsn(entry.database)) as connection:
        for condition, ago in days.items():
            connection.execute(
                sql.SQL("update {} set {} = now() - {}::interval where " + condition).format(
                    sql.Identifier(*table.split(".")), sql.Identifier(entry.clock), sql.Literal(ago)
                )
            )


@pytest.fixture
def emptied(clean_realtime: Stack) -> Stack:
    with psycopg.connect(clean_realtime.dsn("warehouse")) as connection:
        connection.execute("truncate quality.check_result")
    with psycopg.connect(clean_realtime.dsn("realtime")) as connection:
        connection.execute("truncate guard.action")
    return clean_realtime


def test_results_and_what_the_guard_did_go_when_they_are_older_than_is_set(emptied: Stack) -> None:
    settings = emptied.with_settings(result_days=30)
    with psycopg.connect(emptied.dsn("warehouse")) as connection:
        connection.execute(
            "insert into quality.check_result (contract, dataset, check_name, outcome, checked_at) "
            "select 'c', 'd', n::text, 'passed', now() - make_interval(days => n) + interval '1 hour' "
            "from generate_series(28, 33) n"
        )
    with psycopg.connect(emptied.dsn("realtime")) as connection:
        connection.execute(
            "insert into guard.action (day, role_name, database_name, reason, times, last_detail, last_at) "
            "select current_date - n, 'r', 'd', 'x', 1, '', now() - make_interval(days => n) + interval '1 hour' "
            "from generate_series(28, 33) n"
        )
    gone = retention.let_go(settings)
    assert (gone["quality.check_result"], gone["guard.action"]) == (3, 3)
    kept = rows(emptied, "warehouse", "select check_name from quality.check_result order by check_name")
    assert [name for (name,) in kept] == ["28", "29", "30"]
    assert rows(emptied, "realtime", "select count(1), min(current_date - day) from guard.action") == [(3, 28)]
    assert sum(retention.let_go(settings).values()) == 0


def test_what_was_dropped_loses_its_payload_and_is_accounted_for_as_before(emptied: Stack) -> None:
    settings = emptied.with_settings(dropped_days=7)
    with psycopg.connect(emptied.dsn("realtime")) as connection:
        connection.execute("insert into realtime.log_epoch values ('market_tick', 1, 'id')")
        connection.execute(
            "insert into realtime.consumer_offset (topic, log_epoch, kafka_partition, first_offset, next_offset) "
            "values ('market_tick', 1, 0, 0, 40)"
        )
        connection.execute(
            "insert into realtime.quarantine (topic, log_epoch, kafka_partition, kafka_offset, received_at, reason, "
            "detail, record_key, payload) select 'market_tick', 1, 0, n, now(), case when n < 30 then 'old' else 'new' "
            "end, 'why', case when n > 0 then 'k'::bytea end, 'payload'::bytea from generate_series(0, 39) n"
        )
    assert drop(emptied.settings, Wanted(reason="old")) == 30
    quarantine = retention.entries()["realtime.quarantine"]
    age(emptied, "realtime.quarantine", quarantine, {"kafka_offset < 10": "8 days", "kafka_offset = 10": "6 days"})
    before = [asdict(one) for one in account(emptied.settings)]
    assert before[0]["balance"] == 0
    assert retention.let_go(settings)["realtime.quarantine"] == 10
    found = rows(
        emptied, "realtime",
        "select kafka_offset, dropped_at is null, reason, detail from realtime.quarantine "
        "where payload is null and record_key is null order by 1",
    )  # fmt: skip
    assert found == [(n, False, "old", "why") for n in range(10)]
    assert [asdict(one) for one in account(emptied.settings)] == before
    assert len(show(emptied.settings, Wanted(), 100)) == 10
    assert retention.let_go(settings)["realtime.quarantine"] == 0


def test_every_table_topic_and_folder_has_an_answer_to_how_it_grows(stack: Stack) -> None:
    """What docs/a-year.md says of a table, by name or by the schema's `*`; a new one needs a line there."""
    page = (PROJECT / "docs" / "a-year.md").read_text()
    tables = [
        (schema, table)
        for database in ("realtime", "warehouse")
        for schema, table in rows(
            stack, database,
            "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE' "
            "and table_schema !~ '^(pg_|information_schema$)' and table_name !~ '_[0-9]{8}$'",
        )
    ]  # fmt: skip
    client = admin(stack.settings, KAFKA_ADMINISTRATOR)
    topics = {topic for topic in client.list_topics() if topic.startswith("__")} | set(CATEGORIES)
    client.close()
    folders = [path.name for path in stack.settings.home.iterdir()]
    assert len(tables) > 15
    assert [f"{s}.{t}" for s, t in tables if f"`{s}.{t}`" not in page and f"`{s}.*`" not in page] == []
    assert [name for name in [*topics, *folders] if not re.search(rf"`{name}`|the {name}:", page)] == []


@pytest.fixture
def refusing(emptied: Stack) -> Iterator[Stack]:
    """Results of checks may not go, and one contract finds a broken row."""
    with psycopg.connect(emptied.dsn("realtime")) as connection:
        connection.execute("select realtime.ensure_partition('market_tick', current_date)")
        connection.execute(
            "insert into realtime.market_tick (source_system, symbol, timestamp, price, size, log_epoch, "
            "kafka_partition, kafka_offset, received_at) values ('t', 'A', now(), 'nan', 1, 1, 0, 0, now())"
        )
    with psycopg.connect(emptied.dsn("warehouse"), autocommit=True) as connection:
        connection.execute(
            "create function quality.refuse() returns trigger language plpgsql as "
            "$$begin raise exception 'they stay'; end$$"
        )
        connection.execute(
            "create trigger refuse before delete on quality.check_result execute function quality.refuse()"
        )
        yield emptied
        connection.execute("drop function quality.refuse() cascade")


def test_a_table_that_lets_nothing_go_hinders_no_other_and_no_word_of_what_the_checks_found(refusing: Stack) -> None:
    with psycopg.connect(refusing.dsn("realtime")) as connection:
        connection.execute(
            "insert into guard.action (day, role_name, database_name, reason, times, last_detail, last_at) "
            "values (current_date - 500, 'r', 'd', 'x', 1, '', now() - interval '500 days')"
        )
    with pytest.raises(NotLetGo, match=r"expected table quality\.check_result to do .* received they stay"):
        retention.let_go(refusing.settings)
    assert rows(refusing, "realtime", "select count(1) from guard.action") == [(0,)]
    with pytest.raises(CheckFailed, match="a finite price"):
        run_flow(refusing.settings, "check")


def test_each_table_has_its_clock_its_role_may_let_go_and_the_page_says_what_has_no_index(stack: Stack) -> None:
    page = (PROJECT / "docs" / "a-year.md").read_text()
    scanned = page[page.index("It reads each table once") : page.index("| where | what |")]
    for table, entry in retention.entries().items():
        assert Settings.model_fields[entry.days].default > 0
        columns = rows(
            stack, entry.database,
            "select attname, atttypid::regtype::text, attnotnull from pg_attribute "
            f"where attrelid = '{table}'::regclass and attnum > 0",
        )  # fmt: skip
        found = {name: (kind, is_needed) for name, kind, is_needed in columns}
        assert found[entry.clock][0] == "timestamp with time zone", table
        assert not [column for column in entry.empties if found[column][1]], table
        right = "update" if entry.empties else "delete"
        has = rows(stack, entry.database, f"select has_table_privilege('{entry.role}', '{table}', '{right}')")
        assert has == [(True,)], table
        indexed = rows(
            stack, entry.database,
            "select 1 from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0] "
            f"where indrelid = '{table}'::regclass and attname = '{entry.clock}'",
        )  # fmt: skip
        assert indexed or f"`{table}`" in scanned, table
