"""The HTTP client against a source that sends more, slower or otherwise than it should."""

import gzip
import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.tidemark.hostile import MIB, Handler, gzip_of_zeros, serving, zip_of_zeros
from tidemark.http import Answer, NoAnswer, ask_now, retry_after
from tidemark.settings import Settings

KEY = "0123456789abcdef0123456789abcdef"
BODY = b'{"observations": []}' * 10_000
MOST = MIB
PEAK_MB = 150  # measured: 84 for what is refused (an interpreter with httpx 51), 115 for the largest that is allowed

# What a process does that fetches and parses as the batch lane does; it prints what it got, and its peak memory in MB.
FETCH = """
import json, sys
from tidemark.bounded import BeyondBounds, unzipped
from tidemark.http import NoAnswer, ask_now
from tidemark.settings import Settings
try:
    body = ask_now(Settings(), sys.argv[1]).body
    said = len(unzipped(body) if "zip-bomb" in sys.argv[1] else body)
except (NoAnswer, BeyondBounds) as error:
    said = str(error)
status = dict(line.split(":") for line in open("/proc/self/status"))  # getrusage would tell the parent's peak
print(json.dumps([said, int(status["VmHWM"].split()[0]) / 1024]))
"""


def hidden(text: str) -> str:
    return text.replace(KEY, "***")


def ask(url: str, **options: Any) -> Answer:
    limits = {name: options.pop(name) for name in ("http_seconds", "http_bytes") if name in options}
    return ask_now(Settings(**{"http_seconds": 20, "http_bytes": MOST, **limits}), url, hide=hidden, **options)


def no_answer(url: str, **options: Any) -> str:
    with pytest.raises(NoAnswer) as raised:
        ask(url, **options)
    assert KEY not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/gzip-bomb", "a body that decodes to one of more than 33,554,432 bytes (TIDEMARK_HTTP_BYTES allows more)"),
        ("/stacked", "a body that decodes to one of more than 33,554,432 bytes (TIDEMARK_HTTP_BYTES allows more)"),
        ("/zip-bomb", "a zip's file of more than 33,554,432 bytes (TIDEMARK_HTTP_BYTES allows more)"),
        ("/endless", "a body of more than 33,554,432 bytes (TIDEMARK_HTTP_BYTES allows more)"),
        ("/largest", 32 * MIB),
    ],
)
def test_whatever_a_source_sends_takes_bounded_memory(path: str, said: object) -> None:
    bomb = gzip_of_zeros(128)  # 2 GiB in 2 MB
    zipped = zip_of_zeros(128 * MIB, declared=128 * MIB)
    answers = {
        "/gzip-bomb": lambda handler: handler.send(bomb, Content_Encoding="gzip"),
        "/stacked": lambda handler: handler.send(gzip.compress(bomb), Content_Encoding="gzip, gzip"),
        "/zip-bomb": lambda handler: handler.send(zipped),
        "/endless": lambda handler: (handler.begin(), handler.drip(bytes(MIB), 0)),
        "/largest": lambda handler: handler.send(gzip.compress(bytes(32 * MIB)), Content_Encoding="gzip"),
    }
    with serving(answers) as hostile:
        command = [sys.executable, "-c", FETCH, hostile.url(path)]
        fetched = subprocess.run(command, capture_output=True, text=True, check=True)
    received, peak_mb = json.loads(fetched.stdout)
    assert str(said) in str(received)
    assert peak_mb < PEAK_MB


def test_a_zip_that_declares_less_than_it_holds_is_broken_and_not_read_on() -> None:
    from tidemark.bounded import unzipped

    with pytest.raises(ValueError, match="Bad CRC"):
        unzipped(zip_of_zeros(8 * MIB, declared=1000))


def _headers_without_end(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    handler.drip(b"X: y\r\n", 0.05)


@pytest.mark.parametrize(
    "answer", [_headers_without_end, lambda handler: (handler.begin(), handler.drip(b" ", 0.05))], ids=["head", "body"]
)
def test_time_is_bounded_from_the_first_byte_to_the_last(answer: Any) -> None:
    with serving({"/slow": answer}) as hostile:
        said = no_answer(hostile.url(f"/slow?api_key={KEY}"), http_seconds=0.5)
        entry = no_answer(hostile.url("/slow"), seconds=0.3, seconds_by="fred.timeout_seconds")
    assert f"no whole answer to GET {hostile.url('/slow').removeprefix('http://')} in 0.5 s, TimeoutError" in said
    assert "(TIDEMARK_HTTP_SECONDS allows more)" in said
    assert "in 0.3 s, TimeoutError (fred.timeout_seconds allows more)" in entry


def test_redirects_are_followed_to_a_limit() -> None:
    with serving(
        {
            "/loop": lambda handler: handler.begin(302, Location="/loop", Content_Length="0"),
            "/moved": lambda handler: handler.begin(301, Location="/here?a=1", Content_Length="0"),
            "/here": lambda handler: handler.send(BODY),
        }
    ) as hostile:
        assert "more than 5 redirects" in no_answer(hostile.url("/loop"))
        assert len(hostile.asked) == 6
        assert ask(hostile.url("/moved"), headers={"X-Api-Key": KEY}).body == BODY
    path, headers = hostile.asked[-1]
    assert (path, headers["x-api-key"]) == ("/here?a=1", KEY)


def test_a_redirect_to_another_host_carries_no_credential() -> None:
    answers: dict[str, Any] = {"/there": lambda handler: handler.send(BODY)}
    with serving(answers) as hostile:
        there = hostile.url("/there", "localhost")
        answers["/away"] = lambda handler: handler.begin(302, Location=there, Content_Length="0")
        answers["/echo"] = lambda handler: handler.begin(302, Location=f"{there}?k={KEY}", Content_Length="0")
        answers["/file"] = lambda handler: handler.begin(302, Location="file:///etc/passwd", Content_Length="0")
        sent = {"Authorization": f"Bearer {KEY}", "X-Api-Key": KEY, "Cookie": KEY, "User-Agent": "Tidemark"}
        assert ask(hostile.url("/away"), headers=sent).body == BODY
        path, headers = hostile.asked[-1]
        assert "would carry a credential" in no_answer(hostile.url(f"/echo?api_key={KEY}"))
        assert "a redirect to" in no_answer(hostile.url("/file"))
    assert (path, headers["host"], headers["user-agent"]) == ("/there", f"localhost:{hostile.port}", "Tidemark")
    assert KEY not in str(headers)
    assert [path for path, _ in hostile.asked].count("/there") == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_post_is_not_redirected_and_the_sentence_names_the_target(status: int) -> None:
    answers = {"/": lambda handler: handler.begin(status, Location=f"/v2/data?k={KEY}", Content_Length="0")}
    with serving(answers) as hostile:
        said = no_answer(hostile.url("/"), method="POST", json={})
    assert f"HTTP {status}, a redirect to 127.0.0.1:{hostile.port}/v2/data, and a POST is not sent again" in said
    assert len(hostile.asked) == 1


WHOLE = gzip.compress(BODY, mtime=0)


@pytest.mark.parametrize(
    ("encoding", "sent", "received"),
    [
        ("identity", BODY, BODY),
        ("gzip", WHOLE, BODY),
        ("x-gzip", WHOLE[:10_000] + WHOLE[10_000:], BODY),
        ("gzip", gzip.compress(BODY[:7]) + gzip.compress(BODY[7:]), BODY),  # two members
        ("gzip, GZIP", gzip.compress(WHOLE), BODY),
        ("gzip", b"", b""),
        ("gzip", WHOLE[:-9], "DecodingError: the gzip body is cut short"),
        ("gzip", WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:], "incorrect data check"),
        ("gzip", WHOLE[:-1] + b"\1", "incorrect length check"),
        ("gzip", BODY, "incorrect header check"),
        ("gzip", WHOLE + b"more", "incorrect header check"),
        ("br", BODY, "a body encoded as 'br', expected gzip or none"),
        ("gzip, gzip, gzip", WHOLE, "a body encoded as 'gzip, gzip, gzip'"),
    ],
)
def test_a_body_comes_whole_and_decoded_or_not_at_all(encoding: str, sent: bytes, received: bytes | str) -> None:
    with serving({"/": lambda handler: handler.send(sent, Content_Encoding=encoding)}) as hostile:
        if isinstance(received, bytes):
            assert ask(hostile.url("/")).body == received
        else:
            assert received in no_answer(hostile.url("/"))
    assert hostile.asked[0][1]["accept-encoding"] == "gzip"


def test_a_body_that_ends_before_its_length_is_no_answer() -> None:
    def short(handler: Handler) -> None:
        handler.begin(Content_Length="10")
        handler.wfile.write(b"123")
        handler.close_connection = True

    with serving({"/short": short}) as hostile:
        assert "RemoteProtocolError" in no_answer(hostile.url("/short"))


@pytest.mark.parametrize("url", ["", "localhost", "ftp://localhost/", "http://", "http://[::1", f"http://{KEY}:x/"])
def test_a_url_that_is_none_is_a_sentence_too(url: str) -> None:
    assert no_answer(url)


DATE = "Fri, 27 Nov 2026 18:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"RETRY-AFTER": " 7 "}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"Retry-After": "99999999999999999999"}, 86_400),
        ({"Retry-After": "-5"}, 0),
        (httpx.Headers([("Retry-After", "120"), ("Retry-After", "120"), ("Date", DATE), ("Date", DATE)]), 120),
        (httpx.Headers([("Retry-After", "Fri, 27 Nov 2026 18:02:00 GMT"), ("Retry-After", "7"), ("Date", DATE)]), 120),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "٣"}, 0),
        ({"Retry-After": "nan"}, 0),
        ({"Retry-After": "Fri, 27 Nov 2026 18:02:00 GMT", "Date": DATE}, 120),
        ({"Retry-After": "Friday, 27-Nov-26 18:00:30 GMT", "Date": DATE}, 30),
        ({"Retry-After": "Fri, 27 Nov 2026 17:00:00 GMT", "Date": DATE}, 0),
        ({"Retry-After": "Fri, 99 Nov 2026 18:00:30 GMT", "Date": DATE}, 0),
        ({}, 0),
    ],
)
def test_an_answer_says_how_long_it_wants_to_be_left_alone(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"<!DOCTYPE html><html><head><title>Scheduled\n maintenance &amp; more</title>", "application/json",
         "an HTML page, 'Scheduled maintenance & more'"),
        (b"\xef\xbb\xbf\r\n<!-- a proxy --><HTML><body><script>var a</script><h1>Log <b>in</b></h1>", "text/html",
         "an HTML page, 'Log in'"),
        (b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><body>Blocked', "text/plain",
         "an HTML page, 'Blocked'"),
        ("<html><title>Wartung für Öffentliches</title>".encode("latin-1"), "text/html; charset=iso-8859-1",
         "an HTML page, 'Wartung für Öffentliches'"),
        (b"<html></html>", "text/html; charset=nonsense", "an HTML page without a title"),
        (b'<?xml version="1.0"?><rss><channel><title>html</title></channel></rss>', "text/html", None),
        (b'{"a": "<html>"}', "text/html", None),
        (b"<h1>Access denied</h1>", "text/html", "an HTML page, 'Access denied'"),
        (b"\n<div class='x'>Try later</div>", "TEXT/HTML; charset=utf-8", "an HTML page, 'Try later'"),
        (b"<script>location='/login'</script>", "text/html", "an HTML page without a title"),
        (b"<p>Maintenance", "application/xhtml+xml", "an HTML page, 'Maintenance'"),
        (b"<h1>1</h1>", "application/xml", None),
        (b"<rates><rate/></rates>", "text/html", None),
        (b"<rss version='2.0'/>", "text/html", None),
        (b"<base-rates/>", "text/html", None),
        (b"<htmlish/>", "text/xml", None),
        (b"", "text/html", None),
    ],
)  # fmt: skip
def test_a_page_for_people_is_known_by_its_body(body: bytes, kind: str, said: str | None) -> None:
    assert Answer(200, httpx.Headers({"content-type": kind}), body).html_page() == said
