"""The status page as the stack serves it, to anyone, of what its own watcher saw."""

import statistics
import time

import feedparser
import httpx
import pytest
from playwright.sync_api import expect

from tests.browser import chromium, opened
from tests.serve.conftest import Served, another
from tests.stream_shim.conftest import until
from tidemark.stack import local, process, watcher
from watch.page.files import POLICY

FILES = ("", "tidemark.css", "status.js", "status.atom", "api/v2/summary.json")
BLIND = "Nobody knows how things are"


def test_the_page_is_open_to_anyone_and_takes_nothing_from_elsewhere(served: Served) -> None:
    for name in FILES:
        answer = httpx.get(f"{served.url}/{name}", timeout=60)
        assert answer.status_code == 200, name
        assert answer.headers["Content-Security-Policy"].startswith(POLICY)
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not feedparser.parse(httpx.get(f"{served.url}/status.atom", timeout=60).content).bozo
    with chromium() as browser, opened(browser, f"{served.url}/") as page:
        expect(page.locator("h1")).not_to_have_text(BLIND)
        for group in ("Balance", "Databases", "Servers"):
            expect(page.get_by_role("heading", name=group, exact=True)).to_be_visible()


def test_it_answers_within_200_ms_and_has_at_most_200_kb(served: Served) -> None:
    took, size = [], 0
    for _ in range(30):
        began = time.perf_counter()
        size = len(httpx.get(f"{served.url}/", timeout=60).content)
        took.append(time.perf_counter() - began)
    print(f"{size:,} bytes, median {statistics.median(took) * 1000:.1f} ms, most {max(took) * 1000:.1f} ms")
    assert size <= 200_000
    assert statistics.median(took) <= 0.2


def test_ready_means_that_both_databases_answer_and_the_watcher_looks(served: Served) -> None:
    answer = until(
        lambda: (got := httpx.get(f"{served.url}/readyz", timeout=60)).status_code == 200 and got, "that it is ready"
    )
    assert answer.json() == {"ready": True, "missing": {}}
    elsewhere = "postgresql://tidemark@127.0.0.1:9/warehouse"
    with another(
        served, warehouse_url=served.settings.model_validate({"warehouse_url": elsewhere}).warehouse_url
    ) as lame:
        answer = httpx.get(f"{lame.url}/readyz", timeout=20)
        assert (answer.status_code, set(answer.json()["missing"])) == (503, {"warehouse"})
        assert httpx.get(f"{lame.url}/healthz", timeout=60).text == "ok\n"


def test_metrics_have_what_was_seen_and_what_was_answered_by_route_alone(served: Served) -> None:
    httpx.get(f"{served.url}/v1/live/newest?apikey=tidemark_secret_of_somebody", timeout=60)
    served.get("/v1/live/newest")
    text = httpx.get(f"{served.url}/metrics", timeout=60).text
    assert 'tidemark_part_state{group="Databases",part="warehouse",state="ok"} 1.0' in text
    assert "tidemark_status_known 1.0" in text
    for status in (200, 401):
        assert f'tidemark_api_requests_total{{route="/v1/live/{{name}}",status="{status}"}}' in text
    assert [each for each in ("analyst1", "secret_of", "newest?") if each in text] == []


@pytest.mark.faults
def test_with_the_watcher_killed_the_page_is_grey_and_says_so_by_itself(served: Served) -> None:
    try:
        with chromium() as browser, opened(browser, f"{served.url}/") as page:
            expect(page.locator("h1")).not_to_have_text(BLIND)
            found = process.find(served.settings.home, watcher.NAME)
            assert found is not None
            found.kill()
            expect(page.locator("h1")).to_have_text(BLIND)
            assert page.locator('[data-state="ok"]').count() == 0
            assert httpx.get(f"{served.url}/readyz", timeout=60).status_code == 503
            summary = httpx.get(f"{served.url}/api/v2/summary.json", timeout=60).json()
            assert summary["status"]["indicator"] == "critical"
            assert {each["status"] for each in summary["components"]} == {"major_outage"}
            assert "tidemark_status_known 0.0" in httpx.get(f"{served.url}/metrics", timeout=60).text
    finally:
        local.up(served.settings)


@pytest.mark.faults
def test_with_kafka_killed_the_page_says_which_server_fails_and_what_that_means(served: Served) -> None:
    try:
        with chromium() as browser, opened(browser, f"{served.url}/") as page:
            found = process.find(served.settings.home, "kafka")
            assert found is not None
            found.kill()
            card = page.locator("article", has_text="Servers: kafka")
            expect(card).to_contain_text("A part of the platform is down")
            expect(page.locator(".verdict")).to_have_attribute("data-state", "failing")
    finally:
        local.up(served.settings)
