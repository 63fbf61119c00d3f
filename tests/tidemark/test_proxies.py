"""Proxies of a person's environment: what is outside is asked through them, our own servers never are."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import boto3
import ccxt
import httpx
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from stream_shim.connectors.entries import CcxtSource
from stream_shim.connectors.exchange import open_exchange
from tests.conftest import Stack
from tests.ingest.loopback import serving, zipped
from tests.s3_server import s3_server
from tests.serving import in_a_thread
from tidemark.errors import ConfigurationError
from tidemark.http import NoAnswer, ask_now
from tidemark.proxies import of_proxies, socks_alone
from tidemark.stack.ports import free_ports

PASSWORD = "s3cret-of-the-pr0xy"
OUTSIDE = "http://venue.example.invalid"
HISTORY = zipped("Date,USD,\n2024-01-02,1.10,\n")


@dataclass
class Proxy:
    """A proxy that answers 502, and what it was asked: method and target."""

    port: int
    asked: list[str] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """Every variable that names it, in both spellings."""
        url = f"http://somebody:{PASSWORD}@127.0.0.1:{self.port}"
        names = ("http_proxy", "https_proxy", "all_proxy")
        return {spelt: url for name in names for spelt in (name, name.upper())}


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxying() as running:
        yield running


@contextmanager
def proxying() -> Iterator[Proxy]:
    class Handler(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            found.asked.append(f"{self.command} {self.path}")
            self.send_response(502, "Bad Gateway")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = do_HEAD = do_CONNECT = refuse  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Proxy(server.server_address[1])
    with in_a_thread(server):
        yield found


def by_our_client(url: str) -> None:
    from tidemark.settings import Settings

    ask_now(Settings(), url, seconds=10)


def by_aiohttp(url: str) -> None:  # as ccxt asks
    async def ask() -> None:
        async with aiohttp.ClientSession(trust_env=True) as session, session.get(url):
            pass

    asyncio.run(ask())


def by_an_aiohttp_socket(url: str) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession(trust_env=True) as session, session.ws_connect(url.replace("http", "ws")):
            pass

    asyncio.run(ask())


def by_websockets(url: str) -> None:
    connect(url.replace("http", "ws"), open_timeout=10).close()


def by_boto(url: str) -> None:
    once = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y", config=once
    )
    client.list_objects_v2(Bucket="bucket")


def by_ccxt(url: str) -> None:
    entry = CcxtSource(
        name="venue", source_system="venue", exchange="binance", trades=["BTC/USDT"],
        urls={"public": f"{url}/api/v3"}, options={"fetchMarkets": {"types": ["spot"]}},
    )  # fmt: skip

    async def ask() -> None:
        exchange = open_exchange(entry)
        try:
            await exchange.load_markets()
        finally:
            await exchange.close()

    asyncio.run(ask())


CLIENTS: dict[str, Callable[[str], None]] = {
    "our own": by_our_client,
    "httpx, as Prefect": lambda url: httpx.get(url, timeout=10).close(),
    "requests, as OpenMetadata": lambda url: requests.get(url, timeout=10).close(),
    "aiohttp, as ccxt": by_aiohttp,
    "a web socket of aiohttp": by_an_aiohttp_socket,
    "a web socket of websockets": by_websockets,
    "botocore, as the lake": by_boto,
    "an exchange of the lane": by_ccxt,
}
REFUSED = (
    NoAnswer, httpx.HTTPError, requests.RequestException, aiohttp.ClientError, ClientError, HTTPClientError,
    WebSocketException, OSError, ccxt.BaseError,
)  # fmt: skip


@pytest.mark.parametrize("named", ["every variable", "ALL_PROXY alone"])
def test_every_client_asks_outside_through_the_proxy_and_loopback_never(
    named: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = proxy.environ if named == "every variable" else {"ALL_PROXY": proxy.environ["ALL_PROXY"]}
    for name, value in of_proxies({**given, "NO_PROXY": "[::1]:8080, *.corp.example, fe80::/10"}).items():
        monkeypatch.setenv(name, value)
    with serving(lambda path, query: HISTORY) as source:
        for name, ask in CLIENTS.items():
            for url in (source.url, source.url.replace("127.0.0.1", "localhost")):
                asked = len(source.asked)
                with suppress_refusal():
                    ask(url)
                assert len(source.asked) > asked, f"{name} {url}"
            assert proxy.asked == [], name
        for name, ask in CLIENTS.items():
            asked = len(proxy.asked)
            with suppress_refusal() as refusal:
                ask(OUTSIDE)
            assert len(proxy.asked) > asked, name
            assert PASSWORD not in "".join(refusal), name


def test_a_proxy_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Proxy(free_ports(1)[0])
    for name, value in of_proxies(dead.environ).items():
        monkeypatch.setenv(name, value)
    for url, by in ((OUTSIDE, f" through the proxy 127.0.0.1:{dead.port} "), ("http://127.0.0.1:1", "")):
        with pytest.raises(NoAnswer) as refused:
            by_our_client(f"{url}/x")
        assert str(refused.value).startswith(
            f"no answer to GET {url.removeprefix('http://')}/x{by or ' '}(ConnectError"
        )


@contextmanager
def suppress_refusal() -> Iterator[list[str]]:
    """What a client says of a 502, or of a page where it expected a socket or a list."""
    said: list[str] = []
    try:
        yield said
    except REFUSED as error:
        said.append(f"{error!r} {error}")


@pytest.mark.faults
def test_a_command_with_proxies_finds_every_server_of_its_own_and_its_source_through_the_proxy(
    stack: Stack, proxy: Proxy
) -> None:
    with serving(lambda path, query: HISTORY) as source, s3_server() as s3:
        s3.client.create_bucket(Bucket="proxied")
        lake = {"TIDEMARK_LAKE_URL": "s3://proxied/lake", **s3.environ}
        environ = {**proxy.environ, "TIDEMARK_RETRY_SECONDS": "[0.01]", "no_proxy": "", "NO_PROXY": ""}
        for arguments in (["status"], ["ingest", "run", "ecb"], ["flow", "deploy"]):
            done = stack.run(*arguments, **environ, **lake, TIDEMARK_ECB_URL=source.url)
            assert done.returncode == 0, done.stderr
        assert proxy.asked == []
        failed = stack.run("ingest", "run", "ecb", **environ, **lake, TIDEMARK_ECB_URL=OUTSIDE)
        assert failed.returncode == 1
        assert [target.split()[1].startswith(OUTSIDE) for target in proxy.asked] == [True] * len(proxy.asked) != []
        shown = stack.run("env", **environ).stdout
        assert "export no_proxy=localhost,127.0.0.1,::1" in shown
        assert PASSWORD not in failed.stderr + failed.stdout + shown


@pytest.mark.parametrize(
    "value",
    [
        f"ftp://u:{PASSWORD}@h", f"socks://u:{PASSWORD}@h:1", f"http://u:{PASSWORD}@h:port", "http://", "http://h:99999",
        f"http://u:{PASSWORD}#x@h:1",
    ],
)  # fmt: skip
def test_what_is_no_proxy_is_a_sentence_that_names_the_variable_and_shows_nothing_of_it(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY: expected a proxy as http://host:port") as raised:
        of_proxies({"https_proxy": value})
    assert PASSWORD not in str(raised.value)


def test_a_socks_proxy_does_not_keep_our_client_from_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in of_proxies({"ALL_PROXY": f"socks5://u:{PASSWORD}@127.0.0.1:9"}).items():
        monkeypatch.setenv(name, value)
    with serving(lambda path, query: HISTORY) as source:
        by_our_client(source.url)
        with pytest.raises(NoAnswer, match=r"no answer to GET venue.example.invalid") as raised:
            by_our_client(OUTSIDE)
    assert PASSWORD not in str(raised.value)
    assert len(source.asked) == 1


def test_whoever_speaks_no_socks_is_told_where_there_is_no_other_proxy() -> None:
    assert socks_alone({"ALL_PROXY": "socks5://h:1"})
    assert not socks_alone({"ALL_PROXY": "socks5://h:1", "HTTPS_PROXY": "http://h:2"})
    assert not socks_alone({"ALL_PROXY": "http://h:1"})
    assert not socks_alone({})


def test_no_proxy_stays_what_it_was_and_loopback_is_added() -> None:
    assert of_proxies({"no_proxy": "a.example"}) == {}
    assert of_proxies({"HTTP_PROXY": "p:3128"})["http_proxy"] == "http://p:3128"
    assert of_proxies({"HTTP_PROXY": "http://a:1", "http_proxy": ""}) == {}  # as curl and Python have it
    found = of_proxies({"HTTP_PROXY": "http://a:1", "NO_PROXY": "x.example,10.0.0.0/8"})
    assert found["NO_PROXY"] == found["no_proxy"] == "x.example,10.0.0.0/8,localhost,127.0.0.1,::1"
    assert of_proxies({"HTTP_PROXY": "http://a:1", "NO_PROXY": "*"})["no_proxy"] == "*"
    assert os.environ.get("no_proxy") != "*"
