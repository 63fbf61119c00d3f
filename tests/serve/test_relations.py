"""What a caller reads of marts and live views: by PostgREST's own client, page by page, in every format."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import polars
import psycopg
import pyarrow as pa
import pytest
from postgrest import APIError, CountMethod, SyncPostgrestClient
from tenacity import Retrying, stop_after_delay, wait_fixed

from tests.conftest import Stack
from tests.serve.conftest import THINGS, Served

EXACT = "12345678901234567890.223456789"


@pytest.fixture
def client(served: Served) -> Iterator[SyncPostgrestClient]:
    """PostgREST's Python client on the marts."""
    with SyncPostgrestClient(f"{served.url}/v1/marts", headers={"X-API-Key": served.keys["analyst1"]}) as made:
        yield made


def test_the_client_of_postgrest_selects_filters_orders_and_counts(client: SyncPostgrestClient) -> None:
    def keys(query: Any) -> list[str]:
        return [row["thing_key"] for row in query.execute().data]

    things = client.from_("things")
    assert things.select("thing_key,what:symbol").eq("thing_key", "k00001").execute().data == [
        {"thing_key": "k00001", "what": "ETH/USD"}
    ]
    some = things.select("*").lte("thing_key", "k00008")
    assert keys(some.neq("symbol", "BTC/USD").gt("size", 0.4)) == ["k00005", "k00007", "k00008"]
    assert keys(things.select("*").lt("thing_key", "k00004").gte("number", 9007199254740995)) == ["k00002", "k00003"]
    assert keys(things.select("*").in_("symbol", ['A"B,(C)']).limit(2)) == ["k00002", "k00005"]
    assert keys(things.select("*").is_("price", "null").limit(2)) == ["k00007", "k00014"]
    assert keys(things.select("*").not_.is_("note", "null").eq("note", "").limit(1)) == ["k00001"]
    assert keys(things.select("*").like("note", "n1*").limit(2)) == ["k00011", "k00015"]
    assert keys(things.select("*").ilike("note", "N3").limit(2)) == ["k00003"]
    assert keys(things.select("*").or_("thing_key.eq.k00002,and(size.eq.0.4,is_final.is.true)")) == ["k00002", "k00004"]
    assert keys(things.select("*").order("price", desc=True, nullsfirst=True).order("number", desc=True).limit(1)) == [
        "k02499"
    ]
    assert keys(things.select("*").order("price").limit(1)) == ["k00001"]
    answer = things.select("thing_key", count=CountMethod.exact).eq("symbol", "BTC/USD").range(10, 12).execute()
    assert (len(answer.data), answer.count) == (3, 833)
    assert things.select("thing_key", count=CountMethod.exact, head=True).execute().count == 2500
    one: Any = things.select("number").eq("thing_key", "k00001").single().execute().data
    assert one == {"number": 9007199254740994}
    assert things.select("*").eq("thing_key", "none").maybe_single().execute() is None
    with pytest.raises(APIError, match="exactly one row"):
        things.select("*").single().execute()
    text: Any = things.select("thing_key,note").limit(1).csv().execute().data
    assert text.splitlines() == ["thing_key,note", 'k00001,""']


def test_numbers_stay_exact_and_times_are_of_utc_in_every_format(served: Served) -> None:
    path = "/v1/marts/things?select=thing_key,price,number,seen_at,is_final,note&limit=8"
    answers = {name: served.get(f"{path}&format={name}") for name in ("json", "ndjson", "csv", "arrow")}
    rows = json.loads(answers["json"].text, parse_float=Decimal)
    assert rows[0] == {
        "thing_key": "k00001", "price": Decimal(EXACT), "number": 9007199254740994,
        "seen_at": "2024-08-08T00:01:00.123456+00:00", "is_final": False, "note": "",
    }  # fmt: skip
    lines = answers["ndjson"].text.splitlines()
    assert [json.loads(line, parse_float=Decimal) for line in lines] == rows
    assert (
        answers["csv"].text.splitlines()[1]
        == f'k00001,{EXACT},9007199254740994,2024-08-08T00:01:00.123456+00:00,false,""'
    )
    table = pa.ipc.open_stream(answers["arrow"].content).read_all()
    assert table.schema.field("price").type == pa.decimal128(38, 9)
    assert table.schema.field("seen_at").type == pa.timestamp("us", "UTC")
    of_arrow = [row | {"seen_at": row["seen_at"].isoformat()} for row in table.to_pylist()]
    assert of_arrow == rows
    assert rows[6]["price"] is None
    assert {row["note"] for row in rows[:4]} == {"", 'two\nlines, "quoted" \x01 <b>ü</b>', "n3", None}
    assert polars.read_csv(io.BytesIO(answers["csv"].content)).height == 8
    assert polars.read_ipc_stream(io.BytesIO(answers["arrow"].content)).height == 8
    types = [answer.headers["content-type"].partition(";")[0] for answer in answers.values()]
    assert types == ["application/json", "application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream"]
    assert served.get(path, headers={"Accept": "text/html;q=0.9, text/csv;q=0.1"}).text == answers["csv"].text


def test_what_json_has_no_number_for_is_text_and_arrow_says_what_it_has_not(served: Served) -> None:
    assert served.get("/v1/live/newest").json() == [
        {"symbol": "BTC/USD", "price": 1.10, "seen_at": "2024-08-08T10:00:00+00:00"},
        {"symbol": "ETH/USD", "price": "NaN", "seen_at": "infinity"},
    ]
    refused = served.get("/v1/live/newest?format=arrow")
    assert (refused.status_code, "ask for JSON" in refused.json()["detail"]) == (406, True)
    empty = served.get("/v1/live/newest?symbol=eq.none&format=arrow")
    assert pa.ipc.open_stream(empty.content).read_all().num_rows == 0


def test_pages_by_the_key_give_each_row_once_whatever_is_inserted_meanwhile(stack: Stack, served: Served) -> None:
    found, path = [], "/v1/marts/things?select=symbol,thing_key&limit=700&order=thing_key.desc"
    with psycopg.connect(stack.dsn("warehouse", "transformer"), autocommit=True) as connection:
        while path:
            answer = served.get(path)
            found += [row["thing_key"] for row in answer.json()]
            connection.execute(
                "insert into marts.things (thing_key, symbol) values ('l1', ''), ('k00000', '') on conflict do nothing"
            )
            path = answer.links["next"]["url"] if "next" in answer.links else ""
        connection.execute("delete from marts.things where thing_key in ('l1', 'k00000')")
    assert found == [f"k{n:05}" for n in range(2500, -1, -1)]
    view = served.get("/v1/live/newest?limit=1")
    assert "next" not in view.links
    assert view.headers["Tidemark-Pages"] == "none, as no key is declared"


def test_a_mart_that_is_swapped_while_it_is_asked_for_has_all_its_rows(stack: Stack, served: Served) -> None:
    """Its new table is filled after the snapshot of whoever waited for the swap: through that it would be empty."""
    swap = (
        "begin; create table marts.new (like marts.things including all); insert into marts.new table marts.things; "
        "alter table marts.things rename to gone; alter table marts.new rename to things; "
        "comment on table marts.things is 'One row per thing.'"
    )
    waiting = "select count(1) from pg_locks where not granted and relation = 'marts.things'::regclass"
    paths = ["/v1/marts/things?limit=2500", "/openbb/marts/things?limit=1000"]
    with psycopg.connect(stack.dsn("warehouse", "transformer"), autocommit=True) as connection:
        connection.execute(swap)
        with ThreadPoolExecutor() as readers:
            headers = {"X-API-Key": served.keys["analyst1"]}
            answers = [readers.submit(httpx.get, f"{served.url}{path}", headers=headers) for path in paths]
            with psycopg.connect(stack.dsn("warehouse"), autocommit=True) as looking:
                for attempt in Retrying(stop=stop_after_delay(1.9), wait=wait_fixed(0.01)):
                    with attempt:
                        [(count,)] = looking.execute(waiting).fetchall()
                        assert count == len(paths)
            connection.execute("commit")
        connection.execute("drop table marts.gone")
    assert [len(answer.result().json()) for answer in answers] == [2500, 1000]


def test_a_range_is_a_header_too_and_says_how_much_there_is(served: Served) -> None:
    path = "/v1/marts/things?select=thing_key"
    answer = served.get(path, headers={"Range": "5-7", "Prefer": "count=exact"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (206, "5-7/2500")
    assert [row["thing_key"] for row in answer.json()] == ["k00006", "k00007", "k00008"]
    assert len(served.get(path).json()) == 1000
    assert len(served.get(f"{path}&limit=999999999").json()) == 2500


def test_the_lists_have_what_the_caller_may_read_and_change_with_what_is_built(stack: Stack, served: Served) -> None:
    listed = {each["name"]: each for each in served.get("/v1/marts").json()}
    things = listed["things"]
    assert (things["key"], things["description"], things["kind"]) == (["thing_key"], "One row per thing.", "table")
    assert things["columns"][1] == {"name": "symbol", "type": "text", "nullable": False, "description": "Its symbol."}
    assert served.get("/v1/marts", "outsider1").json() == []
    assert [each["name"] for each in served.get("/v1/live", "outsider1").json() if each["name"] == "newest"] == [
        "newest"
    ]
    refused = served.get("/v1/marts/things", "outsider1")
    absent = served.get("/v1/marts/there_is_none", "outsider1")
    assert (refused.status_code, refused.json()["detail"]) == (404, absent.json()["detail"])
    with psycopg.connect(stack.dsn("warehouse", "transformer"), autocommit=True) as connection:
        assert served.get("/v1/marts/things?limit=1").json()[0]['odd %"name'] == "odd"
        connection.execute('alter table marts.things drop column "odd %""name", add column further integer default 7')
        assert served.get("/v1/marts/things?limit=1&further=eq.7").json()[0]["further"] == 7
        connection.execute("begin; drop table marts.things; " + THINGS.format(schema="marts") + "; commit")
        assert served.get("/v1/marts/things?limit=1&further=eq.7").status_code == 400
        assert served.get("/v1/marts/things?limit=1").json()[0]['odd %"name'] == "odd"


def test_an_answer_that_is_known_is_not_sent_again(stack: Stack, served: Served) -> None:
    with psycopg.connect(stack.dsn("warehouse", "transformer"), autocommit=True) as connection:
        publish = (
            "insert into ops.published_mart values ('things', 'run 1', now()) "
            "on conflict (mart) do update set published_at = clock_timestamp()"
        )
        connection.execute(
            "insert into ops.dbt_run (invocation_id, target, command, version, started_at) "
            "values ('run 1', 'warehouse', 'build', '1', now()) on conflict do nothing"
        )
        connection.execute(publish)
        for path in ("/v1/marts/things?limit=3", "/v1/live/newest", "/v1/marts/things?limit=3&format=arrow"):
            for person in ("analyst1", "operator1"):
                first = served.get(path, person)
                again = served.get(path, person, headers={"If-None-Match": first.headers["ETag"]})
                assert (again.status_code, again.content) == (304, b""), path
        tag = served.get("/v1/marts/things?limit=3", "operator1").headers["ETag"]
        assert served.get("/v1/marts/things?limit=4", "operator1", headers={"If-None-Match": tag}).status_code == 200
        connection.execute(publish)
        assert served.get("/v1/marts/things?limit=3", "operator1", headers={"If-None-Match": tag}).status_code == 200

    with psycopg.connect(stack.dsn("warehouse")) as connection:
        connection.execute("delete from ops.published_mart where mart = 'things'")
        connection.execute("delete from ops.dbt_run where invocation_id = 'run 1'")


def test_a_head_has_the_headers_alone(served: Served) -> None:
    headers = {"X-API-Key": served.keys["analyst1"]}
    answer = httpx.head(f"{served.url}/v1/marts/things?limit=2", headers=headers, timeout=60)
    assert (answer.status_code, answer.content, answer.headers["Content-Range"]) == (200, b"", "0-1/*")
    assert int(answer.headers["content-length"]) > 100


def test_a_quote_within_a_value_is_a_character_as_postgrest_reads_it(served: Served) -> None:
    things = "/v1/marts/things?select=symbol&order=thing_key&limit=3000"
    symbols = {"BTC/USD", "ETH/USD", 'A"B,(C)'}
    for asked, expected in (
        ('symbol=in.(A"B,BTC/USD)', {"BTC/USD"}),
        ('symbol=not.in.(6" pipe,8" pipe)', symbols),
        ('or=(symbol.eq.6" pipe,symbol.eq.ETH/USD)', {"ETH/USD"}),
        ('or=(symbol.in.(6" pipe,8" pipe,BTC/USD),symbol.eq."A\\"B,(C)")', {"BTC/USD", 'A"B,(C)'}),
        ('symbol=in.("A\\"B,(C)", "x")', {'A"B,(C)'}),
    ):
        answer = served.get(f"{things}&{asked}")
        assert (answer.status_code, {row["symbol"] for row in answer.json()}) == (200, expected), asked


def test_numbers_of_many_digits_are_decimals_of_arrow_too(stack: Stack, served: Served) -> None:
    texts = ["0.0000000000000000000000000000000000000001", "-12345678901234567890123456789012345.5"]
    with psycopg.connect(stack.dsn("warehouse", "transformer"), autocommit=True) as connection:
        connection.execute(
            "create table marts.deep as select unnest(%s::numeric[]) as n union all select null", [texts]
        )
        try:
            table = pa.ipc.open_stream(served.get("/v1/marts/deep?order=n.desc&format=arrow").content).read_all()
        finally:
            connection.execute("drop table marts.deep")
    assert table.schema.field("n").type == pa.decimal256(76, 40)
    assert [None if n is None else f"{n:f}".rstrip("0") for n in table["n"].to_pylist()] == [None, *texts]
