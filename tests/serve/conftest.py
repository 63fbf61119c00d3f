"""Something to read in both databases, people who may, and their keys; the server is the stack's own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.serve.market import Market
from tests.serve.people import PEOPLE, access_file
from tidemark.access import key_file
from tidemark.access.apply import apply_access
from tidemark.settings import Settings
from tidemark.stack import local
from tidemark.stack.ports import free_ports

THINGS = """
create table {schema}.things (
    thing_key text primary key, symbol text not null, note text, price numeric, size double precision, number bigint,
    is_final boolean, day date, seen_at timestamptz, attributes jsonb, "odd %""name" text
);
insert into {schema}.things
select
    'k' || lpad(n::text, 5, '0'), (array['BTC/USD', 'ETH/USD', 'A"B,(C)'])[n % 3 + 1],
    case n % 4 when 0 then null when 1 then '' when 2 then E'two\\nlines, "quoted" \\u0001 <b>ü</b>' else 'n' || n end,
    case when n % 7 = 0 then null else 12345678901234567890.123456789 + n * 0.1 end, n * 0.1, 9007199254740993 + n,
    n % 2 = 0, date '2024-08-08' + n, timestamptz '2024-08-08 00:00:00.123456+00' + n * interval '1 minute',
    jsonb_build_object('n', n, 'exact', 1.10), 'odd'
from generate_series(1, 2500) as n;
comment on table {schema}.things is 'One row per thing.';
comment on column {schema}.things.symbol is 'Its symbol.';
"""
VIEW = """
create view live.newest as
select symbol, price, seen_at from (values
    ('BTC/USD', 1.10::numeric, timestamptz '2024-08-08 12:00:00+02'), ('ETH/USD', 'NaN', 'infinity')
) as made (symbol, price, seen_at);
comment on view live.newest is 'One row per symbol.';
"""


_client = httpx.Client(timeout=60)  # of all tests: making one costs more than most answers


@dataclass(frozen=True)
class Served:
    """A server, and the key of each person."""

    settings: Settings
    keys: dict[str, str]
    pid: int | None = None  # of a server that is not the stack's

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.settings.api_port}"

    def get(self, path: str, person: str = "analyst1", **options: Any) -> httpx.Response:
        """The answer to a path and its query, as a person."""
        headers = {"Authorization": f"Bearer {self.keys[person]}"} | options.pop("headers", {})
        return _client.get(f"{self.url}{path}", headers=headers, **options)


_leave: list[Callable[[], object]] = []  # what the last test of this folder does


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Other tests of the session have the stack without the people of these."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        while _leave:
            _leave.pop()()


@pytest.fixture(scope="session")
def people(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The stack with the people of these tests in both databases."""
    path = tmp_path_factory.mktemp("access") / "access.yml"
    path.write_text(access_file())
    settings: Settings = stack.with_settings(access_file=path)
    local.up(settings)
    _leave.append(lambda: apply_access(stack.settings, another_file=True))
    return settings


@pytest.fixture(scope="module")
def served(stack: Any, people: Settings) -> Iterator[Served]:
    """The stack's own server, and something to read, which is gone afterwards."""
    keys = {name: key_file.make(people, name, 86_400, rate=1_000)[1] for name in PEOPLE}
    with (
        psycopg.connect(stack.dsn("warehouse", "transformer"), autocommit=True) as warehouse,
        psycopg.connect(stack.dsn("realtime", "transformer"), autocommit=True) as realtime,
    ):
        warehouse.execute("create schema if not exists marts")
        realtime.execute("create schema if not exists live")
        try:
            warehouse.execute(THINGS.format(schema="marts"))
            realtime.execute(VIEW)
            yield Served(people, keys)
        finally:
            warehouse.execute("drop table if exists marts.things")
            realtime.execute("drop view if exists live.newest")


@contextlib.contextmanager
def another(served: Served, **changes: Any) -> Iterator[Served]:
    """A server of the same stack with other settings, ended afterwards."""
    settings = served.settings.model_copy(update={"api_port": free_ports(1)[0], **changes})
    from tidemark.stack import serve

    launch = serve.prepare(settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "serve"], env={**launch.env}, cwd=launch.folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        waiting = Retrying(
            retry=retry_if_exception_type(httpx.TransportError), stop=stop_after_delay(120), wait=wait_fixed(0.05)
        )
        waiting(httpx.get, f"http://127.0.0.1:{settings.api_port}/healthz")
        yield Served(settings, served.keys, process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def environ_of(served: Served) -> dict[str, str]:
    """The environment of a command of the docs."""
    return {**os.environ, "API_KEY": served.keys["analyst1"], "API_URL": served.url}


@pytest.fixture(scope="session")
def market(stack: Any, people: Settings) -> Market:
    """A symbol on both sides of the tidemark, and people who may read it."""
    made = Market(stack)
    made.fill()
    local.up(people)  # what the people may read of what is there now
    return made
