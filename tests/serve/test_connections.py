"""Clients that send nothing, take nothing or are too many are cut off; who behaves is answered meanwhile."""

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from socketserver import BaseRequestHandler, ThreadingTCPServer

import httpx
import psutil
import psycopg
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from tests.conftest import Stack
from tests.serve.conftest import Served, another
from tests.serving import in_a_thread
from tests.stream_shim.conftest import until
from tidemark.stack.ports import free_ports

CLIENTS = 40
# Row by row: a series in `from` is first written to disk, which ends by the limit of that where the disk is fast.
SLOW = "create view live.slow as select generate_series(1, 10000000000) as n"


@pytest.fixture(scope="module")
def strict(served: Served) -> Iterator[Served]:
    """A server that has little patience."""
    with another(
        served, api_slow_seconds=0.5, api_clients=CLIENTS, api_bytes=3_000_000, api_statement_seconds=1.0,
        api_connections=1, api_origins=("https://board.example.org",), api_hosts=("data.example.org",),
    ) as made:  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def wide(stack: Stack, served: Served) -> Iterator[str]:
    """A mart whose rows take 2.5 MB, and one whose rows take more than an answer may."""
    with psycopg.connect(stack.dsn("warehouse", "transformer"), autocommit=True) as connection:
        connection.execute(
            "create table marts.wide as select n, repeat(md5(n::text), 80) as text from generate_series(1, 2000) n"
        )
        yield "/v1/marts/wide"
        connection.execute("drop table marts.wide")


def connected(served: Served, receive_bytes: int = 0) -> socket.socket:
    """A socket to the server; `receive_bytes` of its answers wait in the kernel at most."""
    made = socket.socket()
    made.settimeout(60)
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.connect(("127.0.0.1", served.settings.api_port))
    return made


def request(served: Served, path: str) -> bytes:
    """A whole request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {served.keys['analyst1']}\r\n\r\n".encode()


def ends(client: socket.socket) -> bool:
    """Whether the server ends the connection; what it sends is read slowly, and thrown away."""
    with contextlib.suppress(ConnectionResetError):
        while client.recv(1000):
            continue
    return True


def test_who_takes_nothing_is_cut_off_and_holds_no_transaction(stack: Stack, strict: Served, wide: str) -> None:
    with connected(strict, receive_bytes=2048) as slow:
        slow.sendall(request(strict, f"{wide}?limit=900"))
        head = slow.recv(200)
        assert head.startswith(b"HTTP/1.1 200")
        assert strict.get("/v1/me").status_code == 200
        with psycopg.connect(stack.dsn("warehouse")) as connection:
            open_now = connection.execute(
                "select count(*) from pg_stat_activity where usename = 'api_reader' and state like 'idle in%'"
            ).fetchone()
        assert open_now == (0,)
        deadline = time.monotonic() + 60
        while _is_connected(strict, slow) and time.monotonic() < deadline:
            strict.get("/v1/me")
        assert not _is_connected(strict, slow)


def _is_connected(served: Served, client: socket.socket) -> bool:
    """Whether the server's side of a connection is still there."""
    ends = (served.settings.api_port, client.getsockname()[1])
    return any(
        (*each.laddr[1:2], *each.raddr[1:2]) == ends and each.status == psutil.CONN_ESTABLISHED
        for each in psutil.net_connections("tcp4")
    )


def test_more_clients_than_may_are_told_so_and_who_waits_is_answered(strict: Served) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(strict)) for _ in range(1000)]
        refused = [client for client in clients[CLIENTS + 5 :] if client.recv(20).startswith(b"HTTP/1.1 503")]
        assert len(refused) == 1000 - CLIENTS - 5
        text = refused[0].recv(2000)
        assert b"Retry-After" in text
        assert b"application/problem+json" in text
        clients[0].sendall(request(strict, "/healthz"))
        assert clients[0].recv(20).startswith(b"HTTP/1.1 200")
    assert strict.get("/v1/me").status_code == 200


def test_an_answer_or_a_query_beyond_its_limit_says_what_to_do(strict: Served, wide: str) -> None:
    answer = strict.get(f"{wide}?limit=2000")
    assert (answer.status_code, "smaller limit" in answer.json()["detail"]) == (413, True)
    assert strict.get(f"{wide}?limit=900").status_code == 200


def test_a_head_that_is_too_long_is_refused(strict: Served) -> None:
    with connected(strict) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"a" * 400_000 + b"\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(12) == b"HTTP/1.1 431"
    assert strict.get("/v1/me").status_code == 200


def test_a_request_by_another_sites_name_is_refused(strict: Served) -> None:
    ours = ("", "localhost", "tidemark.localhost:80", "127.0.0.1", "[::1]:80", "10.1.2.3:80", "Data.Example.org.:443")
    for path in ("/", "/live", "/v1/me"):
        for host in ours:
            assert strict.get(path, headers={"Host": host}).status_code == 200, host
        for host in ("evil.example.org", "127.0.0.1.evil.example.org:80", "localhost.evil", "data.example.org.evil"):
            answer = strict.get(path, headers={"Host": host})
            assert (answer.status_code, answer.headers["Content-Type"]) == (421, "application/problem+json"), host
            assert host in answer.json()["detail"]


def test_no_answer_is_taken_for_a_page_that_is_none(strict: Served) -> None:
    for path in (
        "/",
        "/live",
        "/live/live.js",
        "/docs",
        "/openapi.json",
        "/v1/me",
        "/v1/live/newest?format=csv",
        "/no",
    ):
        headers = strict.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert "default-src" in headers["Content-Security-Policy"], path
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path


def test_pages_of_the_named_origins_alone_may_call(strict: Served, served: Served) -> None:
    for origin, said in (
        ("https://board.example.org", "https://board.example.org"),
        ("https://evil.example.org", None),
    ):
        answer = strict.get("/v1/live/newest", headers={"Origin": origin})
        assert answer.headers.get("Access-Control-Allow-Origin") == said
    asked = {
        "Origin": "https://board.example.org",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-api-key",
    }
    assert httpx.options(f"{strict.url}/v1/live/newest", headers=asked, timeout=60).status_code == 200
    assert (
        "Access-Control-Allow-Origin"
        not in served.get("/v1/me", headers={"Origin": "https://board.example.org"}).headers
    )


def test_a_query_that_takes_too_long_is_ended_and_who_waits_for_it_in_vain_is_told(
    stack: Stack, strict: Served
) -> None:
    with psycopg.connect(stack.dsn("realtime", "transformer"), autocommit=True) as connection:
        connection.execute(SLOW)
        with ThreadPoolExecutor(30) as threads:
            answers = list(threads.map(lambda _: strict.get("/v1/live/slow?n=eq.0"), range(30)))
        connection.execute("drop view live.slow")
    ended = [answer for answer in answers if answer.status_code == 504]
    others = [answer for answer in answers if answer.status_code == 503]
    assert ended
    assert "shorter range" in ended[0].json()["detail"]
    assert len(ended) + len(others) == 30
    assert {(answer.headers["Retry-After"], answer.json()["title"]) for answer in others} == {("1", "busy")}


def test_who_asks_for_much_leaves_connections_and_threads_to_others(stack: Stack, served: Served) -> None:
    """Half of the connections are one caller's at most; and no thread that waits for one is another's way in."""
    with (
        another(served, api_connections=4, api_statement_seconds=120) as server,
        psycopg.connect(stack.dsn("realtime", "transformer"), autocommit=True) as connection,
        psycopg.connect(stack.dsn("realtime"), autocommit=True) as owner,
        ThreadPoolExecutor(60) as threads,
    ):
        connection.execute(SLOW)
        slow = [threads.submit(server.get, "/v1/live/slow?n=eq.0") for _ in range(8)]
        reading = "select count(1) from pg_locks where granted and relation = 'live.slow'::regclass"
        for attempt in Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.02)):
            with attempt:
                assert connection.execute(reading).fetchall() == [(2,)]
        answer = server.get("/v1/live/newest", "operator1")
        assert answer.status_code == 200, answer.text
        assert connection.execute(reading).fetchall() == [(2,)]
        ending = "select pg_cancel_backend(pid) from pg_locks where granted and relation = 'live.slow'::regclass"
        until(lambda: owner.execute(ending) and all(one.done() for one in slow), "all who waited to be answered")
        assert {one.result().status_code for one in slow} <= {503, 504}
        connection.execute("drop view live.slow")


class Forward(BaseRequestHandler):
    """What a client sends goes to Postgres, and back."""

    server: "Forwarder"

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.to_port)) as postgres:
            ends = {self.request: postgres, postgres: self.request}
            while ready := select.select(list(ends), [], [], 30)[0]:
                for end in ready:
                    if not (data := end.recv(65_536)):
                        return
                    ends[end].sendall(data)


class Forwarder(ThreadingTCPServer):
    """A port that leads to another."""

    daemon_threads = True
    allow_reuse_address = True
    to_port = 0


def test_a_database_that_is_down_is_named_and_read_again_once_it_is_up(served: Served) -> None:
    port = free_ports(1)[0]
    with another(served, postgres_port=port) as cut_off:
        answer = cut_off.get("/v1/live/newest")
        assert (answer.status_code, answer.json()["database"], answer.headers["Retry-After"]) == (503, "realtime", "5")
        assert cut_off.get("/v1/me").json()["unavailable"] == ["realtime", "warehouse"]
        with Forwarder(("127.0.0.1", port), Forward) as forwarder:
            forwarder.to_port = served.settings.postgres_port
            with in_a_thread(forwarder):
                again = Retrying(
                    retry=retry_if_result(lambda said: said.status_code == 503),
                    stop=stop_after_delay(120),
                    wait=wait_fixed(0.1),
                )
                assert again(cut_off.get, "/v1/live/newest").status_code == 200


def test_the_process_is_small_and_is_given_no_administrator(strict: Served) -> None:
    strict.get("/v1/marts/things?limit=1000")
    running = psutil.Process(strict.pid)
    assert running.memory_info().rss < 150_000_000
    given = running.environ()
    assert not [name for name in given if "PASSWORD" in name or name.startswith(("PG", "DBT_", "PREFECT_"))]
