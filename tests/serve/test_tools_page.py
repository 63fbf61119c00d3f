"""The page /live in a browser: candles of both sides, which move; what is markup elsewhere is text there."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium
from tests.serve.conftest import Served
from tests.serve.market import EVIL, LONG, Market
from tidemark.access import key_file
from tidemark.settings import Settings


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def door(browser: Browser, served: Served, market: Market) -> Iterator[Page]:
    """The page before a key; what its scripts complain of is a failure."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.clock.install()
    page.goto(f"{served.url}/live")
    yield page
    context.close()
    assert wrong == []


def enter(page: Page, key: str) -> None:
    page.fill("#key", key)
    page.click("#door button")


@pytest.fixture
def page(door: Page, served: Served) -> Page:
    """The page with a key."""
    enter(door, served.keys["analyst1"])
    expect(door.locator("#state")).to_have_text("live")
    return door


def choose(page: Page, symbol: str) -> None:
    page.select_option("#symbol", f"venue:{symbol}")
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#chart")).to_have_attribute("data-symbol", symbol)


def test_candles_of_both_sides_are_drawn_and_move_with_a_tick(page: Page, market: Market, tmp_path: Path) -> None:
    choose(page, "A/B")
    chart = page.locator("#chart")
    bars = int(chart.get_attribute("data-bars") or 0)
    assert bars >= 30
    assert page.locator("#chart canvas").count() > 0
    before = page.locator("#chart").screenshot()
    market.commit(market.rows(1, market.today + timedelta(minutes=40), 321))
    expect(chart).to_have_attribute("data-close", "321")
    expect(page.locator("#last")).to_have_text("321")
    assert int(chart.get_attribute("data-bars") or 0) == bars + 1
    assert page.locator("#chart").screenshot() != before
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390


def test_a_symbol_that_is_markup_is_text(page: Page, market: Market) -> None:
    choose(page, EVIL)
    assert EVIL in page.locator("#coverage").inner_text().replace("\n", "")
    assert page.locator("main script").count() == 0


def test_the_line_of_the_tidemark_is_between_the_days(page: Page, market: Market) -> None:
    choose(page, "A/B")
    expect(page.locator("#chart")).to_have_attribute("data-tidemark", market.today.strftime("%Y-%m-%dT00:00:00.000Z"))


def test_why_a_mart_is_stale_leads_to_its_run(page: Page, market: Market) -> None:
    page.locator("#coverage").get_by_text("why stale").click()
    [(run,)] = market.databases.query(
        "warehouse", "select invocation_id from ops.publication where mart = 'rpt_coverage'", "catalog_reader"
    )
    assert page.url.endswith(f"#run-{run}")
    expect(page.locator("#built tr.sought")).to_have_attribute("id", f"run-{run}")
    expect(page.locator("#built")).to_contain_text("The mart's rows are of the run that is marked")


def test_after_a_logout_the_key_is_asked_again(page: Page) -> None:
    page.click("#leave")
    expect(page.locator("#door")).to_be_visible()
    expect(page.locator("#room")).to_be_hidden()


def scroll_back(page: Page) -> None:
    page.locator("#chart").hover()
    page.mouse.wheel(-4_000, 0)


def test_earlier_candles_are_read_once_as_one_scrolls_back_until_there_are_none(page: Page, market: Market) -> None:
    asked: list[str] = []
    page.on(
        "request",
        lambda request: asked.append(request.url) if "/bars?source=venue&symbol=LONG" in request.url else None,
    )
    choose(page, LONG)
    chart = page.locator("#chart")
    day = market.today - timedelta(days=1)
    for first in ("14:11", "12:00"):  # of 300 minutes before those of the first sight, and of the rest
        expect(chart).to_have_attribute("data-first", f"{day:%Y-%m-%d}T{first}:00.000Z")
        scroll_back(page)
    expect(chart).to_have_attribute("data-whole", "true")
    expect(chart).to_have_attribute("data-bars", "481")
    assert len(asked) == len(set(asked)) == 3
    scroll_back(page)
    market.commit(market.rows(1, market.today + timedelta(minutes=41), 9, LONG))
    expect(chart).to_have_attribute("data-bars", "482")  # the earlier ones stay, and nothing is asked
    assert len(asked) == 3


def test_before_the_first_build_the_page_says_what_to_do_and_then_opens_by_itself(
    door: Page, served: Served, market: Market
) -> None:
    with psycopg.connect(market.stack.dsn("warehouse", "transformer"), autocommit=True) as warehouse:
        warehouse.execute("alter schema marts rename to not_yet")
        try:
            enter(door, served.keys["analyst1"])
            expect(door.locator("#trouble")).to_contain_text("the first load or promotion builds them")
        finally:
            warehouse.execute("alter schema not_yet rename to marts")
    door.clock.fast_forward(11_000)
    expect(door.locator("#state")).to_have_text("live")
    expect(door.locator("#trouble")).to_have_text("")
    expect(door.locator("#book")).to_contain_text("No whole order book of this symbol is here: `order_book`")


def test_a_key_that_is_revoked_while_the_page_is_open_is_asked_again(door: Page, people: Settings) -> None:
    key_id, key = key_file.make(people, "analyst1", 3_600)
    enter(door, key)
    expect(door.locator("#state")).to_have_text("live")
    key_file.revoke(people, key_id)
    door.clock.fast_forward(3_000)
    expect(door.locator("#refused")).to_contain_text("has ended or was revoked")
    expect(door.locator("#room")).to_be_hidden()
