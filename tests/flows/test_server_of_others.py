"""Both lanes on a managed server: TLS, a dead first host, and an administrator who has CREATEROLE and two databases."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from catalog import check
from flows.account import account
from flows.running import run_flow
from ingest.pipeline import run
from realtime import quarantined
from realtime.writer import Writer
from tests.conftest import Stack
from tests.flows.conftest import AS_OF, TOPIC, Feed
from tests.ingest.loopback import serving, zipped
from tests.tidemark.server_of_others import server_of_others
from tidemark import dbt
from tidemark.access import apply as access
from tidemark.connections import DATABASES


@pytest.fixture
def clean_realtime(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """The stack with its databases elsewhere, set up by who is neither a superuser nor may make a database."""
    with server_of_others("boss", "p@ss/ word%") as server:
        with psycopg.connect(server.superuser, autocommit=True) as superuser:
            superuser.execute("alter role boss nocreatedb")
            for database in DATABASES:
                superuser.execute(SQL("create database {} owner boss").format(Identifier(database)))
        tls = "&".join(f"{key}={quote(value, safe='')}" for key, value in server.tls.items())
        url = SecretStr(f"postgresql://boss:p%40ss%2F%20word%25@127.0.0.1:1,[::1]:{server.port}/?{tls}")
        settings = stack.with_settings(realtime_url=url, warehouse_url=url, lake_url=str(tmp_path / "lake"))
        access.apply(settings)
        dbt.run(settings, ["run"], "realtime")
        yield Stack(settings)


@pytest.fixture
def empty_warehouse() -> None:
    """It is new."""


@pytest.mark.faults
def test_both_lanes_run_on_a_managed_server(feed: Feed) -> None:
    settings = feed.stack.settings
    feed.add(5)
    writer = Writer(settings)
    writer.ensure_ahead()
    writer.close()
    assert quarantined.summary(settings, quarantined.Wanted()) == []
    with serving(lambda path, query: zipped("Date,USD,\n2024-01-02,1.10,\n")) as ecb:
        [loaded] = run(settings.model_copy(update={"ecb_url": ecb.url}), "ecb").resources
    assert loaded.rows_loaded == 1
    [promoted] = [row for row in run_flow(settings, "promote", as_of=AS_OF) if row["topic"] == TOPIC]
    assert feed.counts() == (0, 5), promoted
    assert [balance for balance in account(settings) if balance.topic == TOPIC]
    results = check.run(settings)
    assert {result.outcome for result in results} == {"passed", "failed", "not evaluated"}
    with psycopg.connect(feed.stack.dsn("warehouse", "bi_reader")) as reader:
        assert reader.execute("select count(*) from marts.fct_market_ticks").fetchone() == (5,)
        assert reader.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone() == (True,)
