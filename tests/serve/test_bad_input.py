"""What cannot be answered is refused with a sentence, whatever is sent; nothing of it reaches a database as SQL."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

from tests.conftest import Stack
from tests.serve.conftest import Served
from tidemark.access import key_file

SQL = [
    "'; drop table marts.things; --",
    '" or 1=1 --',
    "$$x$$",
    "1) union select 1 --",
    "\\'; select pg_sleep(9); --",
    "%s",
    "{}",
]
THINGS = "/v1/marts/things"
BAD = {
    f"{THINGS}?nothing=eq.1": 400,
    f"{THINGS}?select=nothing": 400,
    f"{THINGS}?select=size,size": 400,
    f"{THINGS}?select=size::text": 400,
    f"{THINGS}?select=attributes->n": 400,
    f"{THINGS}?select=others(*)": 400,
    f"{THINGS}?select=sum(size)": 400,
    f"{THINGS}?order=nothing.desc": 400,
    f"{THINGS}?order=size.sideways": 400,
    f"{THINGS}?size=around.1": 400,
    f"{THINGS}?size=1": 400,
    f"{THINGS}?size=eq": 400,
    f"{THINGS}?size=eq.much": 400,
    f"{THINGS}?number=eq.99999999999999999999999": 400,
    f"{THINGS}?seen_at=gt.2024-13-45": 400,
    f"{THINGS}?size=like.1*": 400,
    f"{THINGS}?size=is.true": 400,
    f"{THINGS}?is_final=is.maybe": 400,
    f"{THINGS}?size=in.1,2": 400,
    f"{THINGS}?size=in.(1,": 400,
    f"{THINGS}?size=in.(1,x)": 400,
    f"{THINGS}?or=(size.eq.1": 400,
    f"{THINGS}?or=()": 400,
    f"{THINGS}?or=(size)": 400,
    f"{THINGS}?note=eq.%00": 400,
    f"{THINGS}?limit=-1": 400,
    f"{THINGS}?limit=1.5": 400,
    f"{THINGS}?limit=9999999999999999999999": 400,
    f"{THINGS}?offset=9999999999": 400,
    f"{THINGS}?limit=1&limit=2": 400,
    f"{THINGS}?after=nonsense": 400,
    f"{THINGS}?after=WyJ0aGluZ3MiLDFd": 400,
    f"{THINGS}?after=WyJ0aGluZ3MiLCJrMSJd&order=size": 400,
    f"{THINGS}?after=WyJ0aGluZ3MiLCJrMSJd&offset=5": 400,
    "/v1/live/newest?after=WyJuZXdlc3QiXQ": 400,
    f"{THINGS}?format=xml": 400,
    f"{THINGS}?" + "&".join("size=gt.0" for _ in range(300)): 400,
    f"{THINGS}?and=" + "(and" * 50 + "(size.gt.0,size.gt.0)" + ")" * 50: 400,
    "/v1/marts/nothing": 404,
    "/v1/marts/things%3B%20drop": 404,
    "/v1/marts/..%2F..%2Fetc": 404,
    "/v1/nothing": 404,
    "/v1/ops/publication": 404,
    f"{THINGS}?select=" + ",".join(f"a{n}:size" for n in range(1_665)): 413,
    "/v1/stream?channels=ticks&symbol=A&last_event_id=" + "9" * 15: 400,
}


@pytest.mark.parametrize("path", BAD)
def test_what_is_no_query_is_refused_with_what_was_expected(served: Served, path: str) -> None:
    answer = served.get(path)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (BAD[path], "application/problem+json"), answer.text
    assert problem["detail"].startswith("expected ")
    assert {"type", "title", "status", "instance"} <= problem.keys()
    assert "File " not in answer.text


def test_sql_in_any_place_is_a_value_or_refused(stack: Stack, served: Served) -> None:
    for text in map(quote, SQL):
        for query in (
            f"symbol=eq.{text}", f"size=eq.{text}", f"select={text}", f"order={text}", f"limit={text}",
            f"offset={text}",
            f"{text}=eq.1", f"or=(symbol.eq.{text},size.gt.{text})", f"symbol=in.({text})", f"symbol=like.{text}",
            f"after={text}", f"format={text}", f"symbol=not.{text}",
        ):  # fmt: skip
            answer = served.get(f"{THINGS}?{query}")
            assert answer.status_code in (200, 400), (query, answer.text)
            assert answer.status_code == 400 or answer.json() == [], query
        assert served.get(f"/v1/marts/{text}").status_code == 404
    with psycopg.connect(stack.dsn("warehouse", "transformer")) as connection:
        assert connection.execute("select count(*) from marts.things").fetchone() == (2500,)


def test_headers_that_are_none_are_refused(served: Served) -> None:
    def status(**headers: str) -> int:
        return served.get(THINGS, headers=headers).status_code

    assert status(Range="7-5") == 416
    assert status(Range="many") == 400
    assert status(Range="9999-", Prefer="count=exact") == 416
    assert status(Accept="text/html") == 406
    assert status(Accept="*/*;q=0") == 406


def test_whoever_has_no_key_that_opens_is_told_so_in_one_sentence(served: Served) -> None:
    people = served.settings
    expired = key_file.make(people, "analyst1", -1.0)[1]
    key_id, revoked = key_file.make(people, "analyst1", 86_400)
    key_file.revoke(people, key_id)
    foreign = f"tidemark_00000000_{'x' * 43}"
    nobody = key_file.make(people, "nobody_there", 86_400)[1]
    said = {}
    for name, key in {"expired": expired, "revoked": revoked, "foreign": foreign, "role": nobody, "none": ""}.items():
        answers = [
            httpx.get(f"{served.url}{THINGS}", headers={"Authorization": f"Bearer {key or 'x'}"}, timeout=60),
            httpx.get(f"{served.url}{THINGS}", headers={"X-API-Key": key}, timeout=60),
            httpx.get(f"{served.url}{THINGS}?apikey={key}", timeout=60),
        ]
        assert {answer.status_code for answer in answers} == {401}
        said[name] = answers[0].json()["detail"]
        assert not key or key not in "".join(answer.text for answer in answers)
    assert "expired" in said["expired"]
    assert "revoked" in said["revoked"]
    assert httpx.get(f"{served.url}{THINGS}", timeout=60).json()["title"] == "no key that opens"
    good = httpx.get(f"{served.url}{THINGS}?limit=1&apikey={served.keys['analyst1']}", timeout=60)
    assert (good.status_code, len(good.json())) == (200, 1)


def test_nothing_but_reading_is_answered(served: Served) -> None:
    headers = {"X-API-Key": served.keys["analyst1"]}
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE"):
        answer = httpx.request(method, f"{served.url}{THINGS}", headers=headers, timeout=60)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    assert httpx.request("GET", f"{served.url}{THINGS}", headers=headers, content=b"x", timeout=60).status_code == 413


def test_a_key_is_never_written_to_the_log(served: Served) -> None:
    key, mark = served.keys["analyst1"], f"seen{time.time_ns()}"
    served.get(f"{THINGS}?symbol=eq.{mark}")
    httpx.get(f"{served.url}{THINGS}?apikey={key}&symbol=eq.{mark}&%61pikey={key}", timeout=60)
    httpx.get(f"{served.url}{THINGS}?apikey={key}&nothing=eq.{mark}", timeout=60)
    httpx.get(f"{served.url}{THINGS}?api_key={key}&symbol=eq.{mark}", headers={"X-API-Key": key}, timeout=60)
    httpx.get(f"{served.url}/v1/{key}/nothing?apikey={key}", headers={"X-API-Key": key}, timeout=60)
    log = (served.settings.home / "logs" / "serve.log").read_text()
    assert log.count(mark) == 4
    assert key.rpartition("_")[2] not in log
    assert "analyst1" in log


def test_a_key_is_answered_at_its_rate_and_then_told_when(served: Served) -> None:
    slow = key_file.make(served.settings, "analyst1", 86_400, rate=1.0)[1]
    with ThreadPoolExecutor(20) as threads:  # at once: a machine on which each takes a second answers all of a few
        me = partial(httpx.get, f"{served.url}/v1/me", headers={"X-API-Key": slow}, timeout=60)
        answers = [one.result() for one in [threads.submit(me) for _ in range(20)]]
    assert Counter(answer.status_code for answer in answers)[200] >= 2
    assert {answer.headers["Retry-After"] for answer in answers if answer.status_code != 200} == {"1"}
    assert {answer.status_code for answer in answers} == {200, 429}
    assert served.get("/v1/me").status_code == 200


def test_me_says_rights_limits_usage_and_when_the_key_ends(served: Served) -> None:
    served.get(f"{THINGS}?limit=5", "operator1")
    me: dict[str, Any] = served.get("/v1/me", "operator1").json()
    assert me["name"] == "operator1"
    assert "things" in me["rights"]["warehouse"]["marts"]
    assert "newest" in me["rights"]["realtime"]["live"]
    assert "publication" in me["rights"]["warehouse"]["ops"]
    assert me["usage"]["rows"] >= 5
    assert me["usage"]["bytes"] > 500
    assert me["key"]["expires_at"].endswith("Z")
    narrow = key_file.make(served.settings, "operator1", 86_400, scope=["live"])[1]
    headers = {"X-API-Key": narrow}
    assert httpx.get(f"{served.url}/v1/live/newest", headers=headers, timeout=60).status_code == 200
    assert httpx.get(f"{served.url}{THINGS}", headers=headers, timeout=60).status_code == 404
    assert httpx.get(f"{served.url}/v1/marts", headers=headers, timeout=60).json() == []
    assert "marts" not in httpx.get(f"{served.url}/v1/me", headers=headers, timeout=60).json()["rights"]["warehouse"]
