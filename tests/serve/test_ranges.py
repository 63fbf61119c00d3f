"""Ranges that cross the tidemark, over HTTP: one promotion goes on while they are asked."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import polars
import psutil
import pyarrow.ipc
import pytest
from pydantic import SecretStr
from tenacity import Retrying, stop_after_delay, wait_fixed

from flows import ledger
from ingest.sources import realtime as source
from tests.conftest import Stack
from tests.dbt_project.conftest import QUIET, Databases, at, level, tick
from tests.serve.conftest import Served, another
from tests.serve.tcp_proxy import HoldingProxy, holding_proxy
from tests.serve.test_crossing import FIRST, TOPIC, copied, empty, leave, lent
from tidemark import dbt
from tidemark.credentials import OWNER

MODELS = (
    "+fct_bars_1m",
    "+fct_promotions",
    "+fct_economic_observations",
)
pytestmark = pytest.mark.timeout(600)  # dbt builds for minutes on a machine that is busy
OF = "source=venue&symbol=A/B&from=2024-08-08&to=2024-08-10"
TICKS = [tick(n, f"08 23:5{n // 60}:{n % 60:02}", 100 + n, 0.1) for n in range(300)]
STAY = [tick(400 + n, f"09 00:0{n // 60}:{n % 60:02}", 300 + n, 0.1) for n in range(200)]
STAY += [tick(900, "08 23:59:59", 1, received_at=at("09 00:00:05"))]
EVENT = {
    "source_system": "fred", "event_publisher": "BEA", "unit": "dollars", "description": "GDP", "log_epoch": 1,
    "kafka_partition": 0,
}  # fmt: skip


def event(offset: int, value: float, arrived: str, **attributes: str) -> dict[str, Any]:
    """A number of the series GDP."""
    about = {"series_id": "GDP", "date": "2024-04-01", **attributes}
    return EVENT | {"kafka_offset": offset, "value": value, "received_at": at(arrived), "attributes": about}


@pytest.fixture(scope="module")
def proxied(served: Served, stack: Stack) -> Iterator[tuple[Served, HoldingProxy]]:
    """A server whose way to the warehouse can be held."""
    with holding_proxy(stack.settings.postgres_port) as proxy:
        url = SecretStr(f"postgresql://tidemark@127.0.0.1:{proxy.port}/warehouse")
        with another(served, warehouse_url=url) as running:
            yield running, proxy


@pytest.fixture(scope="module")
def promoted(stack: Stack, proxied: tuple[Served, HoldingProxy]) -> dict[str, list[Any]]:
    """What ticks and bars were answered while the first day left: the second read was held until it had."""
    (served, proxy), settings, databases = proxied, stack.settings, Databases(stack)
    empty(stack)
    dbt.run(settings, [*QUIET, "run"], "realtime")
    databases.stream(TOPIC, TICKS + STAY)
    numbers = [event(n, float(n), f"08 1{n}:00:00", realtime_start=f"2024-08-0{n + 1}") for n in range(3)]
    databases.stream("economic_event_numeric", numbers)
    databases.promote("economic_event_numeric", numbers[:2], "events")
    sides = [level(n, "s1", place, 99.0 + n, "09 00:00:10", of=2) for n, place in enumerate([("bid", 1), ("ask", 1)])]
    databases.stream("order_book_l2", sides)
    first_day = answers_of_the_first_day(served, stack)
    promotion = copied(settings, FIRST)
    source.load_day(settings, TOPIC, promotion.lake_path)
    dbt.run(settings, [*QUIET, "run", "--select", *MODELS])
    ledger.verify(settings, promotion)
    assert served.get(f"/v1/ticks?{OF}").status_code == 200  # connections are open
    proxy.hold()
    with ThreadPoolExecutor() as aside:
        asked = aside.submit(served.get, f"/v1/ticks?{OF}")
        assert proxy.was_asked.wait(60)
        leave(settings, promotion)
        proxy.release()
        after = served.get(f"/v1/ticks?{OF}").json()
        return {"meanwhile": asked.result().json(), "after": after, "first day": first_day}


def answers_of_the_first_day(served: Served, stack: Stack) -> list[httpx.Response]:
    """Of a warehouse in which there was nothing, of one that was loaded and not built, of one that was emptied."""
    paths = [f"/v1/ticks?{OF}", f"/v1/bars?{OF}&interval=1m", f"/v1/bars?{OF}&interval=1h", "/v1/series/fred:GDP"]
    history = {"symbol": "venue:A/B", "resolution": "1", "from": "1723075200", "to": "1723248000"}
    paths += ["/udf/search?query=A/B", str(httpx.URL("/udf/history", params=history))]
    with lent(stack, "warehouse", OWNER) as connection:
        try:
            connection.execute("alter schema marts rename to marts_away")
            not_built = served.get(paths[0])
            connection.execute("alter schema ingestion rename to ingestion_away")
            connection.execute("insert into ops.load values ('f', 'source', 'table', '1', 1)")
            emptied = served.get(paths[0])
            connection.execute("delete from ops.load where file_name = 'f'")
            connection.execute("alter schema ops rename to ops_away")
            return [*map(served.get, paths), not_built, emptied]
        finally:
            connection.execute("alter schema ops_away rename to ops")
            connection.execute("alter schema marts_away rename to marts")
            connection.execute("alter schema ingestion_away rename to ingestion")


def offsets(rows: list[dict[str, Any]]) -> Counter[int]:
    return Counter(row["kafka_offset"] for row in rows)


def test_a_day_that_leaves_between_the_two_reads_is_there_once(promoted: dict[str, list[Any]]) -> None:
    expected = Counter(row["kafka_offset"] for row in TICKS + STAY)
    assert offsets(promoted["meanwhile"]) == offsets(promoted["after"]) == expected
    assert promoted["meanwhile"] == promoted["after"]


def test_every_format_and_every_page_has_the_same_ticks(promoted: Any, proxied: tuple[Served, Any]) -> None:
    served = proxied[0]
    first, *_ = rows = promoted["after"]
    arrow = pyarrow.ipc.open_stream(served.get(f"/v1/ticks?{OF}&format=arrow").content).read_all().to_pylist()
    frame = polars.read_csv(BytesIO(served.get(f"/v1/ticks?{OF}&format=csv").content))
    lines = served.get(f"/v1/ticks?{OF}&format=ndjson").text.splitlines()
    assert [row["kafka_offset"] for row in rows] == [row["kafka_offset"] for row in arrow]
    assert frame["kafka_offset"].to_list() == [row["kafka_offset"] for row in rows]
    assert len(lines) == len(rows)
    assert arrow[0]["traded_at"].isoformat().replace("+00:00", "Z") == first["traded_at"]
    found, path = [], f"/v1/ticks?{OF}&limit=97&attributes=true"
    while path:
        answer = served.get(path)
        found += answer.json()
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    assert [{k: v for k, v in row.items() if k != "attributes"} for row in found] == rows
    assert found[0]["attributes"] == {"id": "t0"}


def test_bars_of_both_sides_are_one_series(promoted: Any, proxied: tuple[Served, Any]) -> None:
    minutes, hours, days = (proxied[0].get(f"/v1/bars?{OF}&interval={name}").json() for name in ("1m", "1h", "1d"))
    assert [bar["trade_count"] for bar in minutes] == [60, 60, 60, 60, 60, 1, 60, 60, 60, 20]
    assert [bar["trade_count"] for bar in hours] == [bar["trade_count"] for bar in days] == [301, 200]
    assert (minutes[0]["open"], minutes[5]["close"], hours[0]["low"]) == (100, 1, 1)
    assert all(bar["is_final"] for bar in minutes)
    # As pyarrow would, where they are installed, pandas as soon as a time becomes an object: 67 MB, and 12 MB.
    mapped = [Path(one.path).parts for one in psutil.Process(proxied[0].pid).memory_maps()]
    assert not [parts for parts in mapped if {"pandas", "numpy"} & {*parts}]


def test_on_the_first_day_all_is_in_realtime_or_it_is_said_what_to_run(promoted: dict[str, list[Any]]) -> None:
    ticks, bars, hours, series, found, history, not_built, emptied = promoted["first day"]
    assert ticks.json() == promoted["after"]
    assert [bar["trade_count"] for bar in bars.json()] == [60, 60, 60, 60, 60, 1, 60, 60, 60, 20]
    assert all(bar["is_final"] for bar in bars.json())
    assert [one["ticker"] for one in found.json()] == ["venue:A/B"]
    assert history.json()["c"] == [bar["close"] for bar in bars.json()]
    for answer in (hours, series):
        assert (answer.status_code, answer.json()["title"]) == (404, "no data was loaded yet"), answer.text
        assert "tidemark flow run ingest --param source=ecb" in answer.json()["detail"]
    for answer in (not_built, emptied):
        assert (answer.status_code, answer.json()["title"]) == (503, "not built yet"), answer.text


def test_a_callers_ranges_wait_for_its_own_and_a_refusal_names_its_database(
    promoted: Any, served: Served, stack: Stack
) -> None:
    waiting = "select count(1) from pg_locks where not granted and relation = 'marts.fct_market_ticks'::regclass"
    with (
        another(served, api_connections=4) as server,
        lent(stack, "warehouse", OWNER) as watching,
        lent(stack, "warehouse", "transformer") as building,
        ThreadPoolExecutor(8) as threads,
    ):
        building.execute("begin; lock table marts.fct_market_ticks in access exclusive mode")
        ranges = [threads.submit(server.get, f"/v1/ticks?{OF}") for _ in range(8)]
        for attempt in Retrying(stop=stop_after_delay(10), wait=wait_fixed(0.02)):
            with attempt:
                assert watching.execute(waiting).fetchone() == (2,)
        others = server.get("/v1/events?source=fred&series=GDP&from=2024-08-01&to=2024-09-01", "operator1")
        assert others.status_code == 200, others.text
        refused = next(as_completed(ranges)).result()
        building.execute("rollback")
        assert (refused.status_code, "expected warehouse to answer now" in refused.text) == (503, True), refused.text
        assert {one.result().status_code for one in ranges} == {200, 503}


def test_events_of_both_sides_are_there_once(promoted: Any, proxied: tuple[Served, Any]) -> None:
    by_series, by_publisher = (
        proxied[0].get(f"/v1/events?source=fred&{name}&from=2024-08-01&to=2024-09-01").json()
        for name in ("series=GDP", "publisher=BEA")
    )
    assert [row["value"] for row in by_series] == [0, 1, 2]
    assert by_series == by_publisher


def test_one_sides_own_answers(promoted: Any, proxied: tuple[Served, Any]) -> None:
    served = proxied[0]
    [price] = served.get("/v1/last?source=venue&symbol=A/B").json()
    assert (price["price"], served.get("/v1/last?symbol=none").json()) == (499, [])
    assert [row["price"] for row in served.get("/v1/book?source=venue&symbol=A/B").json()] == [100, 99]
    as_of = ("?as_of=2024-08-01T23:59:59Z", "?as_of=2024-08-01", "")  # a vintage is known from the end of its day
    known = [[row["value"] for row in served.get(f"/v1/series/fred:GDP{moment}").json()] for moment in as_of]
    assert known == [[], [0], [1]]


REFUSED = {
    "/v1/ticks?source=venue&symbol=A/B": "from",
    "/v1/ticks?source=venue&from=2024-08-08&to=2024-08-09": "symbol",
    f"/v1/ticks?{OF}&limit=1000000001": "limit",
    f"/v1/ticks?{OF}&after=bm90": "not a cursor",
    "/v1/ticks?source=venue&symbol=A&from=2024-08-09&to=2024-08-08": "from to be before to",
    "/v1/ticks?source=venue&symbol=A&from=2024-08-08T10:00&to=2024-08-09": "its offset",
    "/v1/ticks?source=venue&symbol=A%00&from=2024-08-08&to=2024-08-09": "control characters",
    "/v1/bars?source=venue&symbol=A&interval=1m&from=2023-08-08&to=2024-08-09": "at most 8 days",
    f"/v1/bars?{OF}&interval=2m": "interval",
    "/v1/events?source=fred&from=2024-08-08&to=2024-08-09": "publisher or series",
    "/v1/series/fred:GDP?as_of=2024-08-08T10:00": "its offset",
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_cannot_be_answered_is_refused_in_a_sentence(proxied: tuple[Served, Any], path: str) -> None:
    answer = proxied[0].get(path)
    assert answer.status_code == 400, answer.text
    assert REFUSED[path] in answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_names_are_values_and_never_sql(promoted: Any, proxied: tuple[Served, Any]) -> None:
    for name in ("A/B' or true --", "A/B\\' or true --", "{source}", "%s", "🌊"):
        query = {"source": "venue", "symbol": name, "from": "2024-08-08", "to": "2024-08-10"}
        for path in ("/v1/ticks", "/v1/bars?interval=1m", "/v1/book"):
            answer = proxied[0].get(str(httpx.URL(path).copy_merge_params(query)))
            assert (answer.status_code, answer.json()) == (200, []), path


def test_a_key_of_one_side_alone_gets_no_part_of_a_range(promoted: Any, proxied: tuple[Served, Any]) -> None:
    assert proxied[0].get(f"/v1/ticks?{OF}", person="outsider1").status_code == 404


def test_where_a_side_is_away_the_missing_days_are_named_and_nothing_else(promoted: Any, served: Served) -> None:
    for database, days in {"warehouse": ("08", "08"), "realtime": ("09", "09")}.items():
        nowhere = SecretStr(f"postgresql://tidemark@127.0.0.1:9/{database}")
        with another(served, **{f"{database}_url": nowhere}) as running:
            for path in ("ticks", "bars?interval=1m"):
                answer = running.get(f"/v1/{path}{'&' if '?' in path else '?'}{OF}")
                assert answer.status_code == 503
                problem = answer.json()
                assert (problem["database"], problem["missing_days"]) == (
                    database,
                    {"first": f"2024-08-{days[0]}", "last": f"2024-08-{days[1]}"},
                )
