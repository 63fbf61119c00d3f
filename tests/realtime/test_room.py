"""What is known of the streaming database is known in its room: everything else asks there, or is tested against it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import yaml

import realtime
from catalog.contracts import find
from realtime import tables
from tests.conftest import Stack
from tidemark.categories import CATEGORIES, table_columns
from tidemark.settings import PROJECT

ROOMS = ("tidemark", "ingest", "stream_shim", "flows", "catalog", "serve", "demo", "bench")  # that speak with databases
OURS = (tables.POSITIONS, tables.EPOCHS, tables.QUARANTINE, tables.LOST, tables.TRIMMED, tables.FEEDS,
        tables.TOPIC_SCHEMAS, tables.TURNS)  # fmt: skip
# A partition's name: a topic, and a day without dashes.
PARTITION = re.compile(r"%Y%m%d|YYYYMMDD")


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module that are no docstring, with their lines."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def named(stack: Stack) -> list[str]:
    """What the schema has: tables, partitions aside, and functions."""
    query = (
        "select relname from pg_class where relnamespace = 'realtime'::regnamespace and relkind in ('r', 'p') "
        "and not relispartition union select proname from pg_proc where pronamespace = 'realtime'::regnamespace"
    )
    with psycopg.connect(stack.dsn("realtime")) as connection:
        return sorted(name for (name,) in connection.execute(query).fetchall())


def test_no_other_room_names_a_table_a_partition_or_a_function_of_it(stack: Stack) -> None:
    names = named(stack)
    assert {"market_tick", "consumer_offset", "ensure_partition"} <= set(names)
    qualified = re.compile(rf"\brealtime\.\"?({'|'.join(names)})\b")
    its_own = re.compile(
        rf"\b({'|'.join(set(names) - {*CATEGORIES, 'log_epoch', 'quarantine', 'lost', 'feed', 'turn'})})\b"
    )
    paths = [path for room in ROOMS for path in (PROJECT / room).rglob("*.py")]
    assert len(paths) > 100
    found = [
        f"{path.relative_to(PROJECT)}:{line}"
        for path in paths
        for line, text in texts_of(path)
        if qualified.search(text) or its_own.search(text) or PARTITION.search(text)
    ]
    found += [
        f"{path.relative_to(PROJECT)}: Identifier"
        for path in paths
        if re.search(r'Identifier\(\s*"realtime"', path.read_text())
    ]
    assert found == []


def test_it_knows_every_table_that_it_has(stack: Stack) -> None:
    functions = {"ensure_partition", "ensure_days_ahead"}
    known = {identifier.as_string(None).split('"')[3] for identifier in (*OURS, *tables.of_topics())}
    assert known == set(named(stack)) - functions


def test_dbt_reads_the_tables_that_it_has_with_their_columns() -> None:
    text = (PROJECT / "dbt_project/models/live/_streaming__sources.yml").read_text()
    [source] = yaml.safe_load(text)["sources"]
    assert source["schema"] == tables.SCHEMA
    topics = {table["name"]: table for table in source["tables"] if table["name"] in CATEGORIES}
    assert set(topics) == set(CATEGORIES)
    for topic, table in topics.items():
        said = {column["name"]: column["data_type"] for column in table["columns"]}
        assert table_columns(topic).items() <= said.items()


def test_every_other_source_of_dbt_there_is_a_table_with_these_columns(stack: Stack) -> None:
    text = (PROJECT / "dbt_project/models/live/_streaming__sources.yml").read_text()
    [source] = yaml.safe_load(text)["sources"]
    query = (
        "select column_name, case data_type when 'timestamp with time zone' then 'timestamptz' else data_type end "
        "from information_schema.columns where table_schema = 'realtime' and table_name = %s"
    )
    with psycopg.connect(stack.dsn("realtime")) as connection:
        for table in source["tables"]:
            there: dict[str, Any] = dict(connection.execute(query, (table["name"],)).fetchall())
            said = {column["name"]: column["data_type"] for column in table.get("columns", ())}
            assert said and said.items() <= there.items(), table["name"]


def test_soda_judges_tables_and_columns_that_it_has(stack: Stack) -> None:
    contracts = {
        c.dataset.removeprefix("realtime.realtime."): yaml.safe_load(c.text)
        for c in find()
        if "realtime.realtime." in c.dataset
    }
    assert set(contracts) > set(CATEGORIES)
    query = "select column_name from information_schema.columns where table_schema = 'realtime' and table_name = %s"
    with psycopg.connect(stack.dsn("realtime")) as connection:
        for table, contract in contracts.items():
            there = {name for (name,) in connection.execute(query, (table,)).fetchall()}
            named = {column["name"] for column in contract["columns"]}
            assert named <= there and (table not in CATEGORIES or named == set(table_columns(table))), table


def test_it_knows_no_kafka_client_and_no_room() -> None:
    for path in Path(realtime.__file__).parent.glob("*.py"):
        imported = {
            alias.name.partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        assert imported.isdisjoint({"kafka", *ROOMS} - {"tidemark"}), path
