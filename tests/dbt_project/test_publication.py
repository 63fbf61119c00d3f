"""A mart changes in one transaction, as readers see it, and `ops.publication` says of which run it is."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.dbt_project.conftest import Databases
from tests.stream_shim.conftest import until
from tidemark import dbt
from tidemark.dbt import DbtError

RATES = ["run", "--select", "+fct_fx_rates"]
SEEN = "select rate_date::text, rate::float from marts.fct_fx_rates order by 1"
PUBLISHED = (
    "select invocation_id, under_way_invocation_id, is_under_way, target, version, finished_at >= published_at "
    "and published_at >= started_at, failed_nodes from ops.publication where mart = 'fct_fx_rates'"
)


@contextmanager
def running(databases: Databases, arguments: list[str]) -> Iterator["Future[list[Any]]"]:
    """dbt in a thread; what it raised is raised at the end."""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(dbt.run, databases.stack.settings, arguments)
        yield run
        run.result()


def rates(**by_day: str) -> list[dict[str, Any]]:
    return [{"Date": f"2024-06-{day.removeprefix('day')}", "USD": rate} for day, rate in by_day.items()]


def test_whoever_reads_sees_a_mart_before_or_after_a_run_and_never_between(warehouse: Databases) -> None:
    """A run that is held in the midst of its rows, some deleted; then a full refresh, asked all the time."""
    warehouse.ingest("ecb__reference_rates", rates(day24="1.1", day25="1.2", day26="1.3"), "a")
    dbt.run(warehouse.stack.settings, [*RATES, "+fct_economic_observations"])
    before = [("2024-06-24", 1.1), ("2024-06-25", 1.2), ("2024-06-26", 1.3)]
    assert warehouse.query("warehouse", SEEN) == before
    [(first, *rest)] = warehouse.query("warehouse", PUBLISHED)
    version = dbt.version_of_project()
    assert rest == [None, False, "warehouse", version, True, 0]

    warehouse.ingest("ecb__reference_rates", rates(day24="1.4", day25="1.5"), "b")  # 26 June is withdrawn
    held = "select from marts.fct_fx_rates where rate_date = '2024-06-25' for update"
    waiting = "select from pg_stat_activity where usename = 'transformer' and wait_event_type = 'Lock'"
    with psycopg.connect(warehouse.stack.dsn("warehouse")) as owner:
        owner.execute(held)
        with running(warehouse, RATES):
            until(lambda: warehouse.query("warehouse", waiting, "owner"), "the run to wait for the row")
            assert warehouse.query("warehouse", SEEN) == before
            [(still, under_way, is_under_way, *_)] = warehouse.query("warehouse", PUBLISHED)
            assert (still, is_under_way) == (first, True)
            owner.rollback()
    after = [("2024-06-24", 1.4), ("2024-06-25", 1.5)]
    assert warehouse.query("warehouse", SEEN) == after
    assert warehouse.query("warehouse", PUBLISHED) == [(under_way, None, False, "warehouse", version, True, 0)]

    counted = " union all ".join(
        f"select count(1), sum(rate) from {place}"
        for place in ("marts.fct_fx_rates", "asof.fct_fx_rates", "asof.fct_fx_rates(now())")
    ).encode()
    refresh = ["run", "--full-refresh", "--select", "fct_fx_rates", "fct_economic_observations"]
    with psycopg.connect(warehouse.stack.dsn("warehouse", "bi_reader"), autocommit=True) as reader:
        whole = reader.execute(counted).fetchall()
        asked = 0
        with running(warehouse, refresh) as run:
            while not wait([run], timeout=0.02).done:
                assert reader.execute(counted).fetchall() == whole
                asked += 1
    assert asked > 3
    assert [count for count, _ in whole] == [2, 3, 3]  # the vintages were not built since


def test_a_run_that_failed_says_so_and_a_mart_that_it_left_is_of_the_run_before(warehouse: Databases) -> None:
    dbt.run(warehouse.stack.settings, RATES)
    [(first, *_)] = warehouse.query("warehouse", PUBLISHED)
    with psycopg.connect(warehouse.stack.dsn("warehouse", "transformer")) as connection:
        connection.execute("alter table marts.fct_fx_rates drop column age_days cascade")
    with pytest.raises(DbtError, match="1 of .* nodes failed: fct_fx_rates"):
        dbt.run(warehouse.stack.settings, RATES)
    assert [row[0] for row in warehouse.query("warehouse", PUBLISHED)] == [first]
    failed = "select failed_nodes, failed_names from ops.dbt_run order by started_at"
    assert warehouse.query("warehouse", failed, "catalog_reader") == [(0, ""), (1, "fct_fx_rates")]
